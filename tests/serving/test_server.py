"""The embedded server as a process, asked with nothing but tensorflow-serving-api.

test_NN_...: NN is the item of TF Serving's behaviour it checks. That the process ends well after SIGTERM is
checked where it is stopped: in conftest.py.
"""

import os
import shutil
import signal
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import server
from serving.config import ModelConfig
from serving.servable import Servable
from tests.serving.toys import ROOT, Toy, run_process, start, stop, until
from tests.serving.wire import (
    FP,
    IA,
    NF,
    X,
    appear,
    ends_after_the_last_answer,
    refused,
    request,
    shape,
    states,
)
from tests.tfrecords.here import run_here


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(served.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


# ---- Predict ----


def test_01_missing_model_spec(stub):
    assert refused(stub.Predict, predict_pb2.PredictRequest()) == (IA, "Missing ModelSpec")


def test_02_empty_name(stub):
    assert refused(stub.Predict, request({"x": X}, model="")) == (IA, "ModelSpec has no name specified.")


def test_03_unknown_model(stub):
    assert refused(stub.Predict, request({"x": X}, model="nobody")) == (
        NF,
        "Servable not found for request: Latest(nobody)",
    )


def test_04_unknown_version(stub):
    assert refused(stub.Predict, request({"x": X}, version=99)) == (
        NF,
        "Servable not found for request: Specific(toy, 99)",
    )


def test_05_labels(stub):
    assert refused(stub.Predict, request({"x": X}, label="nightly")) == (
        IA,
        "Unrecognized servable version label: nightly",
    )
    assert stub.Predict(request({"x": X}, label="stable")).model_spec.version.value == 1
    assert refused(stub.Predict, request({"x": X}, label="later"))[0] == NF


def test_06_unknown_signature(stub):
    assert refused(stub.Predict, request({"x": X}, version=1, signature="paint")) == (
        FP,
        'Serving signature key "paint" not found.',
    )


def test_07_default_signature_and_latest_version_are_filled_in(stub):
    response = stub.Predict(request({"x": X}))
    assert (
        response.model_spec.name,
        response.model_spec.version.value,
        response.model_spec.signature_name,
    ) == ("toy", 2, "serving_default")
    assert list(response.outputs["y"].float_val) == [4.0, 5.5]
    assert stub.Predict(request({"x": X}, version=1)).outputs["y"].float_val == [3.0, 4.5]


@pytest.mark.parametrize(
    "inputs, text",
    [
        ({}, "0!=2 len({}) != len({a,b}). Sent extra: {}. Missing but required: {a,b}."),
        ({"b": [1]}, "1!=2 len({b}) != len({a,b}). Sent extra: {}. Missing but required: {a}."),
        (
            {"a": [[1.0, 2.0]], "b": [1], "c": [1]},
            "3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. Missing but required: {}.",
        ),
    ],
)
def test_08_number_of_inputs(stub, inputs, text):
    assert refused(stub.Predict, request(inputs, version=1, signature="two")) == (
        IA,
        f"input size does not match signature: {text}",
    )


def test_09_wrong_alias(stub):
    assert refused(stub.Predict, request({"a": [[1.0, 2.0]], "z": [1]}, version=1, signature="two")) == (
        IA,
        "input tensor alias not found in signature: z. Inputs expected to be in the set {a,b}.",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dtype": 1, "tensor_shape": shape(-1)},
        {"dtype": 1, "tensor_shape": {"unknown_rank": True}},
        {"dtype": 1, "tensor_shape": shape(3), "tensor_content": b"12345678"},
        {"dtype": 1, "tensor_shape": shape(2), "tensor_content": b"123456789"},
        {"dtype": 1, "tensor_shape": shape(2**40), "float_val": [1.0]},
        {"dtype": 1, "tensor_shape": shape(2**28), "float_val": [1.0]},
        {"dtype": 12345},
    ],
)
def test_10_undecodable_tensor(stub, fields):
    code, text = refused(stub.Predict, request({"x": tensor_pb2.TensorProto(**fields)}))
    assert code == IA and text.startswith("tensor parsing error: x")


def test_11_wrong_dtype_and_shape(stub):
    assert refused(stub.Predict, request({"x": [1, 2]})) == (
        IA,
        "Expects input x to be float but int32 is provided",
    )
    assert refused(stub.Predict, request({"x": 1.0})) == (
        IA,
        "Expects input x to have shape [?] but [] is provided",
    )
    assert refused(stub.Predict, request({"a": [[1.0, 2.0, 3.0]], "b": [1]}, version=1, signature="two"))[
        1
    ] == ("Expects input a to have shape [?,2] but [1,3] is provided")


def test_12_unknown_output(stub):
    assert refused(stub.Predict, request({"x": X}, outputs=["q"])) == (
        IA,
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    )


def test_13_duplicate_output(stub):
    assert refused(stub.Predict, request({"x": X}, outputs=["y", "y"])) == (
        IA,
        "duplicate output tensor alias: y",
    )


def test_14_output_filter(stub):
    inputs = {"a": [[1.0, 2.0]], "b": np.array([7])}
    every = stub.Predict(request(inputs, version=1, signature="two")).outputs
    assert sorted(every) == ["double", "row_sums", "text"] and every["text"].string_val == [b"7"]
    some = stub.Predict(request(inputs, version=1, signature="two", outputs=["double"])).outputs
    assert sorted(some) == ["double"] and some["double"].int64_val == [14]


def test_16_other_signatures(stub):
    response = stub.Predict(request({"text": [b"a\0", "ö".encode()]}, version=1, signature="echo"))
    assert response.model_spec.signature_name == "echo"
    assert list(response.outputs["text"].string_val) == [b"a\0", "ö".encode()]
    assert list(response.outputs["length"].int_val) == [2, 2]


def test_17_outputs_are_typed_fields_that_make_ndarray_reads(stub):
    x = np.array([0.0, 1.0, 2.0, 100.0], np.float32)
    outputs = stub.Predict(request({"x": x}, version=1, signature="kinds")).outputs
    assert len(outputs) == 15
    for name, proto in outputs.items():
        assert not proto.tensor_content and proto.dtype == tf.as_dtype(name).as_datatype_enum
        np.testing.assert_array_equal(tf.make_ndarray(proto), tf.cast(x, name).numpy(), err_msg=name)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"float_val": [2.0, 5.0], "tensor_shape": shape(2)}, [4.0, 5.5]),
        ({"tensor_content": np.array([2, 5], "<f4").tobytes(), "tensor_shape": shape(2)}, [4.0, 5.5]),
        ({"float_val": [2.0], "tensor_shape": shape(3)}, [4.0, 4.0, 4.0]),
        ({"tensor_shape": shape(0)}, []),
    ],
)
def test_17_inputs_in_either_form(stub, fields, expected):
    proto = tensor_pb2.TensorProto(dtype=1, **fields)
    assert list(stub.Predict(request({"x": proto})).outputs["y"].float_val) == expected


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


def test_other_calls_are_unimplemented(served, stub):
    code, text = refused(stub.Classify, classification_pb2.ClassificationRequest())
    assert code == grpc.StatusCode.UNIMPLEMENTED and "does not answer this call" in text
    assert "Traceback" not in served.log.read_text()


def test_39_unix_socket(served):
    with grpc.insecure_channel(f"unix:{served.models.parent}/socket") as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request({"x": X}))
    assert response.outputs["y"].float_val == [4.0, 5.5]


# ---- Metadata and status ----


def test_25_metadata(stub):
    def ask(*fields):
        return get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=model_pb2.ModelSpec(name="toy", version={"value": 1}), metadata_field=fields
        )

    code, text = refused(stub.GetModelMetadata, ask())
    assert code == IA and "must specify at least one metadata_field" in text
    assert refused(stub.GetModelMetadata, ask("weights")) == (IA, "Metadata field weights is not supported")
    response = stub.GetModelMetadata(ask("signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["two"].inputs["a"].dtype == tf.float32.as_datatype_enum
    assert "serving_default" in signatures.signature_def


def test_26_status_of_all_and_one_version(models):
    every = states(models, "toy")
    assert list(every) == [2, 1]
    for status in every.values():
        assert (status.state, status.status.error_code, status.status.error_message) == (30, 0, "")
    assert list(states(models, "toy", 1)) == [1]


def test_27_status_of_unknown(models):
    def ask(**spec):
        return get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(**spec))

    assert refused(models.GetModelStatus, ask(name="nobody")) == (
        NF,
        "Could not find any versions of model nobody",
    )
    assert refused(models.GetModelStatus, ask(name="toy", version={"value": 9})) == (
        NF,
        "Could not find version 9 of model toy",
    )
    assert refused(models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()) == (
        IA,
        "Missing ModelSpec",
    )


def test_model_without_a_version_is_waited_for(served, stub, models):
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


BAD = "model_config_list { config { name: 3 } }"


def is_refused(code, out, error):
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: ")
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in error


def test_36_unparsable_config_is_one_sentence_and_exit_1(tmp_path, capsys):
    (tmp_path / "bad.config").write_text(BAD)
    is_refused(*run_here(server, capsys, "--port=0", f"--model_config_file={tmp_path}/bad.config"))


@pytest.mark.slow
def test_36_as_a_process(tmp_path):
    (tmp_path / "bad.config").write_text(BAD)
    is_refused(*run_process("serving.server", "--port=0", f"--model_config_file={tmp_path}/bad.config"))


def test_38_neither_model_nor_config(capsys):
    code, out, error = run_here(server, capsys, "--port=0")
    assert (code, out, error) == (
        1,
        "",
        "error: Both --model_base_path and --model_config_file are empty! Set one of them.\n",
    )


def damaged_pb(path):
    (path / "saved_model.pb").write_bytes((path / "saved_model.pb").read_bytes()[:1000])


def damaged_values(path):
    (file,) = (path / "variables").glob("variables.data-*")
    first, *others = file.read_bytes()
    file.write_bytes(bytes([first ^ 255, *others]))


def missing_values(path):
    shutil.rmtree(path / "variables")


DAMAGED = [
    (damaged_pb, "Can't parse {0}/saved_model.pb as binary proto"),
    (damaged_values, "TensorBundle at {0}/variables/variables shard 0 (4 bytes): Checksum does not match: "),
    (
        missing_values,
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
        "{0}/variables/variables}}",
    ),
]


def is_one_line_about(path, reason, code, out, error):
    assert (code, out, error.count("\n")) == (1, "", 1), error
    begin = f"error: 1 servable(s) did not become available: {{m version 7: {reason.format(path)}"
    assert error.startswith(begin) and error.endswith(f"}}; export again what is in {path} or remove it.\n")


@pytest.fixture
def whole(tmp_path):
    Toy(1.0).save(tmp_path / "m" / "7", "serving_default")
    return tmp_path / "m" / "7"


@pytest.mark.parametrize("damage, reason", DAMAGED)
def test_35_damaged_version_at_start_up_is_one_line(whole, capsys, caplog, monkeypatch, damage, reason):
    # What belongs to the tests' own process stays as it is.
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    for kind in ("intra", "inter"):
        monkeypatch.setattr(server.tf.config.threading, f"set_{kind}_op_parallelism_threads", lambda _: None)
    damage(whole)
    arguments = ("--port=0", "--max_num_load_retries=0", "--model_name=m", f"--model_base_path={whole.parent}")
    is_one_line_about(whole, reason, *run_here(server, capsys, *arguments))
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.slow
def test_35_as_a_process(whole):
    damaged_values(whole)
    arguments = ("--port=0", "--max_num_load_retries=0", "--model_name=m", f"--model_base_path={whole.parent}")
    is_one_line_about(whole, DAMAGED[1][1], *run_process("serving.server", *arguments))


@pytest.mark.parametrize("damage, reason", DAMAGED)
def test_35_damaged_later_version_is_one_line_of_the_log(whole, caplog, damage, reason):
    later = whole.parent / "8"
    models = [ModelConfig("m", str(whole.parent))]
    with caplog.at_level("WARNING"), server.Server(models, port=0, poll_seconds=0.05, load_retries=0):
        hidden = whole.parent / ".8"
        shutil.copytree(whole, hidden)
        damage(hidden)
        hidden.rename(later)
        assert until(lambda: caplog.records)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"Model m version 8 in {later} cannot be loaded: ") and "\n" not in said
    assert reason.rstrip("}").format(later) in said and said.endswith(" (given up)")


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
                patch.setattr(Servable, "predict", lambda *_: 1 / 0)
                code, text = refused(stub.Predict, request({"x": X}, model="a"))
            assert code == grpc.StatusCode.INTERNAL and "division" not in text
            assert stub.Predict(request({"x": X}, model="a")).outputs["y"].float_val == [2.0, 3.5]
