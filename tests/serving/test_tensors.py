"""Protos of requests and answers against TensorFlow's own conversion."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving import tensors
from serving.status import StatusError
from tests.serving.wire import IA, shape

NUMBERS = (
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool "
    "complex64 complex128"
).split()


def info(dtype="float32", *sizes):
    return meta_graph_pb2.TensorInfo(
        dtype=tf.as_dtype(dtype).as_datatype_enum, tensor_shape=shape(*sizes) if sizes else None
    )


def values(dtype):
    return tf.cast(tf.constant([[0.0, 1.0, 2.0], [100.0, 1.0, 0.0]]), dtype)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("content", [False, True])
def test_written_as_make_ndarray_reads_it(dtype, content):
    proto = tensor_pb2.TensorProto()
    tensors.write_tensor(tensors.array_of(values(dtype)), proto, content)
    assert proto.dtype == tf.as_dtype(dtype).as_datatype_enum
    assert bool(proto.tensor_content) == (content and dtype != "bfloat16")
    np.testing.assert_array_equal(tf.make_ndarray(proto), values(dtype).numpy())


@pytest.mark.parametrize("dtype", NUMBERS)
def test_read_in_either_form(dtype):
    for content in (False, True):
        proto = tensor_pb2.TensorProto()
        tensors.write_tensor(tensors.array_of(values(dtype)), proto, content)
        for sent in (proto, tf.make_tensor_proto(values(dtype))):
            read = tensors.read_tensor("x", sent, info(dtype, -1, 3))
            assert tf.as_dtype(read.dtype) == dtype
            np.testing.assert_array_equal(read, values(dtype).numpy())


@pytest.mark.parametrize("strings", [[b"a\0\0", b"", "\u00f6".encode()], []])
def test_strings_byte_for_byte_and_never_as_content(strings):
    proto = tensor_pb2.TensorProto()
    tensors.write_tensor(tensors.text_array(strings), proto, content=True)
    assert list(proto.string_val) == strings and not proto.tensor_content
    read = tensors.read_tensor("x", proto, info("string", -1))
    assert read.dtype == object and read.tolist() == strings


def test_scalars_and_empty_ones():
    for value in (np.float32(3.0), np.zeros((0, 2), np.float32)):
        proto = tensor_pb2.TensorProto()
        tensors.write_tensor(np.asarray(value), proto)
        np.testing.assert_array_equal(tensors.read_tensor("x", proto, info()), value)


def test_one_value_stands_for_all():
    proto = tensor_pb2.TensorProto(dtype=1, float_val=[2.0], tensor_shape=shape(2, 2))
    assert tensors.read_tensor("x", proto, info()).tolist() == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    "fields, declared, text",
    [
        ({"dtype": 12345}, info(), "tensor parsing error: x (no dtype or no full shape)"),
        ({"dtype": 1, "tensor_shape": shape(-1)}, info(), "tensor parsing error: x (no dtype or no full"),
        ({"dtype": 3}, info(), "Expects input x to be float but int32 is provided"),
        ({"dtype": 1}, meta_graph_pb2.TensorInfo(), "x to be a sparse or ragged tensor, which the embedded"),
        (
            {"dtype": 1, "tensor_shape": shape(1, 3)},
            info("float32", -1, 2),
            "Expects input x to have shape [?,2] but [1,3] is provided",
        ),
        (
            {"dtype": 1, "tensor_shape": shape(3), "tensor_content": b"12345678"},
            info(),
            "shape [3] takes 12 bytes but tensor_content has 8",
        ),
        (
            {"dtype": 1, "tensor_shape": shape(2**40), "float_val": [1.0]},
            info(),
            f"shape [{2**40}] holds far more than the",
        ),
        (
            {"dtype": 7, "tensor_shape": shape(2**22), "string_val": [b"a"]},
            info("string"),
            f"shape [{2**22}] holds far more than the",
        ),
        (
            {"dtype": 14, "tensor_shape": shape(2), "tensor_content": b"123"},
            info("bfloat16"),
            "tensor parsing error: x (shape and values do not agree)",
        ),
    ],
)
def test_refusals_name_the_input(fields, declared, text):
    with pytest.raises(StatusError) as caught:
        tensors.read_tensor("x", tensor_pb2.TensorProto(**fields), declared)
    assert caught.value.code == IA and text in caught.value.message
