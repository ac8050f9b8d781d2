"""The embedded server as a process, asked with nothing but tensorflow-serving-api.

test_NN_...: NN is the item of TF Serving's behaviour it checks.
"""

import concurrent.futures
import os
import shutil
import signal
import socket
import time

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
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving import server
from tests.serving.toys import Toy, run_here, run_process, start, until

IA, FP, NF = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
X = tf.make_tensor_proto([2.0, 5.0])


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


def request(inputs, model="toy", signature="", version=None, label=None, outputs=()):
    spec = model_pb2.ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    inputs = {
        name: value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        for name, value in inputs.items()
    }
    return predict_pb2.PredictRequest(model_spec=spec, inputs=inputs, output_filter=outputs)


def refused(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    return caught.value.code(), caught.value.details()


def states(models, model, version=None):
    spec = model_pb2.ModelSpec(name=model)
    if version is not None:
        spec.version.value = version
    answer = models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec), timeout=20)
    return {status.version: status for status in answer.model_version_status}


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


def shape(*sizes):
    return {"dim": [{"size": size} for size in sizes]}


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


def test_other_calls_are_unimplemented(stub):
    code, _ = refused(stub.Classify, classification_pb2.ClassificationRequest())
    assert code == grpc.StatusCode.UNIMPLEMENTED


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


# ---- Versions over time ----


def appear(folder, number, build):
    """As an export does it: whole or not at all."""
    hidden = folder / f".new-{number}"
    build(hidden)
    os.rename(hidden, folder / str(number))


def test_39_new_version_is_picked_up_and_requests_under_way_finish(served, stub, models):
    folder = served.models / "moving"
    for name in ("tmp", "v7", "-3", "1.5", "99999999999999999999999"):  # no versions
        (folder / name).mkdir()
    (folder / "12").write_text("a file, no folder")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        go = served.models.parent / "go"
        slow = pool.submit(stub.Predict, request({"file": str(go)}, model="moving", signature="slow"))
        assert until((served.models.parent / "go.begun").exists)
        appear(folder, "0000007", lambda path: Toy(70.0).save(path, "serving_default", "slow"))
        assert until(
            lambda: states(models, "moving").get(7) is not None and states(models, "moving")[7].state == 30
        )
        fast = stub.Predict(request({"x": X}, model="moving"))
        assert fast.model_spec.version.value == 7 and fast.outputs["y"].float_val == [71.0, 72.5]
        assert until(lambda: states(models, "moving")[1].state == 40)
        assert not slow.done()
        go.touch()
        response = slow.result(timeout=60)
    assert response.model_spec.version.value == 1 and response.outputs["offset"].float_val == [1.0]
    assert until(lambda: states(models, "moving")[1].state == 50)
    assert list(states(models, "moving")) == [7, 1]
    assert refused(stub.Predict, request({"x": X}, model="moving", version=1))[0] == NF


def broken(path):
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\xff not a protocol buffer")


def bad_warmup(path):
    Toy(9.0).save(path, "serving_default")
    (path / "assets.extra").mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request({"wrong": X}, model="steady"))
    with tf.io.TFRecordWriter(str(path / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def test_35_broken_versions_leave_the_old_one_serving(served, stub, models):
    folder = served.models / "steady"
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
    time.sleep(0.4)
    assert stub.Predict(request({"x": X}, model="steady")).outputs["y"].float_val == [2.0, 3.5]
    # A number that failed may come back whole.
    appear(folder, 2, lambda path: Toy(20.0).save(path, "serving_default"))
    until(lambda: states(models, "steady")[2].state == 30, 2)
    appear(folder, 5, lambda path: Toy(50.0).save(path, "serving_default"))
    assert until(
        lambda: states(models, "steady").get(5) is not None and states(models, "steady")[5].state == 30
    )
    assert until(lambda: states(models, "steady")[1].state == 50)
    assert stub.Predict(request({"x": X}, model="steady")).outputs["y"].float_val == [51.0, 52.5]


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


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signals_end_it_with_0_after_the_last_answer(number, tmp_path):
    Toy(1.0).save(tmp_path / "m" / "1", "slow")
    running = start(["--model_name=m", f"--model_base_path={tmp_path}/m"], tmp_path)
    assert f"listening on 127.0.0.1:{running.address.split(':')[1]}" in running.log.read_text()
    with grpc.insecure_channel(running.address) as channel, concurrent.futures.ThreadPoolExecutor() as pool:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        slow = pool.submit(stub.Predict, request({"file": str(tmp_path / "go")}, model="m", signature="slow"))
        assert until((tmp_path / "go.begun").exists)
        running.process.send_signal(number)
        time.sleep(0.5)
        assert running.process.poll() is None and not slow.done()
        (tmp_path / "go").touch()
        assert slow.result(timeout=5).outputs["offset"].float_val == [1.0]
        since = time.monotonic()
        assert running.process.wait(timeout=20) == 0, running.log.read_text()
        assert time.monotonic() - since < 4.0, "an idle connection must not use up the grace"


def test_36_unparsable_config_is_one_sentence_and_exit_1(tmp_path):
    (tmp_path / "bad.config").write_text("model_config_list { config { name: 3 } }")
    code, out, error = run_process("serving.server", "--port=0", f"--model_config_file={tmp_path}/bad.config")
    assert (code, out, error.count("\n")) == (1, "", 1) and error.startswith("error: ")
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in error


def test_38_neither_model_nor_config(capsys):
    code, out, error = run_here(server, capsys, "--port=0")
    assert (code, out, error) == (
        1,
        "",
        "error: Both --model_base_path and --model_config_file are empty! Set one of them.\n",
    )


# ---- Parts, in this process ----


def test_port_in_use(served):
    port = int(served.address.split(":")[1])
    with pytest.raises(
        OSError, match=f"`127.0.0.1:{port}` cannot be listened on: .* choose another with --port"
    ):
        server.Server([server.ModelConfig("toy", str(served.models / "toy"))], port=port).start()


def test_35_version_that_cannot_be_loaded_at_start_up(tmp_path):
    (tmp_path / "m").mkdir()
    broken(tmp_path / "m" / "4")
    running = server.Server([server.ModelConfig("m", str(tmp_path / "m"))], port=0, load_retries=0)
    with pytest.raises(
        server.StatusError, match=r"1 servable\(s\) did not become available: {m version 4: Can't"
    ):
        running.start()


@pytest.mark.parametrize(
    "text, message",
    [
        (
            'config { name: "a" base_path: "rel/a" model_platform: "tensorflow" }',
            "to have an absolute path or URI",
        ),
        ('config { name: "a" base_path: "/a" }', "Illegal setting neither"),
        (
            'config { name: "a" base_path: "/a" model_type: TENSORFLOW model_platform: "tensorflow" }',
            "setting both",
        ),
        ('config { name: "a" base_path: "/a" model_platform: "caffe" }', 'must be "tensorflow"'),
        ('config { base_path: "/a" model_platform: "tensorflow" }', "`name` of a model is empty"),
        ("", "lists no model"),
    ],
)
def test_config_errors(text, message):
    with pytest.raises(ValueError, match=message):
        server.parse_config(f"model_config_list {{ {text} }}")


def test_config_policies_and_names():
    form = 'model_config_list {{ config {{ name: "a" base_path: "/a" model_platform: "tensorflow" {} }} }}'
    found = {1: "", 5: "", 9: ""}
    for text, expected in (
        ("", [9]),
        ("model_version_policy { latest { num_versions: 2 } }", [9, 5]),
        ("model_version_policy { all { } }", [9, 5, 1]),
        ("model_version_policy { specific { versions: [5, 6] } }", [5]),
    ):
        assert server.parse_config(form.format(text))[0].choose(found) == expected
    model = server.ModelConfig("a", "/a")
    with pytest.raises(ValueError, match="Illegal to list model a multiple times"):
        server.Server([model, model])
    with pytest.raises(ValueError, match="Neither `port` nor `grpc_socket_path`"):
        server.Server([model], port=None)
    with pytest.raises(ValueError, match="custom|Only ModelConfigList"):
        server.parse_config("custom_model_config { }")


def test_retries_show_their_reason_and_end_in_a_timeout(tmp_path):
    Toy(1.0).save(tmp_path / "a" / "1", "serving_default")
    models = [server.ModelConfig("a", str(tmp_path / "a")), server.ModelConfig("b", str(tmp_path / "b"))]
    with server.Server(models, port=0, poll_seconds=0.05, retry_seconds=0.3, tensor_content=True) as running:
        with pytest.raises(TimeoutError, match=r"model b \(no version loaded yet\)"):
            running.wait_until_available(0.2)
        (tmp_path / "b").mkdir()
        broken(tmp_path / "b" / "1")
        with grpc.insecure_channel(running.address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            assert until(lambda: server.State.LOADING in [s.state for s in _statuses(stub, "b")])
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


def warmup_file(folder, records):
    (folder / "assets.extra").mkdir(exist_ok=True)
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def test_warmup(tmp_path):
    Toy(1.0).save(tmp_path / "1", "serving_default")
    servable = server.Servable(str(tmp_path / "1"))
    assert servable.warm_up() == 0
    good = prediction_log_pb2.PredictionLog()
    good.predict_log.request.CopyFrom(request({"x": X}))
    good = good.SerializeToString()
    for records, code, text in (
        (([good] * 3), None, 3),
        ([], None, 0),
        ([good] * 1001, IA, "exceeds the maximum"),
        ([good, b"\xff\xff"], IA, "Failed to parse warmup record"),
        ([b""], grpc.StatusCode.UNIMPLEMENTED, "Unsupported log_type for warmup"),
    ):
        path = warmup_file(tmp_path / "1", records)
        if code is None:
            assert servable.warm_up() == text
            continue
        with pytest.raises(server.StatusError, match=text) as caught:
            servable.warm_up()
        assert caught.value.code == code
    path.write_bytes(b"this is no TFRecord file at all")
    with pytest.raises(server.StatusError, match="Please verify your warmup data is in TFRecord format"):
        servable.warm_up()


def test_40_saved_by_keras(tmp_path):
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(2, kernel_initializer="ones", input_shape=(3,), name="d")]
    )
    tf.saved_model.save(model, str(tmp_path / "1"))
    ((alias, info),) = (
        server.Servable(str(tmp_path / "1")).definitions.signature_def["serving_default"].inputs.items()
    )
    response = server.Servable(str(tmp_path / "1")).predict(request({alias: np.ones((2, 3), np.float32)}))
    assert list(response.outputs["d"].float_val) == [3.0] * 4 and info.tensor_shape.dim[1].size == 3


def test_tags(tmp_path):
    Toy(1.0).save(tmp_path / "1", "serving_default")
    with pytest.raises(server.StatusError, match="matching supplied tags: { train }") as caught:
        server.Servable(str(tmp_path / "1"), ("train",))
    assert caught.value.code == NF


def test_unforeseen_failure_is_internal_and_the_server_lives(tmp_path, monkeypatch):
    Toy(1.0).save(tmp_path / "a" / "1", "serving_default")
    with server.Server([server.ModelConfig("a", str(tmp_path / "a"))], port=0) as running:
        with grpc.insecure_channel(running.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with monkeypatch.context() as patch:
                patch.setattr(server.Servable, "predict", lambda *_: 1 / 0)
                code, text = refused(stub.Predict, request({"x": X}, model="a"))
            assert code == grpc.StatusCode.INTERNAL and "division" not in text
            assert stub.Predict(request({"x": X}, model="a")).outputs["y"].float_val == [2.0, 3.5]


@pytest.mark.parametrize(
    "text, core",
    [
        (
            "Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n"
            '  File "x.py", line 3\n'
            "    y = 1\nsizes differ\nby 2\n\t [[{{node a/b}}]] [Op:__inference_f_1]",
            "sizes differ\nby 2",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  too large\n\t [[{{node c}}]]\n\t [[d/_3]]\n"
            "  (1) INVALID_ARGUMENT:  too large\n\t [[{{node c}}]]\n0 successful operations.",
            "too large",
        ),
        ("{{function_node __wrapped__X}} empty", "empty"),
        ("ValueError: no\nTraceback (most recent call last):\n  File\nValueError: no", "ValueError: no"),
        ("Traceback (most recent call last):\n  File\nKeyError: 7", "KeyError: 7"),
    ],
)
def test_messages_from_graphs(text, core):
    assert server.status_of(tf.errors.InvalidArgumentError(None, None, text)).message == core
