"""Values and their protos, as a client sends and receives them."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.errors import ServingError


def to_proto(name, value):
    """Numbers as tensor_content (float_val costs the server much more), strings byte for byte."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "OSU":
            return _number_proto(name, value)
        value = value.tolist()
    # By hand, not through NumPy: its strings lose trailing zero bytes and each takes the room of the longest.
    shape, items = [], [value]
    while items and isinstance(items[0], (list, tuple)):
        shape.append(len(items[0]))
        if not all(isinstance(item, (list, tuple)) and len(item) == shape[-1] for item in items):
            return _number_proto(name, value)
        items = [part for item in items for part in item]
    if not items or not all(isinstance(item, (str, bytes)) for item in items):
        return _number_proto(name, value)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    proto.string_val.extend(item.encode() if isinstance(item, str) else item for item in items)
    return proto


def _number_proto(name, value):
    try:
        return tf.make_tensor_proto(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` cannot be sent: {' '.join(str(error).split())[:200]}; give an array of numbers "
            "or strings of one shape."
        ) from error


def from_proto(name, proto):
    """The array of an output.   Raises: ServingError for a proto that holds none."""
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise ServingError("DATA_LOSS", f"output `{name}` cannot be read: {error}") from error


def as_text(array):
    """Bytes in an array of dtype object -> str."""
    texts = np.empty(array.shape, dtype=object)
    texts.ravel()[:] = [item.decode("utf-8", "replace") for item in array.ravel()]
    return texts


def describe(tensors):
    """{name: (dtype, shape)} of a signature's inputs or outputs."""
    return {
        name: (
            tf.as_dtype(info.dtype).name if info.dtype else "composite",
            tuple(dim.size for dim in info.tensor_shape.dim) if not info.tensor_shape.unknown_rank else None,
        )
        for name, info in sorted(tensors.items())
    }
