"""The embedded server as a process, asked with nothing but tensorflow-serving-api.

What TF Serving does the same is in conformance/. That the process ends well after SIGTERM is checked where it is
stopped: in conftest.py.
"""

import os
import signal
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import server
from serving.config import ModelConfig, read_config
from serving.servable import Servable
from tests.serving.toys import ROOT, Toy, start, stop, until
from tests.serving.wire import IA, NF, X, appear, ends_after_the_last_answer, refused, request, stub_of


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(served.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


# ---- Predict ----


def test_bytes_that_are_no_image(stub):
    code, text = refused(
        stub.Predict, request({"image_bytes": [b"not a picture"]}, version=1, signature="embed")
    )
    assert code == IA and "Unknown image file format" in text
    assert "Traceback" not in text and "{{node" not in text and "most recent call" not in text


def test_error_texts_are_bounded(stub):
    code, text = refused(stub.Predict, request({"x": X}, model="é" * 100_000))
    assert code == NF and 100 < len(text) <= 2000


def test_request_that_is_no_message(served, channel):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, text = refused(call, b"\xff\xff")
    assert code == grpc.StatusCode.INTERNAL and "cannot be parsed" in text
    assert "Traceback" not in served.log.read_text()


def test_message_above_grpcs_own_default_size(served):
    x = np.arange(3_000_000, dtype=np.float32)  # 12 MB each way
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(served.address, options=options) as wide:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(wide).Predict(request({"x": x}))
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), x / 2 + 3)


def test_model_without_a_version_is_waited_for(served, stub):
    assert refused(stub.Predict, request({"x": X}, model="none_yet"))[0] == NF
    assert "Model none_yet: " in served.log.read_text() and "waiting for one" in served.log.read_text()
    (served.models / "none_yet").mkdir()
    appear(served.models / "none_yet", 1, lambda path: Toy(4.0).save(path, "serving_default"))

    def answer():
        try:
            return stub.Predict(request({"x": X}, model="none_yet"))
        except grpc.RpcError:
            return None

    assert until(answer).outputs["y"].float_val == [5.0, 6.5]


# ---- Process ----


@pytest.mark.slow
def test_sigint_ends_it_as_sigterm_does(tmp_path):
    """Also: a relative --model_base_path."""
    Toy(1.0).save(tmp_path / "m" / "1", "slow")
    running = start(
        ["--model_name=m", f"--model_base_path={os.path.relpath(tmp_path / 'm', ROOT)}"], tmp_path
    )
    try:
        ends_after_the_last_answer(running, signal.SIGINT, "m", 1.0)
    finally:
        stop(running)


@pytest.mark.parametrize(
    "given, expected", [("models/m", "{here}/models/m"), ("/models/m", "/models/m"), ("gs://b/m", "gs://b/m")]
)
def test_relative_base_path_is_from_where_the_command_runs(given, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = types.SimpleNamespace(model_config_file="", model_name="m", model_base_path=given)
    assert server._models_from_flags(values) == [ModelConfig("m", expected.format(here=os.getcwd()))]


# ---- Parts, in this process ----


def test_port_in_use(served):
    port = int(served.address.split(":")[1])
    with pytest.raises(
        OSError, match=f"`127.0.0.1:{port}` cannot be listened on: .* choose another with --port"
    ):
        server.Server([ModelConfig("toy", str(served.models / "toy"))], port=port).start()


def test_needs_something_to_listen_on():
    with pytest.raises(ValueError, match="Neither `port` nor `grpc_socket_path`"):
        server.Server([ModelConfig("a", "/a")], port=None)


def test_unforeseen_failure_is_internal_and_the_server_lives(tmp_path, monkeypatch):
    Toy(1.0).save(tmp_path / "a" / "1", "serving_default")
    with server.Server([ModelConfig("a", str(tmp_path / "a"))], port=0) as running:
        with grpc.insecure_channel(running.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with monkeypatch.context() as patch:
                patch.setattr(Servable, "asked", lambda *_: 1 / 0)
                code, text = refused(stub.Predict, request({"x": X}, model="a"))
            assert code == grpc.StatusCode.INTERNAL and "division" not in text
            assert stub.Predict(request({"x": X}, model="a")).outputs["y"].float_val == [2.0, 3.5]


def test_config_file_whose_folder_comes_later_is_read_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(server, "CONFIG_SECONDS", 0.1)
    file, late = tmp_path / "models.config", tmp_path / "late"
    Toy(1.0).save(tmp_path / "a" / "1", "serving_default")
    form = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" }}'

    def write(*names):
        listed = " ".join(form.format(name, tmp_path) for name in names)
        (tmp_path / "new").write_text(f"model_config_list {{ {listed} }}")
        (tmp_path / "new").rename(file)

    def serves(name):
        try:
            return stub.Predict(request({"x": X}, model=name), timeout=20)
        except grpc.RpcError:
            return None

    write("a")
    words = {"port": 0, "poll_seconds": 0.05, "config_file": str(file), "config_poll_seconds": 0.05}
    with server.Server(read_config(file), **words) as running, stub_of(running) as stub:
        write("a", "late")
        assert until(lambda: [one for one in caplog.records if "are not served" in one.getMessage()])
        assert serves("a") and not serves("late")
        late.mkdir()
        appear(late, 1, lambda path: Toy(2.0).save(path, "serving_default"))
        assert until(lambda: serves("late"))
        write("late")
        assert until(lambda: not serves("a")) and serves("late")
