"""Tensors and examples in the JSON of REST."""

import base64
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import json_tensors
from serving.status import Code, StatusError


def declared(**dtypes):
    """{input: TensorInfo}, whose shapes JSON does not look at."""
    numbers = {name: tf.as_dtype(dtype).as_datatype_enum for name, dtype in dtypes.items()}
    return {name: meta_graph_pb2.TensorInfo(dtype=number) for name, number in numbers.items()}


def read(body, **dtypes):
    protos, by_rows = json_tensors.read_inputs(body, declared(**dtypes))
    return {name: tf.make_ndarray(proto) for name, proto in protos.items()}, by_rows


def refused(body, **dtypes):
    with pytest.raises(StatusError) as caught:
        json_tensors.read_inputs(body, declared(**dtypes))
    assert caught.value.code == Code.INVALID_ARGUMENT
    return caught.value.message


# ---- Inputs ----


@pytest.mark.parametrize(
    "body, by_rows",
    [
        ({"instances": [[1, 2], [3, 4]]}, True),
        ({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, True),
        ({"inputs": [[1, 2], [3, 4]]}, False),
        ({"inputs": {"x": [[1, 2], [3, 4]]}}, False),
    ],
)
def test_one_input_in_every_form(body, by_rows):
    found, told = read(body, x="float32")
    assert found["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]] and found["x"].dtype == np.float32 and told == by_rows


def test_several_inputs_in_both_forms():
    rows, _ = read({"instances": [{"a": 1.5, "b": "x"}, {"b": "y", "a": 2.5}]}, a="float32", b="string")
    columns, _ = read({"inputs": {"a": [1.5, 2.5], "b": ["x", "y"]}}, a="float32", b="string")
    for found in (rows, columns):
        assert found["a"].tolist() == [1.5, 2.5] and found["b"].tolist() == [b"x", b"y"]


def test_inputs_that_are_not_declared_are_left_to_the_servable():
    protos, _ = json_tensors.read_inputs({"inputs": {"a": [1], "z": [1]}}, declared(a="int32", b="int32"))
    assert sorted(protos) == ["a", "z"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "int64", "uint8", "uint64", "bool"])
def test_dtypes(dtype):
    values = [True, False] if dtype == "bool" else [0, 1, 100]
    protos, _ = json_tensors.read_inputs({"inputs": values}, declared(x=dtype))
    assert protos["x"].dtype == tf.as_dtype(dtype).as_datatype_enum
    assert tf.make_ndarray(protos["x"]).tolist() == values


@pytest.mark.parametrize(
    "dtype, text, expected",
    [
        ("int64", f"[{-(2**63)}, {2**63 - 1}]", [-(2**63), 2**63 - 1]),
        ("uint64", f"[{2**64 - 1}]", [2**64 - 1]),
        ("float64", f"[{10**30}, 1.5]", [1e30, 1.5]),
        ("float32", f"[{2**64}]", [2.0**64]),
        ("float32", "[Infinity, -Infinity]", [math.inf, -math.inf]),
        ("float32", "[]", []),
        ("float32", "3", 3.0),
    ],
)
def test_numbers_at_the_ends(dtype, text, expected):
    assert read({"inputs": json.loads(text)}, x=dtype)[0]["x"].tolist() == expected


@pytest.mark.parametrize(
    "dtype, value, told",
    [
        ("float32", ["2.0"], "JSON Value: '2.0' of input x is not of expected type: float"),
        ("float32", [[1.0], ["a"]], "JSON Value: 'a' of input x is not of expected type: float"),
        ("float32", [None], "'None' of input x is not of expected type: float"),
        ("float32", [{"a": 1}, 2], "not of expected type: float"),
        ("int32", [1.5], "'1.5' of input x is not of expected type: int32"),
        ("int32", [True], "'True' of input x is not of expected type: int32"),
        ("int32", [[2], [True]], "'True' of input x is not of expected type: int32"),
        ("float32", [True], "'True' of input x is not of expected type: float"),
        ("float32", [1.5, False], "'False' of input x is not of expected type: float"),
        ("float32", [[[1.5, 2], [0, 1]], [[1, 2], [3, True]]], "'True' of input x is not of expected type: float"),
        ("float32", True, "'True' of input x is not of expected type: float"),
        ("bfloat16", [1, True], "'True' of input x is not of expected type: bfloat16"),
        ("bool", [True, 0], "'0' of input x is not of expected type: bool"),
        ("bool", [1], "'1' of input x is not of expected type: bool"),
        ("string", [1], "'1' of input x is not of expected type: string"),
        ("int8", [128], "outside of int8, -128 to 127"),
        ("uint8", [-1], "outside of uint8"),
        ("int64", [2**63], "outside of int64"),
        ("int64", [-5, 2**63], "outside of int64"),
        ("int64", [10**30], "outside of int64"),
        ("float64", [10**400], "outside of double"),
        ("float32", [[1, 2], [3]], "Encountered list at unexpected size"),
        ("float32", [[1], 2], "Encountered list at unexpected size"),
        ("string", [["a", "b"], ["c"]], "Encountered list at unexpected size"),
        ("string", [{"b64": "?"}], "unable to base64 decode"),
        ("string", [{"b64": 3}], "not of expected type: string"),
    ],
)
def test_values_that_are_refused(dtype, value, told):
    assert told in refused({"inputs": {"x": value}}, x=dtype)


@pytest.mark.parametrize(
    "body, told",
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [1], "instances": [1]}, "both 'inputs' and 'instances'"),
        ({"instances": []}, "'instances' must be a list"),
        ({"instances": {"a": 1, "b": 2}}, "'instances' must be a list"),
        ({"instances": [1, 2]}, "'instances' 0 must be an object that names the inputs a, b"),
        ({"instances": [{"a": 1, "b": 2}, {"a": 1}]}, "'instances' 1 has the inputs ['a'] but the first"),
        ({"inputs": [1]}, "'inputs' must be an object that names the inputs a, b"),
    ],
)
def test_bodies_that_are_refused(body, told):
    assert told in refused(body, a="int32", b="int32")


def test_bytes_are_base64_or_text():
    data = bytes(range(256))
    one = {"b64": base64.b64encode(data).decode()}
    found, _ = read({"instances": [one, "ö", ""]}, image="string")
    assert found["image"].tolist() == [data, "ö".encode(), b""]
    found, _ = read({"instances": [{"image": one}]}, image="string")
    assert found["image"].tolist() == [data]
    found, _ = read({"inputs": one}, image="string")
    assert found["image"].tolist() == data and found["image"].shape == ()


# ---- Outputs ----


def protos(**values):
    return {name: tf.make_tensor_proto(value) for name, value in values.items()}


def test_outputs_in_both_forms():
    one, two = protos(y=np.float32([1.5, 2.5])), protos(a=np.array([[1, 2], [3, 4]]), b=np.array([True, False]))
    assert json_tensors.write_outputs(one, True) == {"predictions": [1.5, 2.5]}
    assert json_tensors.write_outputs(one, False) == {"outputs": [1.5, 2.5]}
    rows = [{"a": [1, 2], "b": True}, {"a": [3, 4], "b": False}]
    assert json_tensors.write_outputs(two, True) == {"predictions": rows}
    assert json_tensors.write_outputs(two, False) == {"outputs": {"a": [[1, 2], [3, 4]], "b": [True, False]}}


def test_only_outputs_named_bytes_are_base64():
    texts = np.array([[b"\xff\0", b"b"]], object)
    found = json_tensors.write_outputs(protos(image_bytes=texts, text=texts), False)["outputs"]
    assert found["image_bytes"] == [[{"b64": base64.b64encode(b"\xff\0").decode()}, {"b64": "Yg=="}]]
    assert found["text"] == [["\ufffd\0", "b"]]


@pytest.mark.parametrize(
    "outputs, told",
    [
        ({"a": np.zeros(2), "b": np.zeros(3)}, "no common batch size (a 2, b 3)"),
        ({"a": np.float32(1)}, "no common batch size (a None)"),
        ({"a": np.zeros(2, np.complex64)}, "complex numbers"),
    ],
)
def test_outputs_that_rows_or_json_cannot_hold(outputs, told):
    with pytest.raises(StatusError) as caught:
        json_tensors.write_outputs(protos(**outputs), True)
    assert told in caught.value.message and caught.value.code == Code.INVALID_ARGUMENT


def test_numbers_keep_their_value_and_stay_short():
    assert json_tensors.number(np.float32(0.1)) == 0.1
    for value in np.random.default_rng(0).normal(size=50).astype(np.float32):
        assert np.float32(json_tensors.number(value)) == value


# ---- Examples ----


def test_examples():
    given = json_tensors.read_examples(
        {"examples": [{"f": 1.5, "i": 2, "s": "t", "b": {"b64": "AA=="}, "l": [1, 2], "m": [1, 2.5]}, {}]}
    )
    first, second = given.example_list.examples
    feature = first.features.feature
    assert feature["f"].float_list.value == [1.5] and feature["i"].int64_list.value == [2]
    assert feature["s"].bytes_list.value == [b"t"] and feature["b"].bytes_list.value == [b"\0"]
    assert feature["l"].int64_list.value == [1, 2] and feature["m"].float_list.value == [1.0, 2.5]
    assert not second.features.feature
    given = json_tensors.read_examples({"context": {"c": 1}, "examples": [{"f": 1.5}]}).example_list_with_context
    assert given.context.features.feature["c"].int64_list.value == [1] and len(given.examples) == 1


@pytest.mark.parametrize(
    "body, told",
    [
        ({}, "key 'examples' is expected"),
        ({"examples": []}, "non-empty list"),
        ({"examples": {"f": 1}}, "non-empty list"),
        ({"examples": [1]}, "example 0 must be an object"),
        ({"context": [], "examples": [{}]}, "context must be an object"),
        ({"examples": [{}, {"f": [1, "a"]}]}, "example 1: feature f must be"),
        ({"examples": [{"f": None}]}, "feature f must be"),
        ({"examples": [{"f": []}]}, "feature f must be"),
        ({"examples": [{"f": True}]}, "feature f must be"),
        ({"examples": [{"f": 2**63}]}, "outside of int64"),
        ({"examples": [{"f": 1e300}]}, "outside of float"),
        ({"examples": [{"f": [1.5, 10**400]}]}, "outside of float"),
    ],
)
def test_examples_that_are_refused(body, told):
    with pytest.raises(StatusError) as caught:
        json_tensors.read_examples(body)
    assert told in caught.value.message and caught.value.code == Code.INVALID_ARGUMENT
