"""The load test against a real server: counts, percentiles, failures and what is refused."""

import json
import time

import grpc
import pytest

from serving import loadtest
from serving.config import ModelConfig
from serving.errors import Unavailable
from serving.server import Server
from tests.serving import certificates
from tests.serving.toys import Encoder, png
from tests.tfrecords.here import run_here


def test_a_closed_loop_counts_what_is_answered(served):
    declared = {"x": ("float32", (-1,))}
    requests = loadtest.requests_made_up("toy", "serving_default", declared, rows=3)
    seen = set()
    found = loadtest.load(served.address, requests, clients=4, seconds=0.5, warm_up=0.1, rows=3,
                          check=lambda request, answer: seen.add(request) or bool(answer))
    assert len(found.latencies) > 20 and not found.errors and len(seen) > 8
    figures = found.figures()
    assert figures["p50_ms"] <= figures["p90_ms"] <= figures["p99_ms"] <= figures["p99.9_ms"] <= figures["max_ms"]
    assert figures["rate"] == pytest.approx(len(found.latencies) / 0.5, rel=0.01)
    assert found.latencies.mean() == pytest.approx(4 / found.rate, rel=0.3), "four clients wait all the time"


def test_an_open_loop_counts_from_when_a_request_was_due(served, monkeypatch):
    requests = loadtest.requests_made_up("toy", "serving_default", {"x": ("float32", (-1,))})
    found = loadtest.load(served.address, requests, rate=100.0, seconds=1.0, warm_up=0.0)
    assert 60 < len(found.latencies) < 150 and not found.unsent and not found.errors
    monkeypatch.setattr(loadtest, "WAITING", 0)
    found = loadtest.load(served.address, requests, rate=100.0, seconds=0.3, warm_up=0.0)
    assert not len(found.latencies) and found.unsent > 10


def test_failures_and_wrong_answers_are_counted_by_their_code(served):
    requests = loadtest.requests_made_up("toy", "no_such", {"x": ("float32", (-1,))})
    found = loadtest.load(served.address, requests, clients=2, seconds=0.2, warm_up=0.0)
    assert set(found.errors) == {"FAILED_PRECONDITION"} and not len(found.latencies)
    requests = loadtest.requests_made_up("toy", "serving_default", {"x": ("float32", (-1,))})
    found = loadtest.load(served.address, requests, clients=2, seconds=0.2, warm_up=0.0, check=lambda *_: False)
    assert set(found.errors) == {"WRONG_ANSWER"}


def test_the_command_draws_and_prints(served, tmp_path, capsys):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i, 9, 9))
    words = (f"--server={served.address}", "--model=toy", "--version=1", "--seconds=0.3", "--warm_up=0")
    code, out, error = run_here(loadtest, capsys, *words, f"--images={tmp_path}", "--rows=2",
                                f"--out={tmp_path}/load.png")
    assert code == 0, error
    assert "8 clients: " in out and "p99.9" in out and f"chart written to {tmp_path}/load.png" in out
    assert (tmp_path / "load.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = run_here(loadtest, capsys, *words, "--signature=serving_default", "--rate=50", "--json")
    assert code == 0 and json.loads(out)["errors"] == {}


def test_of_a_large_folder_the_first_images_are_sent_and_it_says_so(served, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loadtest, "REQUESTS", 2)
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(png(i, 9, 9))
    words = (f"--server={served.address}", "--model=toy", "--version=1", "--seconds=0.1", "--warm_up=0", "--rows=2")
    code, _, error = run_here(loadtest, capsys, *words, f"--images={tmp_path}")
    assert code == 0 and f"at {served.address}, the first 4 of 5 images ..." in error


def test_it_says_who_asks_where_the_server_wants_to_know(tmp_path, capsys):
    pem = certificates.make(tmp_path)
    (tmp_path / "red.png").write_bytes(png(255, 0, 0))
    Encoder().save(tmp_path / "toy" / "1", "embed")
    pair = (pem / "server.key").read_bytes(), (pem / "server.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([pair], (pem / "ca.pem").read_bytes(), True)
    with Server([ModelConfig("toy", str(tmp_path / "toy"))], port=0, credentials=credentials) as server:
        words = (f"--server={server.address}", "--model=toy", f"--images={tmp_path}", "--seconds=0.2", "--warm_up=0")
        own = (f"--tls_ca={pem}/ca.pem", f"--tls_cert={pem}/client.pem", f"--tls_key={pem}/client.key")
        code, out, error = run_here(loadtest, capsys, *words, *own, "--json")
        assert code == 0 and json.loads(out)["errors"] == {}, error
        with pytest.raises(Unavailable, match="nobody answers within 0.3 s"):
            loadtest.load(server.address, [b""], clients=1, timeout=0.3)


@pytest.mark.parametrize("words, told", [
    (["--clients=2", "--rate=3"], "`clients` and `rate` are both set"),
    (["--out=load.jpg"], "must end in .png"),
    (["--signature=embed", "--version=1"], "takes strings as `image_bytes`; give images to send"),
    (["--signature=nothing"], "the model has no signature `nothing`"),
])
def test_mistakes_are_one_sentence(served, capsys, words, told):
    started = time.monotonic()
    code, _, error = run_here(loadtest, capsys, f"--server={served.address}", "--model=toy", *words)
    assert code == 1 and told in error and "Traceback" not in error
    assert time.monotonic() - started < 30


def test_made_up_inputs_fit_what_is_declared():
    from tensorflow_serving.apis import predict_pb2

    declared = {"a": ("float32", (-1, 2)), "b": ("int64", (-1,)), "c": ("bool", (-1, -1)), "d": ("uint8", (-1, 4, 3))}
    requests = loadtest.requests_made_up("m", "s", declared, rows=5)
    request = predict_pb2.PredictRequest.FromString(requests[0])
    shapes = {name: [dim.size for dim in proto.tensor_shape.dim] for name, proto in request.inputs.items()}
    assert shapes == {"a": [5, 2], "b": [5], "c": [5, loadtest.SIDE], "d": [5, 4, 3]}
    assert len(set(requests)) == loadtest.REQUESTS
