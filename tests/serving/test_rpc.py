"""gRPC beside its calls: certificates, health, counting, deadlines and what nobody foresaw."""

import asyncio
import contextlib
import gc
import sys
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving import rpc, server
from serving.batching import Batching
from serving.config import ModelConfig
from serving.server import Server
from serving.status import Code, StatusError
from tests.serving import certificates
from tests.serving.toys import Toy, until
from tests.serving.wire import NF, X, refused, request

# ---- Certificates ----


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """The texts of certificates.make by their names without the ending .pem; keys as client_key."""
    folder = certificates.make(tmp_path_factory.mktemp("pem"))
    return {path.name.replace(".pem", "").replace(".", "_"): path.read_bytes() for path in folder.iterdir()}


@contextlib.contextmanager
def encrypted(folder, pem, **fields):
    """A server with an SSLConfig file."""
    fields = {"server_key": pem["server_key"].decode(), "server_cert": pem["server"].decode(), **fields}
    told = "\n".join(f"{name}: {'true' if value is True else repr(value)}" for name, value in fields.items())
    (folder / "ssl.config").write_text(told)
    with Server([], port=0, credentials=server._credentials(str(folder / "ssl.config"))) as running:
        yield running


def answered(address, credentials):
    """The code of an answer by which the server shows that it was asked: UNAVAILABLE where it was not."""
    channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return refused(stub.Predict, request({"x": X}, model="nobody"))[0]


def test_encrypted_without_certificates_of_clients(tmp_path, pem):
    with encrypted(tmp_path, pem) as running:
        assert answered(running.address, grpc.ssl_channel_credentials(pem["ca"])) == NF
        assert answered(running.address, grpc.ssl_channel_credentials(pem["stranger"])) == Code.UNAVAILABLE
        assert answered(running.address, None) == Code.UNAVAILABLE


def test_encrypted_with_certificates_of_clients(tmp_path, pem):
    with encrypted(tmp_path, pem, custom_ca=pem["ca"].decode(), client_verify=True) as running:
        for name, code in (("client", NF), ("other", Code.UNAVAILABLE), (None, Code.UNAVAILABLE)):
            pair = (pem[f"{name}_key"], pem[name]) if name else (None, None)
            assert answered(running.address, grpc.ssl_channel_credentials(pem["ca"], *pair)) == code


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "needs the PEM text of a server_key and a server_cert"),
        ('server_key: "k" server_cert: "c" client_verify: true', "sets client_verify but no custom_ca"),
        ("server_key: 3", "Error parsing text-format tensorflow.serving.SSLConfig"),
    ],
)
def test_ssl_config_that_is_refused(tmp_path, text, told):
    (tmp_path / "ssl.config").write_text(text)
    with pytest.raises(ValueError, match=told):
        server._credentials(str(tmp_path / "ssl.config"))


# ---- Health ----


def test_health_only_where_it_is_asked_for():
    for with_health in (True, False):
        with Server([], port=0, health=with_health) as running, grpc.insecure_channel(running.address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            if not with_health:
                assert refused(check, health_pb2.HealthCheckRequest())[0] == Code.UNIMPLEMENTED
                continue
            for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=20)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert refused(check, health_pb2.HealthCheckRequest(service="another"))[0] == NF
            code, text = refused(channel.unary_unary("/grpc.health.v1.Health/Check"), b"\xff")
            assert code == Code.INTERNAL and "cannot be parsed" in text
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
            code, text = refused(lambda data, timeout: list(watch(data, timeout=timeout)), b"\xff")  # noqa: B023
            assert code == Code.INTERNAL and "cannot be parsed" in text


# ---- Calls ----


class Calls:
    """`status` waits until it may go on; the others fail in a way that nobody foresaw."""

    def __init__(self):
        self.begun, self.go, self.waited = threading.Semaphore(0), threading.Event(), []

    def status(self, request, timeout=None):
        self.waited.append(timeout)
        self.begun.release()
        assert self.go.wait(20)
        return get_model_status_pb2.GetModelStatusResponse()

    def metadata(self, request, timeout=None, gone=lambda: False):
        raise ZeroDivisionError("secret")

    classify = regress = multi_inference = metadata

    async def predict_awaited(self, request, run, aside):
        return self.metadata(request)

    def reload(self, request, timeout=None, gone=None):
        """Waits until its client has gone."""
        self.waited.append(timeout)
        self.begun.release()
        self.seen_gone = until(gone)
        raise StatusError(Code.CANCELLED, "nobody waits")


@pytest.fixture
def calls():
    return Calls()


@contextlib.contextmanager
def answering(calls, **words):
    """(channel, Requests) of a server with one thread."""
    requests = rpc.Requests(1)
    running = rpc.GrpcServer(calls, requests, **words)
    port = running.bind("127.0.0.1:0")
    running.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, requests
    calls.go.set()
    running.close()
    requests.shutdown(wait=True)


@pytest.fixture
def asked(calls):
    """(channel, Requests) of a server with one thread that keeps 1,000 bytes at a time."""
    with answering(calls, arguments=[("grpc.max_concurrent_streams", 50)], most_bytes=1000) as found:
        yield found


def test_deadlines_are_handed_on_and_those_that_passed_are_not_worked_on(asked, calls):
    channel, requests = asked
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    message = get_model_status_pb2.GetModelStatusRequest()
    first = stub.GetModelStatus.future(message, timeout=100)
    assert calls.begun.acquire(timeout=20) and not requests.are_done()
    assert 90 < calls.waited[0] < 101  # the server's clock may be a little behind
    code, _ = refused(lambda message, timeout: stub.GetModelStatus(message, timeout=0.1), message)
    assert code == Code.DEADLINE_EXCEEDED  # the only thread is not free
    time.sleep(0.3)  # the server's own timer tells it a little later
    calls.go.set()
    first.result(timeout=20)
    assert until(requests.are_done) and len(calls.waited) == 1
    stub.GetModelStatus(message)
    assert calls.waited[1] is None  # no deadline


def test_what_nobody_foresaw_is_internal_and_tells_nothing(asked, calls):
    channel, requests = asked
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    code, text = refused(stub.Predict, request({"x": X}))
    assert code == Code.INTERNAL and "secret" not in text and "its log says where" in text
    calls.go.set()
    model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(get_model_status_pb2.GetModelStatusRequest())
    assert until(requests.are_done)


def test_bytes_that_are_no_message(asked):
    channel, requests = asked
    code, text = refused(channel.unary_unary("/tensorflow.serving.PredictionService/Predict"), b"\xff\xff")
    assert code == Code.INTERNAL and "cannot be parsed" in text
    assert until(requests.are_done)


def test_bytes_in_memory_are_bounded(asked, calls):
    """A request that is alone is taken whatever its size; beside others only what fits."""
    channel, requests = asked
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    large = get_model_status_pb2.GetModelStatusRequest()
    large.model_spec.name = "m" * 2000
    first = stub.GetModelStatus.future(large, timeout=30)
    assert calls.begun.acquire(timeout=20)
    code, text = refused(stub.GetModelStatus, large)
    assert code == Code.RESOURCE_EXHAUSTED and "takes at most 1,000; ask again later" in text
    calls.go.set()
    first.result(timeout=20)
    assert until(requests.are_done)
    stub.GetModelStatus(large, timeout=20)


def test_a_refused_request_is_not_kept(calls):
    """Neither by what was raised nor by a thread that it waited for."""
    running = rpc.GrpcServer(calls, rpc.Requests(1))
    running._refuses = None
    aborted = []

    class Context:
        add_done_callback = staticmethod(lambda callback: callback(None))
        time_remaining = staticmethod(lambda: 30.0)

        @staticmethod
        async def abort(code, text):
            aborted.append(code)

    async def refuse(parse, context, small):
        parse()
        raise StatusError(Code.INVALID_ARGUMENT, "no")

    async def cancelled(handle, data):
        task = asyncio.ensure_future(handle(data, Context))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    data = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "m" * 100}).SerializeToString()
    kept = sys.getrefcount(data)
    held = running._requests.submit(calls.go.wait)  # the only thread
    gc.disable()
    try:
        asyncio.run(running._handler(get_model_status_pb2.GetModelStatusRequest, refuse)(data, Context))
        assert aborted == [Code.INVALID_ARGUMENT] and sys.getrefcount(data) == kept
        asyncio.run(cancelled(running._handler(get_model_status_pb2.GetModelStatusRequest,
                                               running._blocking(calls.status)), data))  # fmt: skip
        assert sys.getrefcount(data) == kept
    finally:
        gc.enable()
        calls.go.set()
        held.result(20)
        running.close()


def test_many_calls_at_once_are_answered_all_the_same(calls):
    """gRPC by itself cancels some of more than 1,000 that come before the server looks at them."""
    calls.go.set()
    with answering(calls) as (channel, _):
        stub, message = model_service_pb2_grpc.ModelServiceStub(channel), get_model_status_pb2.GetModelStatusRequest()
        waiting = [stub.GetModelStatus.future(message, timeout=60) for _ in range(2500)]
        assert all(call.exception() is None for call in waiting)


def test_calls_that_wait_are_bounded(calls, monkeypatch):
    monkeypatch.setattr(rpc, "WAITING_CALLS", 2)
    with answering(calls) as (channel, requests):
        stub, message = model_service_pb2_grpc.ModelServiceStub(channel), get_model_status_pb2.GetModelStatusRequest()
        waiting = [stub.GetModelStatus.future(message, timeout=30) for _ in range(2)]
        assert until(lambda: requests.at_work() == 2)
        assert refused(stub.GetModelStatus, message)[0] == Code.RESOURCE_EXHAUSTED
        calls.go.set()
        assert [call.result().model_version_status[:] for call in waiting] == [[], []]
        assert until(requests.are_done)
        stub.GetModelStatus(message, timeout=20)


def test_a_change_gives_up_before_its_deadline_and_when_its_client_has_gone(asked, calls):
    channel, requests = asked
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    call = stub.HandleReloadConfigRequest.future(model_management_pb2.ReloadConfigRequest(), timeout=100)
    assert calls.begun.acquire(timeout=20) and 90 < calls.waited[0] < 100.9
    call.cancel()
    assert until(lambda: hasattr(calls, "seen_gone")) and calls.seen_gone
    assert until(requests.are_done)


def test_many_that_wait_for_a_batch_take_no_thread(tmp_path):
    """Nine requests of a server with one thread meet in one batch; one whose client goes does not spoil it."""
    Toy(1.0).save(tmp_path / "toy" / "1", "serving_default")
    batching = Batching(max_batch_size=16, num_batch_threads=1)
    with Server([ModelConfig("toy", str(tmp_path / "toy"))], port=0, threads=1, batching=batching) as running:
        with grpc.insecure_channel(running.address) as channel:
            stub, gate, sizes = prediction_service_pb2_grpc.PredictionServiceStub(channel), threading.Event(), []
            servable = running._manager._versions["toy"][1].servable
            run = servable._queues["serving_default"]._run

            def held(inputs):
                sizes.append(len(inputs["x"]))
                assert gate.wait(20)
                return run(inputs)

            servable._queues["serving_default"]._run = held
            calls = [stub.Predict.future(request({"x": [2.0]}), timeout=30)]
            assert until(lambda: sizes == [1])
            calls += [stub.Predict.future(request({"x": [2.0 * place]}), timeout=30) for place in range(9)]
            queue = servable._queues["serving_default"]
            assert until(lambda: queue.waiting and queue.waiting[0].rows == 9)
            calls.pop().cancel()
            assert until(lambda: queue.waiting[0].rows == 8)
            version = running._manager._versions["toy"][1]
            gone = calls.pop(0)
            gone.cancel()  # of the batch that runs
            assert until(lambda: version.users == 9 and running._requests.at_work() == 9)
            gate.set()
            assert [call.result().outputs["y"].float_val[:] for call in calls] == [[place + 1.0] for place in range(8)]
            assert sizes == [1, 8] and until(lambda: version.users == 0)


def test_health_says_when_the_server_goes_down():
    with Server([], port=0, health=True) as running, grpc.insecure_channel(running.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        watches = [watch(health_pb2.HealthCheckRequest(service=""), timeout=30) for _ in range(3)]
        assert {next(one).status for one in watches} == {health_pb2.HealthCheckResponse.SERVING}
        unknown = watch(health_pb2.HealthCheckRequest(service="another"), timeout=30)
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watches.pop(0).cancel()  # one that leaves takes nothing from the others
        threading.Thread(target=running.stop, args=[10.0], daemon=True).start()
        assert {next(one).status for one in watches} == {health_pb2.HealthCheckResponse.NOT_SERVING}


# ---- Counting ----


def test_a_request_joins_until_it_waits_for_a_batch_or_is_answered():
    requests, seen = rpc.Requests(1), []
    with requests.joining():
        seen.append(requests.arriving())
        requests.arrived()
        requests.arrived()  # once is enough
        seen.append(requests.arriving())
    assert seen == [1, 0] and requests.arriving() == 0 and requests.are_done()
    requests.shutdown()


def test_a_request_by_rest_is_counted_even_if_it_fails():
    requests = rpc.Requests(1)
    with pytest.raises(ZeroDivisionError), requests.under_way():
        assert not requests.are_done() and requests.at_work() == 1
        raise ZeroDivisionError
    assert requests.are_done() and requests.arriving() == 0
    requests.shutdown()
