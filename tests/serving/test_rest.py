"""The HTTP server beside its calls, which are stubs here: paths, codes, bodies, and how it ends."""

import contextlib
import http.client
import json
import socket
import threading
import time
import types

import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving import intake
from serving import rest as rest_module
from serving.rest import Rest
from serving.rpc import Requests
from serving.server import Server
from serving.status import Code, StatusError
from tests.serving.toys import until


class Calls:
    """Answers every status with what `fault` raises, or with the name that it was asked for as error_message."""

    def __init__(self):
        self.fault = self.asked = None
        self.names = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def status(self, request, timeout=None):
        self.asked = request.model_spec
        self.names.append(request.model_spec.name)
        self.begun.set()
        assert self.go.wait(20)
        if self.fault:
            raise self.fault
        found = get_model_status_pb2.GetModelStatusResponse()
        found.model_version_status.add(version=5).status.error_message = request.model_spec.name
        return found

    def metadata(self, request, timeout=None):
        self.asked = request.model_spec
        found = get_model_metadata_pb2.GetModelMetadataResponse()
        found.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return found

    def predict(self, request, timeout=None, fill=None, tensor_content=None, entrypoint="GRPC"):
        self.asked, self.waited, self.entrypoint = request.model_spec, timeout, entrypoint
        raise StatusError(Code.UNIMPLEMENTED, "not here")


@contextlib.contextmanager
def serving(calls, **words):
    requests = Requests(1)
    rest = Rest(calls, requests, "127.0.0.1", 0, **{"threads": 4, **words})
    rest.start()
    try:
        yield rest, requests
    finally:
        calls.go.set()
        rest.stop()
        rest.close()


@contextlib.contextmanager
def connected(rest):
    connection = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def ask(rest, verb, path, body=None):
    with connected(rest) as connection:
        connection.request(verb, path, body)
        return read(connection)


def read(connection):
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text.startswith(b"{") else text


@pytest.fixture(scope="module")
def calls():
    return Calls()


@pytest.fixture(scope="module")
def rest(calls):
    page = {"/page": lambda: ("text/plain", b"a page"), "/broken": lambda: 1 / 0}
    with serving(calls, timeout=12.0, pages=page) as (rest, _):
        yield rest


@pytest.mark.parametrize(
    "code, status",
    [
        ("INVALID_ARGUMENT", 400), ("FAILED_PRECONDITION", 400), ("OUT_OF_RANGE", 400), ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403), ("NOT_FOUND", 404), ("ALREADY_EXISTS", 409), ("ABORTED", 409),
        ("RESOURCE_EXHAUSTED", 429), ("CANCELLED", 499), ("UNKNOWN", 500), ("INTERNAL", 500), ("DATA_LOSS", 500),
        ("UNIMPLEMENTED", 501), ("UNAVAILABLE", 503), ("DEADLINE_EXCEEDED", 504),
    ],
)  # fmt: skip
def test_codes(rest, calls, monkeypatch, code, status):
    monkeypatch.setattr(calls, "fault", StatusError(Code[code], "why \"é\""))
    assert ask(rest, "GET", "/v1/models/m") == (status, {"error": "why \"é\""})


def test_what_nobody_foresaw_is_500_and_tells_nothing(rest, calls, monkeypatch):
    monkeypatch.setattr(calls, "fault", ZeroDivisionError("secret"))
    status, answer = ask(rest, "GET", "/v1/models/m")
    assert status == 500 and "secret" not in answer["error"]
    assert ask(rest, "GET", "/broken")[0] == 500
    monkeypatch.setattr(calls, "fault", None)
    assert ask(rest, "GET", "/v1/models/m")[0] == 200


def test_pages(rest):
    assert ask(rest, "GET", "/page") == (200, b"a page")
    assert ask(rest, "POST", "/page")[0] == 404


@pytest.mark.parametrize(
    "path, name, version, label",
    [
        ("/v1/models/m:predict", "m", 0, ""),
        ("/V1/Models/m:PREDICT", "m", 0, ""),
        ("/v1/models/m/versions/007:predict", "m", 7, ""),
        (f"/v1/models/m/versions/{2**63 - 1}:predict", "m", 2**63 - 1, ""),
        ("/v1/models/m/labels/stable:predict", "m", 0, "stable"),
        ("/v1/models/mod%C3%A8le/labels/a%20b:predict", "modèle", 0, "a b"),
        ("/v1/models/a%2520b:predict", "a%20b", 0, ""),
    ],
)
def test_what_a_path_asks_for(rest, calls, path, name, version, label):
    assert ask(rest, "POST", path, "{}") == (501, {"error": "not here"})
    assert (calls.asked.name, calls.asked.version.value, calls.asked.version_label) == (name, version, label)
    assert 0 < calls.waited <= 12.0 and calls.entrypoint == "REST"


@pytest.mark.parametrize(
    "body, told",
    [
        (b"[1]", "must be an object"),
        (b"\xff", "JSON Parse error: Invalid value"),
        (b"[" * 100_000, "JSON Parse error: Invalid value"),
        (b'{"signature_name": null}', "'signature_name' key must be a string value."),
    ],
)
def test_bodies_that_are_refused(rest, body, told):
    status, answer = ask(rest, "POST", "/v1/models/m:predict", body)
    assert status == 400 and told in answer["error"]


def test_other_origins_only_where_they_are_let_in(rest, calls):
    def allowed(rest, verb):
        with connected(rest) as connection:
            connection.request(verb, "/v1/models/m")
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["Access-Control-Allow-Origin"]

    assert allowed(rest, "GET") == (200, None) and allowed(rest, "OPTIONS") == (400, None)
    with serving(calls, cross_origin=True) as (open_to_all, _):
        assert allowed(open_to_all, "GET") == (200, "*") and allowed(open_to_all, "OPTIONS") == (200, "*")


def test_a_name_of_a_host_is_one_socket(calls):
    rest = Rest(calls, Requests(1), "localhost", 0, threads=1)
    assert rest.port > 0
    with pytest.raises(OSError, match="in use"):
        Rest(calls, Requests(1), "localhost", rest.port, threads=1)
    rest.stop()
    rest.close()
    again = Rest(calls, Requests(1), "localhost", rest.port, threads=1)  # the port is free again
    again.close()


# ---- Too much at once ----


@contextlib.contextmanager
def busy(*waiting, **words):
    """(calls, rest, connections) of a server whose one thread answers "slow" while each of `waiting` waits."""
    calls = Calls()
    calls.go.clear()
    with contextlib.ExitStack() as stack:
        rest, _ = stack.enter_context(serving(calls, threads=1, **words))
        connections = [stack.enter_context(connected(rest)) for _ in range(1 + len(waiting))]
        connections[0].request("GET", "/v1/models/slow")
        assert calls.begun.wait(20)
        for count, name in enumerate(waiting, 1):
            connections[count].request("GET", f"/v1/models/{name}")
            assert until(lambda count=count: len(rest._server.task_dispatcher.queue) == count)
        yield calls, rest, connections


def test_more_than_may_wait_is_refused_at_once_and_not_logged(monkeypatch, caplog):
    monkeypatch.setattr(intake, "WAITING_REQUESTS", 2)
    with busy("second", "third") as (calls, rest, connections):
        assert ask(rest, "GET", "/v1/models/m") == (503, {"error": "2 requests wait already; ask again later."})
        calls.go.set()
        assert [read(one)[0] for one in connections] == [200, 200, 200]
        assert ask(rest, "GET", "/v1/models/m")[0] == 200
    assert calls.names == ["slow", "second", "third", "m"] and not caplog.records


def test_a_request_that_waited_too_long_is_not_answered_any_more(monkeypatch):
    later = [0.0]
    for module in (intake, rest_module):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: time.monotonic() + later[0]))
    with busy("second", timeout=1000.0) as (calls, rest, (slow, second)):
        later[0] += 1000.0
        calls.go.set()
        assert read(slow)[0] == 200
        told = "The request's 1000 s passed before its turn came; ask again later."
        assert read(second) == (504, {"error": told})
        assert calls.names == ["slow"]


def test_what_is_left_of_the_time_is_for_the_batch(monkeypatch):
    later = [0.0]
    for module in (intake, rest_module):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: time.monotonic() + later[0]))
    with busy(timeout=1000.0) as (calls, rest, (slow,)), connected(rest) as second:
        second.request("POST", "/v1/models/m:predict", "{}")
        assert until(lambda: rest._server.task_dispatcher.queue)
        later[0] += 600.0
        calls.go.set()
        assert read(second)[0] == 501 and 300.0 < calls.waited <= 400.0


def test_whoever_left_while_waiting_is_not_answered():
    with busy("left", "third") as (calls, rest, (slow, left, third)):
        left.close()
        assert until(lambda: len(rest._server.active_channels) == 2)
        calls.go.set()
        assert read(slow)[0] == read(third)[0] == 200
        assert calls.names == ["slow", "third"]


def sending(rest, head, *parts):
    """A connection on which the beginning of a request was sent."""
    one = socket.create_connection(("127.0.0.1", rest.port), 20)
    one.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + b"".join(parts))
    return one


def answer_on(one):
    answer = http.client.HTTPResponse(one)
    answer.begin()
    return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("head", [b"Content-Length: 2000", b"Content-Length: 2000\r\nExpect: 100-continue"])
def test_a_body_that_is_too_large_is_refused_in_json_before_it_is_sent(calls, head):
    with serving(calls, body_bytes=2000) as (rest, _), sending(rest, head) as one:
        assert answer_on(one) == (413, {"error": "A body must have less than 2000 bytes; send fewer rows."})


def test_a_request_that_is_none_is_refused_in_json(rest):
    with sending(rest, b"Content-Length: many") as one:
        assert answer_on(one) == (400, {"error": "Content-Length is invalid"})


def test_bodies_are_bounded_together(calls, monkeypatch):
    monkeypatch.setattr(intake, "BODIES_BYTES", 1000)
    full = 503, {"error": "The bodies of all requests are too large together; ask again later."}
    with serving(calls) as (rest, _):
        bodies = rest._server.bodies
        one, two = (b"Content-Length: 900", b"." * 600), (b"Content-Length: 300", b"." * 100)
        with sending(rest, *one), sending(rest, *two) as two:
            assert until(lambda: bodies.total == 700)
            assert ask(rest, "POST", "/v1/models/m:predict", b"{}".ljust(301)) == full
            chunk = b"64\r\n" + b"." * 100 + b"\r\n"
            with sending(rest, b"Transfer-Encoding: chunked", chunk, chunk, chunk, chunk) as chunked:
                assert answer_on(chunked) == full
            assert until(lambda: bodies.total == 700)
            assert ask(rest, "GET", "/v1/models/m")[0] == 200
            assert ask(rest, "POST", "/v1/models/m:predict", b"{}".ljust(299))[0] == 501
            assert until(lambda: bodies.total == 700)  # an answer leaves before its request is forgotten
            two.sendall(b" " * 200)
            assert answer_on(two)[0] == 400
        assert until(lambda: bodies.total == 0)  # that of 900 bytes never came whole
        assert ask(rest, "POST", "/v1/models/m:predict", b"{}".ljust(1000))[0] == 501


# ---- The end ----


def test_stop_answers_what_is_under_way_and_takes_nothing_new():
    calls = Calls()
    calls.go.clear()
    with serving(calls) as (rest, requests), connected(rest) as late, connected(rest) as slow:
        late.request("GET", "/v1/models/first")
        calls.go.set()
        assert read(late)[0] == 200  # an open connection without a request
        assert until(rest.is_done)
        calls.go.clear()
        calls.begun.clear()
        slow.request("GET", "/v1/models/slow")
        assert calls.begun.wait(20)
        rest.stop()
        assert not rest.is_done() and not requests.are_done()

        def refused():
            try:
                socket.create_connection(("127.0.0.1", rest.port), timeout=5).close()
            except OSError:
                return True

        assert until(refused)
        late.request("GET", "/v1/models/late")
        assert read(late) == (503, {"error": "The server is stopping"})
        calls.go.set()
        status, answer = read(slow)
        assert status == 200 and answer["model_version_status"][0]["status"]["error_message"] == "slow"
        assert until(rest.is_done) and requests.are_done()
        rest.close()
        assert not rest._thread.is_alive()
        with pytest.raises((OSError, http.client.HTTPException)):
            late.request("GET", "/v1/models/late")
            late.getresponse()


def test_a_large_answer_has_left_before_the_end_is_told():
    calls, size = Calls(), 30 * 2**20
    with serving(calls, pages={"/large": lambda: ("text/plain", b"x" * size)}) as (rest, _), connected(rest) as slow:
        slow.request("GET", "/large")
        answer = slow.getresponse()  # its head; the rest waits for its reader
        rest.stop()
        assert not rest.is_done()
        assert len(answer.read()) == size
        assert until(rest.is_done)


def test_close_ends_what_is_not_answered():
    calls = Calls()
    calls.go.clear()
    with serving(calls) as (rest, _), connected(rest) as slow:
        slow.request("GET", "/v1/models/slow")
        assert calls.begun.wait(20)
        rest.stop()
        rest.close()
        with pytest.raises((OSError, http.client.HTTPException)):
            slow.getresponse()


def test_close_wakes_its_thread_before_that_closes_what_wakes_it(monkeypatch):
    with serving(Calls()) as (rest, _):
        pull = rest._server.trigger._physical_pull

        def after_another_one():
            pull()
            rest._thread.join(0.3)
            pull()

        monkeypatch.setattr(rest._server.trigger, "_physical_pull", after_another_one)
        rest.close()
        assert not rest._thread.is_alive()


def test_server_waits_for_rest_when_it_stops(monkeypatch):
    """No gRPC client is connected, so that only REST keeps the server."""
    begun, go, stopped = threading.Event(), threading.Event(), threading.Event()
    running = Server([], port=0, rest_port=0)
    running.start()

    def predict(*_, **__):
        begun.set()
        assert go.wait(20)
        raise StatusError(Code.UNIMPLEMENTED, "answered")

    monkeypatch.setattr(running._calls, "predict", predict)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=20)) as slow:
        slow.request("POST", "/v1/models/m:predict", "{}")
        assert begun.wait(20)
        ending = threading.Thread(target=lambda: (running.stop(20.0), stopped.set()))
        ending.start()
        try:
            assert not stopped.wait(0.3)
        finally:
            go.set()
        assert read(slow) == (501, {"error": "answered"})
        assert stopped.wait(10)
        ending.join()

