"""Predict: items 1 to 17."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving.conformance.models import Toy
from tests.serving.wire import FP, IA, NF, X, refused, request, shape


def test_01_missing_model_spec(stub):
    assert refused(stub.Predict, predict_pb2.PredictRequest()) == (IA, "Missing ModelSpec")


def test_02_empty_name(stub):
    code, text = refused(stub.Predict, request({"x": X}, model=""))
    assert code == IA and "ModelSpec has no name specified." in text


def test_03_unknown_model(stub):
    code, text = refused(stub.Predict, request({"x": X}, model="nobody"))
    assert code == NF and "Servable not found for request: Latest(nobody)" in text


def test_04_unknown_version(stub):
    code, text = refused(stub.Predict, request({"x": X}, version=99))
    assert code == NF and "Servable not found for request: Specific(toy, 99)" in text


def test_05_labels(stub):
    code, text = refused(stub.Predict, request({"x": X}, label="nightly"))
    assert code == IA and "Unrecognized servable version label: nightly" in text
    assert stub.Predict(request({"x": X}, label="stable")).model_spec.version.value == 1


def test_06_unknown_signature(stub):
    code, text = refused(stub.Predict, request({"x": X}, version=1, signature="paint"))
    assert code == FP and 'Serving signature key "paint" not found.' in text


def test_07_default_signature_and_latest_version_are_filled_in(stub):
    response = stub.Predict(request({"x": X}))
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 2, "serving_default")
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), [4.0, 5.5])
    old = stub.Predict(request({"x": X}, version=1))
    np.testing.assert_array_equal(tf.make_ndarray(old.outputs["y"]), [3.0, 4.5])


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
    code, told = refused(stub.Predict, request(inputs, version=1, signature="two"))
    assert code == IA and f"input size does not match signature: {text}" in told


def test_09_wrong_alias(stub):
    code, text = refused(stub.Predict, request({"a": [[1.0, 2.0]], "z": [1]}, version=1, signature="two"))
    expected = "input tensor alias not found in signature: z. Inputs expected to be in the set {a,b}."
    assert code == IA and expected in text


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dtype": 1, "tensor_shape": shape(-1)},
        {"dtype": 1, "tensor_shape": {"unknown_rank": True}},
        {"dtype": 1, "tensor_shape": shape(3), "tensor_content": b"12345678"},
        {"dtype": 1, "tensor_shape": shape(2), "tensor_content": b"123456789"},
        {"dtype": 12345},
    ],
)
def test_10_undecodable_tensor(stub, fields):
    code, text = refused(stub.Predict, request({"x": tensor_pb2.TensorProto(**fields)}))
    assert code == IA and "tensor parsing error: x" in text


def test_11_wrong_dtype_and_shape(stub):
    assert refused(stub.Predict, request({"x": [1, 2]}))[0] == IA
    assert refused(stub.Predict, request({"a": [[1.0, 2.0, 3.0]], "b": [1]}, version=1, signature="two"))[0] == IA


def test_12_unknown_output(stub):
    code, text = refused(stub.Predict, request({"x": X}, outputs=["q"]))
    expected = "output tensor alias not found in signature: q Outputs expected to be in the set {y}."
    assert code == IA and expected in text


def test_13_duplicate_output(stub):
    code, text = refused(stub.Predict, request({"x": X}, outputs=["y", "y"]))
    assert code == IA and "duplicate output tensor alias: y" in text


def test_14_output_filter(stub):
    inputs = {"a": [[1.0, 2.0]], "b": np.array([7])}
    every = stub.Predict(request(inputs, version=1, signature="two")).outputs
    assert sorted(every) == ["double", "row_sums", "text"] and every["text"].string_val == [b"7"]
    some = stub.Predict(request(inputs, version=1, signature="two", outputs=["double"])).outputs
    assert sorted(some) == ["double"] and tf.make_ndarray(some["double"]).tolist() == [14]


@pytest.mark.parametrize("signature, output", [("classify_x", "scores"), ("regress_x", "outputs")])
def test_15_predict_takes_signatures_of_other_methods(stub, signature, output):
    example = example_pb2.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    message = request({"inputs": [example.SerializeToString()]}, model="half", signature=signature)
    assert tf.make_ndarray(stub.Predict(message).outputs[output]).tolist() == [[3.0]]


def test_16_other_signatures(stub):
    response = stub.Predict(request({"text": [b"a\0", "ö".encode()]}, version=1, signature="echo"))
    assert response.model_spec.signature_name == "echo"
    assert list(response.outputs["text"].string_val) == [b"a\0", "ö".encode()]
    assert tf.make_ndarray(response.outputs["length"]).tolist() == [2, 2]


def test_17_outputs_are_typed_fields_that_make_ndarray_reads(stub):
    x = np.array([0.0, 1.0, 2.0, 100.0], np.float32)
    outputs = stub.Predict(request({"x": x}, version=1, signature="kinds")).outputs
    assert sorted(outputs) == sorted(Toy.KINDS)
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
    assert tf.make_ndarray(stub.Predict(request({"x": proto})).outputs["y"]).tolist() == expected
