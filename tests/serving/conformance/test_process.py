"""The server as a process, its files and its folders: items 36 to 40."""

import shutil

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, prediction_service_pb2_grpc

from serving import server
from serving.config import read_config
from serving.server import Server
from tests.serving.conformance.models import Toy, config, entry
from tests.serving.toys import run_process, until
from tests.serving.wire import NF, X, appear, refused, request, states, stub_of
from tests.tfrecords.here import run_here

BAD = "model_config_list { config { name: 3 } }"


def is_refused(code, out, error):
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: ")
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in error


def test_36_unparsable_config_is_one_sentence_and_exit_1(own, tmp_path, capsys):
    (tmp_path / "bad.config").write_text(BAD)
    is_refused(*run_here(server, capsys, "--port=0", f"--model_config_file={tmp_path}/bad.config"))


@pytest.mark.slow
def test_36_as_a_process(own, tmp_path):
    (tmp_path / "bad.config").write_text(BAD)
    is_refused(*run_process("serving.server", "--port=0", f"--model_config_file={tmp_path}/bad.config"))


@pytest.fixture
def two(own, target, tmp_path):
    """A folder with a copy of `moving`, and a config of it alone."""
    shutil.copytree(target.models / "moving" / "1", tmp_path / "a" / "1")
    (tmp_path / "models.config").write_text(config([entry("a", tmp_path / "a")]))
    return tmp_path


def serving(folder, poll):
    file = str(folder / "models.config")
    return Server(read_config(file), port=0, poll_seconds=0.05, config_file=file, config_poll_seconds=poll)


def rewrite(folder, *more):
    new = folder / "new.config"
    new.write_text(config([entry("a", folder / "a"), *more]))
    new.rename(folder / "models.config")


def answers(stub, model, version=None):
    try:
        return stub.Predict(request({"x": X}, model=model, version=version), timeout=20)
    except grpc.RpcError:
        return None


def test_37_rewritten_config_is_picked_up(two, caplog):
    with caplog.at_level("ERROR"), serving(two, 0.05) as running, stub_of(running) as stub:
        rewrite(two, entry("b", two / "a"))
        assert until(lambda: answers(stub, "b")) and answers(stub, "a")
        rewrite(two, "config { name: 3 }")
        assert until(lambda: [one for one in caplog.records if "stay as they were" in one.getMessage()])
        assert answers(stub, "a") and answers(stub, "b")
        rewrite(two)
        assert until(lambda: not answers(stub, "b")) and answers(stub, "a")


def test_37_without_polling_the_old_config_stays(two):
    with serving(two, 0) as running, stub_of(running) as stub:
        rewrite(two, entry("b", two / "a"))
        appear(two / "a", 2, lambda path: shutil.copytree(two / "a" / "1", path))
        assert until(lambda: answers(stub, "a", 2))  # the folders are looked at all the while
        assert refused(stub.Predict, request({"x": X}, model="b"))[0] == NF


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--port=0"], "Both --model_base_path and --model_config_file are empty!"),
        (["--port=-1", "--model_base_path=/m"], "`grpc_socket_path`"),
        (["--port=0", "--model_base_path=/m", "--batching_parameters_file=/b"], "`enable_batching`"),
        (["--port=8500", "--rest_api_port=8500", "--model_base_path=/m"], "`rest_api_port`"),
    ],
)
def test_38_flags_that_do_not_go_together(own, capsys, monkeypatch, arguments, told):
    for kind in ("intra", "inter"):
        monkeypatch.setattr(server.tf.config.threading, f"set_{kind}_op_parallelism_threads", lambda _: None)
    code, out, error = run_here(server, capsys, *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: ") and told in error


def test_39_unix_socket(target):
    if target.socket is None:
        pytest.skip("connects to the Unix socket of a server of its own")
    with grpc.insecure_channel(target.socket) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request({"x": X}))
    assert list(response.outputs["y"].float_val) == [4.0, 5.5]


def test_39_channel_arguments_are_taken(own):
    assert server._channel_arguments("grpc.max_connection_age_ms=2000,grpc.primary_user_agent=us") == [
        ("grpc.max_connection_age_ms", 2000), ("grpc.primary_user_agent", "us")]  # fmt: skip
    with pytest.raises(ValueError, match="`grpc_channel_arguments` has `oops`"):
        server._channel_arguments("oops")


def test_39_new_numeric_folder_is_picked_up_and_other_names_are_not(reload, folders, target, stub, models):
    folder = folders / "numbered"
    shutil.copytree(folders / "moving" / "1", folder / "1")
    try:
        reload(numbered=entry("numbered", f"{target.base}/numbered"))
        for name in ("tmp", "v7", "-3", "1.5", "99999999999999999999999"):
            (folder / name).mkdir()
        (folder / "12").write_text("a file, no folder")
        appear(folder, "00000123", lambda path: Toy(70.0).save(path, "serving_default"))
        assert until(lambda: answers(stub, "numbered", 123))
        assert list(answers(stub, "numbered").outputs["y"].float_val) == [71.0, 72.5]
        assert until(lambda: states(models, "numbered")[1].state == 50)
        assert sorted(states(models, "numbered")) == [1, 123]
        assert refused(stub.Predict, request({"x": X}, model="numbered", version=1))[0] == NF
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("model", ["keras", "mirrored"])
def test_40_saved_by_keras_and_under_mirrored_strategy(stub, model):
    """What tf.saved_model.save wrote is every other model here."""
    message = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=model_pb2.ModelSpec(name=model), metadata_field=["signature_def"]
    )
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(message).metadata["signature_def"].Unpack(signatures)
    (alias,) = signatures.signature_def["serving_default"].inputs
    response = stub.Predict(request({alias: np.ones((2, 3), np.float32)}, model=model))
    assert tf.make_ndarray(response.outputs["d"]).tolist() == [[3.0, 3.0], [3.0, 3.0]]
