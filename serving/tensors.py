"""Tensors and their protos: in come a request's, checked against the signature; out go an answer's."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.status import invalid

EXPANDED_BYTES = 64 * 2**20  # a few bytes may declare a huge tensor of one repeated value; this is the limit


def read_tensor(alias, proto, info):
    """TensorProto of a request -> array of the dtype and shape the signature declares; of dtype object for strings.

    float_val and the like are read by TensorFlow's own parser: a seventh of the time of tf.make_ndarray, and
    TF Serving's rules for repeated values and encoded strings.
    Raises: StatusError INVALID_ARGUMENT that names the input.
    """
    dims = [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype not in _DTYPE_NAMES or proto.tensor_shape.unknown_rank or min(dims, default=0) < 0:
        raise _unreadable(alias, "no dtype or no full shape")
    if proto.dtype != info.dtype:
        raise invalid(
            f"Expects input {alias} to be {_dtype_name(info)} but {_DTYPE_NAMES[proto.dtype]} is provided"
        )
    if info.HasField("tensor_shape") and not _fits(dims, info.tensor_shape):
        raise invalid(
            f"Expects input {alias} to have shape "
            f"{_shape_text(info.tensor_shape)} but {_dims_text(dims)} is provided"
        )
    (dtype, plain, size), count = _READ[proto.dtype], math.prod(dims)
    # A string takes at least two bytes of the message, but 24 of memory.
    much = count * size if size else 24 * count
    if much > EXPANDED_BYTES and count * (size or 1) > proto.ByteSize():
        raise _unreadable(
            alias, f"shape {_dims_text(dims)} holds far more than the {proto.ByteSize()} bytes sent"
        )
    content = proto.tensor_content if plain else b""
    if content:
        if len(content) != count * size:
            raise _unreadable(
                alias,
                f"shape {_dims_text(dims)} takes {count * size} bytes but tensor_content has {len(content)}",
            )
        return np.frombuffer(content, plain).reshape(dims)
    if proto.string_val and len(proto.string_val) == count:
        return text_array(proto.string_val).reshape(dims)
    try:
        return array_of(tf.io.parse_tensor(proto.SerializeToString(), dtype))
    except tf.errors.OpError as error:
        raise _unreadable(alias, "shape and values do not agree") from error


def array_of(tensor):
    """A tf.Tensor's values; strings as bytes in an array of dtype object."""
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)


def array_of_proto(proto):
    """The values of a sound TensorProto; strings as bytes in an array of dtype object."""
    array = tf.make_ndarray(proto)
    return array.astype(object) if proto.dtype == types_pb2.DT_STRING else array


def text_array(items):
    """[n] of dtype object: NumPy's own byte strings lose trailing zeros."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def write_tensor(array, proto, content=False):
    """Fill an empty TensorProto: typed fields (float_val ...), or with `content` tensor_content.

    Strings are always string_val: tf.make_ndarray, which Python clients use, cannot read encoded ones.
    """
    dtype = tf.as_dtype(array.dtype)
    if content and array.dtype.type in _PLAIN:
        proto.tensor_content = array.tobytes()
    elif array.dtype.type in _PACKED:
        # A packed field on the wire is the array itself; extend() with floats takes 350 times as long.
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        proto.MergeFromString(_PACKED[array.dtype.type] + _varint(len(data)) + data)
    elif dtype in _FIELDS:
        field, view = _FIELDS[dtype]
        getattr(proto, field).extend((array.view(view) if view else array).ravel().tolist())
    else:
        proto.CopyFrom(tf.make_tensor_proto(array, dtype))
        return
    proto.dtype = dtype.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size


_PLAIN = {
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.complex64,
    np.complex128,
    np.bool_,
}
# Key byte of the packed field: number << 3 | 2 for length-delimited.
_PACKED = {
    np.float32: bytes([tensor_pb2.TensorProto.FLOAT_VAL_FIELD_NUMBER << 3 | 2]),
    np.float64: bytes([tensor_pb2.TensorProto.DOUBLE_VAL_FIELD_NUMBER << 3 | 2]),
    np.complex64: bytes([tensor_pb2.TensorProto.SCOMPLEX_VAL_FIELD_NUMBER << 3 | 2]),
    np.complex128: bytes([tensor_pb2.TensorProto.DCOMPLEX_VAL_FIELD_NUMBER << 3 | 2]),
}
_FIELDS = {
    tf.int8: ("int_val", None),
    tf.int16: ("int_val", None),
    tf.int32: ("int_val", None),
    tf.uint8: ("int_val", None),
    tf.uint16: ("int_val", None),
    tf.int64: ("int64_val", None),
    tf.uint32: ("uint32_val", None),
    tf.uint64: ("uint64_val", None),
    tf.bool: ("bool_val", None),
    tf.string: ("string_val", None),
    tf.float16: ("half_val", np.uint16),
    tf.bfloat16: ("half_val", np.uint16),
}
_DTYPE_NAMES = {
    number: name.removeprefix("DT_").lower() for name, number in types_pb2.DataType.items() if number
}
# Of each dtype: tf.DType, the NumPy type that tensor_content may hold or None, bytes of an element or None.
_PLAIN_OF = {tf.as_dtype(kind).as_datatype_enum: kind for kind in _PLAIN}
_READ = {
    number: (dtype, _PLAIN_OF.get(number), dtype.size)
    for number, dtype in ((number, tf.as_dtype(number)) for number in _DTYPE_NAMES)
}


def _dtype_name(info):
    return _DTYPE_NAMES.get(info.dtype, "a sparse or ragged tensor, which the embedded server does not take")


def _varint(number):
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes(encoded) + bytes([number])


def _unreadable(alias, reason):
    return invalid(f"tensor parsing error: {alias} ({reason})")


def _fits(dims, declared):
    if declared.unknown_rank:
        return True
    return len(dims) == len(declared.dim) and all(
        want.size in (-1, got) for got, want in zip(dims, declared.dim)
    )


def _shape_text(shape):
    return _dims_text(["?" if dim.size < 0 else dim.size for dim in shape.dim])


def _dims_text(dims):
    return f"[{','.join(map(str, dims))}]"
