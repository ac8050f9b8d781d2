"""The way to a server: which failures are asked again, how long, TLS, compression, and errors of every code."""

import socket
import threading
import time

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import channel, client, errors
from serving.channel import Attempts, Connection
from serving.client import Client
from tests.serving import certificates
from tests.serving.fakes import Failing, Relay, serving
from tests.serving.toys import png, until
from tests.tfrecords.here import run_here

RED = png(255, 0, 0)
Code = grpc.StatusCode
GONE = Code.UNAVAILABLE, "the server goes down"
FULL = Code.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Pauses too short to be waited for."""
    monkeypatch.setattr(channel, "FIRST_PAUSE", 0.002)


@pytest.mark.parametrize("failure", [
    GONE, FULL, (Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"),
    (Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"),
])  # fmt: skip
def test_a_question_is_asked_again_where_the_failure_may_pass(failure):
    for ask, name in ((lambda c: c.embed(RED), "Predict"), (Client.metadata, "GetModelMetadata"),
                      (Client.status, "GetModelStatus"), (Client.served_version, "GetModelMetadata")):  # fmt: skip
        fake = Failing(failure, failure)
        with serving(fake) as address, Client(address) as asked:
            ask(asked)
        assert fake.asked == {name: 3}


@pytest.mark.parametrize("code, text", [
    (Code.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"),
    (Code.RESOURCE_EXHAUSTED, "SERVER: Sent message larger than max (5 vs. 4)"),
    (Code.RESOURCE_EXHAUSTED, "OOM when allocating tensor with shape[9] and type float"),
    (Code.DEADLINE_EXCEEDED, "too late"), (Code.INTERNAL, "x"), (Code.UNKNOWN, "x"), (Code.ABORTED, "x"),
    (Code.FAILED_PRECONDITION, "x"), (Code.CANCELLED, "x"), (Code.UNAUTHENTICATED, "x"), (Code.DATA_LOSS, "x"),
])  # fmt: skip
def test_other_failures_are_told_at_once(code, text):
    fake = Failing((code, text))
    with serving(fake) as address, Client(address) as asked, pytest.raises(client.ServingError) as caught:
        asked.embed(RED)
    assert fake.asked == {"Predict": 1} and (caught.value.code, caught.value.message) == (code.name, text)


def test_images_that_are_too_large_are_named_and_not_sent_again(monkeypatch):
    asked, pause = [], Attempts.pause
    monkeypatch.setattr(Attempts, "pause", lambda self, error: asked.append(error.details()) or pause(self, error))
    fake = Failing()
    with serving(fake, **{"grpc.max_receive_message_length": 1000}) as address, Client(address) as client_:
        with pytest.raises(client.ResourceExhausted, match="larger than max") as caught:
            client_.embed([bytes(5), bytes(2000)])
        assert caught.value.image == "image 2"
        assert len(asked) == 2 and "larger than max" in asked[0], "once together and once by itself"
        assert client_.embed([bytes(400)] * 5)[:, 0].tolist() == [400] * 5, "only together they are too large"
        rows = [answer for _, answer in client_.each("embed", [bytes(5), bytes(2000), bytes(6)])]
        assert rows[0]["embedding"][0] == 5 and rows[2]["embedding"][0] == 6 and rows[1].image == "image 2"
    assert set(fake.sizes) == {1}


def test_a_full_queue_is_no_images_fault():
    fake = Failing(*[FULL] * 99)
    with serving(fake) as address, Client(address, retries=1) as asked:
        for ask in (lambda: asked.embed([RED, RED]), lambda: list(asked.each("embed", [RED, RED])),
                    lambda: list(asked.restore_each([RED], 2))):  # fmt: skip
            with pytest.raises(client.ResourceExhausted, match="Concurrent RPC limit exceeded") as caught:
                ask()
            assert caught.value.image is None
    assert fake.asked == {"Predict": 6}


def test_retries_end_and_the_servers_last_words_are_told():
    fake = Failing(*[(Code.UNAVAILABLE, f"queue {number} is full") for number in range(9)])
    with serving(fake) as address:
        with Client(address, retries=2) as asked, pytest.raises(client.Unavailable, match="queue 2 is full"):
            asked.embed(RED)
        with Client(address, retries=0) as asked, pytest.raises(client.Unavailable, match="queue 3 is full"):
            asked.embed(RED)


def test_pauses_grow_at_random_and_never_reach_past_the_deadline(monkeypatch):
    monkeypatch.setattr(channel, "FIRST_PAUSE", 0.1)

    class Gone(grpc.RpcError):
        code, details = staticmethod(lambda: Code.UNAVAILABLE), staticmethod(lambda: None)

    runs = []
    for _ in range(20):
        attempts = Attempts(1000.0, 7)
        runs.append([attempts.pause(Gone()) for _ in range(8)])
    runs = np.array(runs, float)
    assert np.isnan(runs[:, 7]).all(), "after seven there is no more"
    highest = np.array([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2])
    assert (runs[:, :7] <= highest).all() and (runs[:, :7] >= highest / 2).all()
    assert (runs[:, :7].std(axis=0) > 0).all(), "clients that failed together come back one by one"
    hasty = Attempts(0.04, 7)
    assert hasty.pause(Gone()) is None, "the pause would end after the deadline"


def test_all_attempts_together_take_no_longer_than_the_timeout(monkeypatch):
    over = threading.Event()
    fake = Failing(GONE, gate=lambda name, context: fake.asked[name] == 2 and over.wait(20))
    began = time.monotonic()
    with serving(fake) as address, Client(address, timeout=0.6) as asked:
        with pytest.raises(client.DeadlineExceeded):
            asked.embed(RED)
        took = time.monotonic() - began
        over.set()
    assert fake.asked == {"Predict": 2} and 0.5 < took < 3
    monkeypatch.setattr(channel, "FIRST_PAUSE", 0.1)
    fake, began = Failing(*[GONE] * 100), time.monotonic()
    with serving(fake) as address, Client(address, timeout=0.5, retries=100) as asked:
        with pytest.raises(client.Unavailable, match="the server goes down"):
            asked.embed(RED)
    assert 1 < fake.asked["Predict"] < 10 and time.monotonic() - began < 3


def test_a_server_that_is_started_again_is_found(monkeypatch):
    monkeypatch.setattr(channel, "FIRST_PAUSE", 0.3)
    fake, waiting, done = Failing(), threading.Event(), threading.Event()
    pause = Attempts.pause

    def paused(self, error):
        waiting.set()
        return pause(self, error)

    monkeypatch.setattr(Attempts, "pause", paused)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    def restart():
        assert waiting.wait(20)
        with serving(fake, port=port):
            done.wait(20)

    server = threading.Thread(target=restart)
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", timeout=20, retries=20) as asked:
            assert asked.embed(RED).shape == (1, 2)
    finally:
        waiting.set()
        done.set()
        server.join()


def test_every_question_has_a_deadline():
    over = threading.Event()
    with serving(Failing(gate=lambda *_: over.wait(20))) as address, Client(address, timeout=0.2) as asked:
        for ask in (lambda: asked.embed(RED), asked.metadata, asked.status, lambda: asked.reload("", timeout=0.2),
                    lambda: asked.wait_ready(0.2)):  # fmt: skip
            with pytest.raises(client.DeadlineExceeded):
                ask()
        over.set()


# ---- Reload ----


def test_a_reload_is_asked_once_and_sends_what_it_is_given():
    fake, text = Failing(), 'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } }'
    with serving(fake) as address, Client(address) as asked:
        asked.reload(text)
        message = model_server_config_pb2.ModelServerConfig()
        message.model_config_list.config.add(name="b", base_path="/b", model_platform="tensorflow")
        asked.reload(message)
        assert [config.model_config_list.config[0].name for config in fake.reloaded] == ["a", "b"]
        for failure in (GONE, FULL):
            fake.failures, fake.asked = [failure], {}
            with pytest.raises(client.ServingError) as caught:
                asked.reload(text)
            assert fake.asked == {"HandleReloadConfigRequest": 1}
            assert str(caught.value).startswith(f"Server {address}: {failure[0].name}: {failure[1].rstrip('.')}")
        with pytest.raises(ValueError, match="Error parsing text-format tensorflow.serving.ModelServerConfig"):
            asked.reload("model_config_list {")
    assert len(fake.reloaded) == 2


def test_a_reload_of_which_only_the_answer_is_an_error_is_one():
    fake = Failing()

    def reload(request, context):
        return model_management_pb2.ReloadConfigResponse(
            status={"error_code": "FAILED_PRECONDITION", "error_message": "no such version"}
        )

    fake.HandleReloadConfigRequest = reload
    with serving(fake) as address, Client(address) as asked:
        with pytest.raises(client.FailedPrecondition, match="FAILED_PRECONDITION: no such version"):
            asked.reload("")


def test_a_real_server_refuses_a_config_and_keeps_what_it_serves(served):
    with Client(served.address, "toy", version=1) as asked:
        asked.wait_ready(20)
        with pytest.raises(client.ServingError, match="neither"):
            asked.reload('model_config_list { config { name: "toy" base_path: "/none" } }')
        assert asked.embed(RED).shape == (1, 3)


# ---- TLS ----


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("pem"))


def credentials(pem, mutual=False):
    pair = (pem / "server.key").read_bytes(), (pem / "server.pem").read_bytes()
    return grpc.ssl_server_credentials([pair], (pem / "ca.pem").read_bytes() if mutual else None, mutual)


def test_tls_trusts_the_authority_it_is_given(pem):
    with serving(Failing(), credentials(pem)) as address:
        with Client(address, tls=pem / "ca.pem") as asked:
            assert asked.embed(RED).shape == (1, 2)
        began = time.monotonic()
        for tls in (pem / "stranger.pem", True):
            with Client(address, tls=tls, timeout=20, retries=100) as asked:
                for ask in (lambda asked=asked: asked.embed(RED), lambda asked=asked: asked.wait_ready(20)):
                    with pytest.raises(client.Unavailable, match="check --tls_ca, --tls_cert and --tls_key here"):
                        ask()
        assert time.monotonic() - began < 15, "trust does not come by asking again"
        with Client(address, timeout=1, retries=0) as plain, pytest.raises(client.Unavailable):
            plain.embed(RED)


def test_a_client_says_who_it_is(pem):
    with serving(Failing(), credentials(pem, mutual=True)) as address:
        with Client(address, tls=pem / "ca.pem", tls_cert=pem / "client.pem", tls_key=pem / "client.key") as asked:
            assert asked.embed(RED).shape == (1, 2)
        for pair in ({}, {"tls_cert": pem / "other.pem", "tls_key": pem / "other.key"}):
            with Client(address, tls=pem / "ca.pem", timeout=2, retries=0, **pair) as asked:
                with pytest.raises(client.Unavailable):
                    asked.embed(RED)


def test_the_command_takes_certificates(pem, tmp_path, capsys):
    (tmp_path / "red.png").write_bytes(RED)
    words = ("embed", tmp_path / "red.png", "--json", f"--tls_ca={pem / 'ca.pem'}", "--compression=gzip")
    own = (f"--tls_cert={pem / 'client.pem'}", f"--tls_key={pem / 'client.key'}")
    with serving(Failing(), credentials(pem, mutual=True)) as address:
        code, out, error = run_here(client, capsys, *words, *own, f"--server={address}")
        assert code == 0 and '"embedding"' in out, error
        code, out, error = run_here(client, capsys, *words, f"--server={address}", "--wait=0", "--retries=0")
        assert (code, out, error.count("\n")) == (1, "", 1) and "UNAVAILABLE" in error
        code, out, error = run_here(client, capsys, *words[:3], "--tls_ca=", f"--server={address}", "--wait=0")
        assert (code, out) == (1, "") and error.startswith("error: `tls_ca` is empty")


@pytest.mark.parametrize("settings, error, told", [
    ({"tls_cert": "{pem}/client.pem"}, ValueError, "`tls_cert` is {pem}/client.pem but `tls_key` is missing; a certif"),
    ({"tls_key": "{pem}/client.key"}, ValueError, "`tls_key` is {pem}/client.key but `tls_cert` is missing; a certif"),
    ({"tls": ""}, ValueError, "`tls_ca` is empty but must be the path of a PEM file; give one or leave it away."),
    ({"tls_cert": "", "tls_key": "x"}, ValueError, "`tls_cert` is empty but must be the path of a PEM file; give"),
    ({"tls": "{pem}/none.pem"}, OSError, "`tls_ca` is {pem}/none.pem but cannot be read: No such file or directory;"),
    ({"tls": __file__}, ValueError, f"`tls_ca` is {__file__} but holds no PEM block; give a file with"),
    ({"compression": "zip"}, ValueError, "`compression` is 'zip' but must be gzip, deflate or none; correct it."),
    ({"retries": -1}, ValueError, "`retries` is -1 but must be at least 0; 0 asks once."),
])  # fmt: skip
def test_settings_that_cannot_be_are_one_sentence(settings, error, told, pem):
    settings = {name: value.format(pem=pem) if isinstance(value, str) else value for name, value in settings.items()}
    with pytest.raises(error) as caught:
        Client(**settings)
    assert str(caught.value).startswith(told.format(pem=pem))


# ---- Channel ----


def test_gzip_sends_less(served):
    sent = {}
    for compression in (None, "none", "gzip", "deflate"):
        with Relay(served.address) as relay, Client(relay.address, "toy", version=1, compression=compression) as asked:
            answer = asked.predict("echo", {"text": [b"\0" * 100_000]})
            assert answer["length"].tolist() == [100_000]
            sent[compression] = relay.sent
    assert min(sent[None], sent["none"]) > 100_000 and max(sent["gzip"], sent["deflate"]) < 10_000


def test_clients_share_a_connection_and_none_closes_it_for_others(served):
    with Relay(served.address) as relay, Connection(relay.address) as shared:
        with Client(shared, "toy", version=1) as first, Client(shared, "fake_image_detection") as second:
            for _ in range(3):
                assert first.embed(RED).shape == (1, 3) and second.detect(RED)["decision"].tolist() == [True]
        with Client(shared, "toy", version=2) as third:
            assert third.status()[0]["state"] == "AVAILABLE"
        assert relay.connections == 1


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_code_has_its_class_and_the_servers_words(code):
    error = errors.error_of(code.name, "the reason.")
    assert type(error).__name__.upper() == code.name.replace("_", "") and isinstance(error, errors.ServingError)
    assert getattr(client, type(error).__name__) is type(error)
    assert (error.code, error.message) == (code.name, "the reason.") and f"{code.name}: the reason" in str(error)
    assert type(errors.error_of("NEW_CODE", "x")) is errors.ServingError


def test_a_channel_that_lost_its_server_finds_the_next_one(served):
    """The same client goes on after the connection broke."""
    with Relay(served.address) as relay, Client(relay.address, "toy", version=1, timeout=20, retries=20) as asked:
        assert asked.embed(RED).shape == (1, 3)
        relay.cut()
        assert until(lambda: asked.embed(RED).shape == (1, 3)) and relay.connections == 2
