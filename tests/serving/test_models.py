"""Versions over time, as a server in this process answers while its folders change."""

import concurrent.futures
import os
import shutil
import socket
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.config import ModelConfig
from serving.models import Manager
from serving.server import Server
from serving.status import StatusError
from tests.serving.toys import Toy, until
from tests.serving.wire import NF, State, X, appear, broken, refused, request, states


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """moving and steady, each with version 1."""
    folder = tmp_path_factory.mktemp("models")
    Toy(1.0).save(folder / "moving" / "1", "serving_default", "slow")
    Toy(1.0).save(folder / "steady" / "1", "serving_default")
    return folder


@pytest.fixture(scope="module")
def channel(folder):
    configs = [ModelConfig(name, str(folder / name)) for name in ("moving", "steady")]
    with Server(configs, port=0, poll_seconds=0.05, load_retries=0) as running:
        with grpc.insecure_channel(running.address) as channel:
            yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def test_39_new_version_is_picked_up_and_requests_under_way_finish(folder, stub, models, tmp_path):
    folder = folder / "moving"
    for name in ("tmp", "v7", "-3", "1.5", "99999999999999999999999"):  # no versions
        (folder / name).mkdir()
    (folder / "12").write_text("a file, no folder")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        go = tmp_path / "go"
        slow = pool.submit(stub.Predict, request({"file": str(go)}, model="moving", signature="slow"))
        try:
            assert until((tmp_path / "go.begun").exists)
            appear(folder, "0000007", lambda path: Toy(70.0).save(path, "serving_default", "slow"))
            assert until(
                lambda: states(models, "moving").get(7) is not None and states(models, "moving")[7].state == 30
            )
            fast = stub.Predict(request({"x": X}, model="moving"))
            assert fast.model_spec.version.value == 7 and fast.outputs["y"].float_val == [71.0, 72.5]
            assert until(lambda: states(models, "moving")[1].state == 40)
            assert not slow.done()
        finally:
            go.touch()  # else a failure would wait for the answer for ever
        response = slow.result(timeout=60)
    assert response.model_spec.version.value == 1 and response.outputs["offset"].float_val == [1.0]
    assert until(lambda: states(models, "moving")[1].state == 50)
    assert list(states(models, "moving")) == [7, 1]
    assert refused(stub.Predict, request({"x": X}, model="moving", version=1))[0] == NF


def bad_warmup(path):
    Toy(9.0).save(path, "serving_default")
    (path / "assets.extra").mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request({"wrong": X}, model="steady"))
    with tf.io.TFRecordWriter(str(path / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def test_35_broken_versions_leave_the_old_one_serving(folder, stub, models):
    folder = folder / "steady"
    expected = {
        2: (broken, 15, "Can't parse"),
        3: (lambda path: path.mkdir(), 5, "Could not find saved_model.pb"),
        4: (bad_warmup, 3, "Warm-up request 1 failed: input tensor alias not found"),
    }
    for number, (build, code, text) in expected.items():
        appear(folder, number, build)
        assert until(
            lambda number=number: (
                number in states(models, "steady") and states(models, "steady")[number].state == 50
            )
        )
        status = states(models, "steady", number)[number].status
        assert status.error_code == code and text in status.error_message
        assert stub.Predict(request({"x": X}, model="steady")).model_spec.version.value == 1
    assert states(models, "steady")[1].state == 30
    # The folder of the only loaded version going away, and then all of them, changes nothing.
    for number in (1, 2, 3, 4):
        shutil.rmtree(folder / str(number))
    time.sleep(0.3)
    assert stub.Predict(request({"x": X}, model="steady")).outputs["y"].float_val == [2.0, 3.5]
    # A number that failed may come back whole.
    appear(folder, 2, lambda path: Toy(20.0).save(path, "serving_default"))
    assert until(lambda: states(models, "steady")[2].state == 30)
    appear(folder, 5, lambda path: Toy(50.0).save(path, "serving_default"))
    assert until(
        lambda: states(models, "steady").get(5) is not None and states(models, "steady")[5].state == 30
    )
    assert until(lambda: states(models, "steady")[1].state == 50)
    assert stub.Predict(request({"x": X}, model="steady")).outputs["y"].float_val == [51.0, 52.5]


def test_35_version_that_cannot_be_loaded_at_start_up(tmp_path):
    (tmp_path / "m").mkdir()
    broken(tmp_path / "m" / "4")
    running = Server([ModelConfig("m", str(tmp_path / "m"))], port=0, load_retries=0)
    with pytest.raises(StatusError, match=r"1 servable\(s\) did not become available: {m version 4: Can't"):
        running.start()


def test_retries_show_their_reason_and_end_in_a_timeout(tmp_path):
    Toy(1.0).save(tmp_path / "a" / "1", "serving_default")
    models = [ModelConfig("a", str(tmp_path / "a")), ModelConfig("b", str(tmp_path / "b"))]
    with Server(
        models, port=0, poll_seconds=0.05, load_retries=50, retry_seconds=0.2, tensor_content=True
    ) as running:
        with pytest.raises(TimeoutError, match=r"model b \(no version loaded yet\)"):
            running.wait_until_available(0.2)
        (tmp_path / "b").mkdir()
        broken(tmp_path / "b" / "1")
        with grpc.insecure_channel(running.address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            assert until(lambda: State.LOADING in [s.state for s in _statuses(stub, "b")])
            assert until(lambda: "Can't parse" in _statuses(stub, "b")[0].status.error_message)
            shutil.rmtree(tmp_path / "b" / "1")  # repaired before the retries are used up
            Toy(8.0).save(tmp_path / "hidden", "serving_default")
            os.rename(tmp_path / "hidden", tmp_path / "b" / "1")
            running.wait_until_available(10)
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            output = predict(request({"x": X}, model="b")).outputs["y"]
        assert output.tensor_content and not output.float_val
        np.testing.assert_array_equal(tf.make_ndarray(output), np.array([9.0, 10.5], np.float32))
        address = running.address
    with pytest.raises(OSError), socket.create_connection(address.split(":"), timeout=2):
        pass


def _statuses(stub, model):
    message = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=model))
    try:
        return stub.GetModelStatus(message, timeout=5).model_version_status
    except grpc.RpcError:
        return []


def test_a_name_is_listed_once():
    model = ModelConfig("a", "/a")
    with pytest.raises(ValueError, match="Illegal to list model a multiple times"):
        Manager([model, model])


@pytest.mark.parametrize(
    "arguments, flag",
    [
        ({"poll_seconds": -1}, "file_system_poll_wait_seconds"),
        ({"load_retries": -1}, "max_num_load_retries"),
        ({"retry_seconds": float("nan")}, "load_retry_interval_micros"),
    ],
)
def test_times_and_counts_are_not_negative(arguments, flag):
    with pytest.raises(ValueError, match=f"`{flag}` is .* but must not be negative"):
        Manager([ModelConfig("a", "/a")], **arguments)
