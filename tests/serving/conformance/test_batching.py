"""Requests joined into batches: items 41 to 47. A server of their own in this process holds its one batch thread."""

import concurrent.futures
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import batching, server
from serving.batching import Batching
from serving.config import ModelConfig
from serving.server import Server
from tests.serving.toys import until
from tests.serving.wire import FP, IA, asking, free_port, refused, request
from tests.tfrecords.here import run_here


@pytest.fixture(scope="module")
def running(request, target):
    if request.config.getoption("--target", None):
        pytest.skip("needs a server of its own with batching parameters, not --target")
    parameters = Batching(
        max_batch_size=4, num_batch_threads=1, max_enqueued_batches=1, allowed_batch_sizes=(2, 4), batch_timeout=0.0
    )
    models = [ModelConfig("toy", str(target.models / "toy"), "specific", versions=(1,))]
    with Server(models, port=0, rest_port=free_port(), rest_timeout=0.3, batching=parameters) as running:
        yield running


@pytest.fixture(scope="module")
def stub(running):
    with grpc.insecure_channel(running.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def queued(monkeypatch):
    """Released by every request once it waits in its queue."""
    entered, enqueue = threading.Semaphore(0), batching.Queue._enqueue

    def counted(queue, task):
        enqueue(queue, task)
        entered.release()

    monkeypatch.setattr(batching.Queue, "_enqueue", counted)
    return entered


@pytest.fixture
def busy(stub, queued, tmp_path):
    """The one batch runs until busy() is called, which gives its answer."""
    file = tmp_path / "go"
    first = stub.Predict.future(held([[1.0]], file), timeout=30)
    try:
        assert until((tmp_path / "go.begun").exists) and queued.acquire(timeout=10)

        def release():
            file.touch()
            return first.result()

        yield release
    finally:
        file.touch()
        first.result()


def held(x, file=""):
    x = np.array(x, np.float32)
    return request({"file": [str(file)] * len(x), "x": x}, signature="held")


def ask(stub, *xs):
    return [stub.Predict.future(held(x), timeout=30) for x in xs]


def values(response, output="y"):
    return tf.make_ndarray(response.outputs[output]).tolist()


def test_41_outputs_are_split_back_and_padding_is_invisible(stub, busy, queued):
    calls = ask(stub, [[2.0]]) + [stub.Predict.future(held([[4.0], [6.0]]))]  # one of them without a deadline
    assert queued.acquire(timeout=10) and queued.acquire(timeout=10)
    assert values(busy()) == [2.5]
    one, two = [call.result() for call in calls]
    assert values(one) == [3.0] and values(two) == [4.0, 5.0]
    assert values(one, "rows") == [4] and values(two, "rows") == [4, 4]  # 1 + 2 in one batch, filled up to 4
    alone = stub.Predict(held([[2.0, 4.0]]), timeout=20)
    assert values(alone) == [5.0] and values(alone, "rows") == [2]


@pytest.mark.parametrize(
    "sizes, told",
    [
        ((4, 2), "monotonically increasing"),
        ((2, 4), "Last entry in allowed_batch_sizes must match max_batch_size"),
    ],
)
def test_42_allowed_batch_sizes(own, tmp_path, capsys, monkeypatch, sizes, told):
    for kind in ("intra", "inter"):
        monkeypatch.setattr(server.tf.config.threading, f"set_{kind}_op_parallelism_threads", lambda _: None)
    file = tmp_path / "batching.config"
    file.write_text(f"max_batch_size {{ value: 8 }} allowed_batch_sizes: {list(sizes)}")
    code, out, error = run_here(
        server, capsys, "--port=0", "--model_base_path=/m", "--enable_batching", f"--batching_parameters_file={file}"
    )
    assert (code, out, error.count("\n")) == (1, "", 1) and told in error


def test_43_unequal_shapes_without_padding(stub, busy, queued):
    calls = ask(stub, [[2.0, 3.0]], [[4.0, 5.0, 6.0]])
    assert queued.acquire(timeout=10) and queued.acquire(timeout=10)
    busy()
    for call in calls:
        assert call.exception().code() == FP
        assert "different shapes and padding is turned off" in call.exception().details()


def test_44_full_queue(stub, busy):
    full = [[1.0]] * 4
    calls = ask(stub, full, full)  # the one that comes second finds no place
    done, waiting = concurrent.futures.wait(futures_of(calls), timeout=10, return_when="FIRST_COMPLETED")
    assert len(done) == len(waiting) == 1
    (failed,) = done
    assert failed.exception().code() == grpc.StatusCode.UNAVAILABLE
    text = "The batch scheduling queue to which this task was submitted is full"
    assert text in failed.exception().details()
    busy()
    (served,) = waiting
    assert values(served.result(timeout=20)) == [2.5] * 4


def futures_of(calls):
    """gRPC's futures are none of the standard library's."""
    found = []
    for call in calls:
        future = concurrent.futures.Future()

        def end(call, future=future):
            failure = call.exception()
            future.set_result(call.result()) if failure is None else future.set_exception(failure)

        call.add_done_callback(end)
        found.append(future)
    return found


def test_45_request_larger_than_a_batch(stub):
    code, text = refused(stub.Predict, held([[1.0]] * 5))
    assert code == IA and "Task size 5 is larger than maximum input batch size 4" in text


def test_46_deadline_passes_in_the_queue(running, busy):
    """By REST, whose timeout is the server's: a gRPC client gives up itself when its deadline has passed."""
    ask_rest = asking(f"127.0.0.1:{running.rest_port}")
    body = {"signature_name": "held", "inputs": {"file": [""], "x": [[1.0]]}}
    code, answer = ask_rest("POST", "/v1/models/toy:predict", body)
    assert code == 429 and "Run() timeout exceeded while waiting in batching queue" in answer["error"]
    busy()
    code, answer = ask_rest("POST", "/v1/models/toy:predict", body)
    assert (code, answer["outputs"]["y"]) == (200, [2.5])


def test_47_what_has_no_rows_runs_unbatched(stub, busy, tmp_path):
    """The one batch thread is held all the while."""
    (tmp_path / "now").touch()
    response = stub.Predict(request({"file": str(tmp_path / "now")}, signature="slow"), timeout=20)
    assert tf.make_ndarray(response.outputs["offset"]) == 2.0
    busy()
