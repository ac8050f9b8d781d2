"""Tensors and tf.Examples as TF Serving's REST writes them in JSON: in come parsed bodies, out go protos, and back."""

import base64
import binascii
import itertools

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import input_pb2

from serving.status import invalid
from serving.tensors import array_of, array_of_proto, text_array, write_tensor

_NAMES = {number: name.removeprefix("DT_").lower() for name, number in types_pb2.DataType.items()}


def read_inputs(body, declared):
    """({input: TensorProto}, whether by rows) of the body of a `predict`.

    Row form: {"instances": [value, ...]} of a signature with one input, or [{input: value, ...}, ...].
    Column form: {"inputs": value} of a signature with one input, or {input: value, ...}.

    Args:    declared: {input: TensorInfo}.
    Raises:  StatusError INVALID_ARGUMENT.
    """
    if ("instances" in body) == ("inputs" in body):
        raise invalid("Missing 'inputs' or 'instances' key" if "inputs" not in body else
                      "Request has both 'inputs' and 'instances' keys but takes one of them")  # fmt: skip
    by_rows = "instances" in body
    columns = _columns(body["instances"], declared) if by_rows else _named(body["inputs"], declared)
    return {name: _proto(name, value, declared[name]) for name, value in columns.items() if name in declared} | {
        name: tensor_pb2.TensorProto() for name in columns if name not in declared  # refused as gRPC's are
    }, by_rows


def write_outputs(outputs, by_rows):
    """{output: TensorProto} as JSON: {"predictions": [...]} by rows, else {"outputs": ...}.

    Strings of an output whose name ends in _bytes become {"b64": text}.
    """
    values = {name: array_of_proto(proto) for name, proto in outputs.items()}
    columns = {name: _plain(name, array) for name, array in values.items()}
    single = len(columns) == 1
    if not by_rows:
        return {"outputs": next(iter(columns.values())) if single else columns}
    sizes = {name: array.shape[0] if array.ndim else None for name, array in values.items()}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise invalid(f"The outputs have no common batch size ({told}); ask in column form, with 'inputs'")
    if single:
        return {"predictions": next(iter(columns.values()))}
    return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


def read_examples(body):
    """Input of the body of a `classify` or `regress`: {"context": {...}, "examples": [{feature: value}, ...]}."""
    examples, context = body.get("examples"), body.get("context")
    if not isinstance(examples, list) or not examples:
        raise invalid("When method is classify or regress, key 'examples' is expected and must be a non-empty list")
    found = input_pb2.Input()
    if context is None:
        into = found.example_list.examples
    else:
        _fill_example(found.example_list_with_context.context, context, "context")
        into = found.example_list_with_context.examples
    for place, example in enumerate(examples):
        _fill_example(into.add(), example, f"example {place}")
    return found


def number(value):
    """A float32 with as few digits as tell it from its neighbours."""
    return float(str(np.float32(value)))


def _columns(instances, declared):
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list with one value a row, and not empty")
    if len(declared) == 1 and not all(_is_named(row, declared) for row in instances):
        return {next(iter(declared)): instances}
    names = None
    for place, row in enumerate(instances):
        if not isinstance(row, dict) or "b64" in row and len(row) == 1:
            raise invalid(f"'instances' {place} must be an object that names the inputs {', '.join(sorted(declared))}")
        if names is not None and set(row) != names:
            raise invalid(f"'instances' {place} has the inputs {sorted(row)} but the first one {sorted(names)}")
        names = set(row)
    return {name: [row[name] for row in instances] for name in names}


def _named(inputs, declared):
    if len(declared) == 1 and not _is_named(inputs, declared):
        return {next(iter(declared)): inputs}
    if not isinstance(inputs, dict):
        raise invalid(f"'inputs' must be an object that names the inputs {', '.join(sorted(declared))}")
    return inputs


def _is_named(value, declared):
    return isinstance(value, dict) and (not _is_base64(value) or "b64" in declared)


def _is_base64(value):
    return isinstance(value, dict) and set(value) == {"b64"}


def _proto(name, value, info):
    proto = tensor_pb2.TensorProto()
    write_tensor(_array(name, value, tf.as_dtype(info.dtype)), proto, content=True)
    return proto


def _array(name, value, dtype):
    """An array of a declared dtype of a JSON value."""
    expected = _NAMES[dtype.as_datatype_enum].replace("dt_", "")
    if dtype == tf.string:
        return _text(name, value)
    try:
        array = np.array(value)
    except (ValueError, OverflowError, RecursionError):
        raise invalid(f"Encountered list at unexpected size: the rows of {name} have unequal lengths") from None
    kinds = {"bool": "b"}.get(expected, "iu" if dtype.is_integer else "iuf")
    if array.size and (array.dtype.kind not in kinds or kinds != "b" and _has_truths(value, array.ndim)):
        for one in _leaves(value):
            if not _is_of(one, kinds):
                raise invalid(f"JSON Value: {str(one)[:100]!r} of input {name} is not of expected type: {expected}")
        array = _large(name, value, dtype, expected)
    if dtype.is_integer and array.size and not dtype.min <= array.min() <= array.max() <= dtype.max:
        raise invalid(f"JSON Value: {name} holds a number outside of {expected}, {dtype.min} to {dtype.max}")
    if dtype == tf.bfloat16:
        return array_of(tf.cast(array.astype(np.float32), dtype))
    return array.astype(dtype.as_numpy_dtype)


def _has_truths(value, ranks):
    """Whether a list of numbers holds true or false, which NumPy takes for 1 and 0 beside them."""
    for _ in range(ranks - 1):
        value = itertools.chain.from_iterable(value)
    return bool in map(type, value if ranks else [value])


def _large(name, value, dtype, expected):
    """An array of numbers of which some are whole but too large for any integer dtype."""
    try:
        if not dtype.is_integer:
            return np.array(value, np.float64)
    except OverflowError:
        pass
    raise invalid(f"JSON Value: {name} holds a number outside of {expected}")


def _leaves(value):
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack += reversed(one)
        else:
            yield one


def _is_of(value, kinds):
    if isinstance(value, bool):
        return kinds == "b"
    return isinstance(value, int) and "i" in kinds or isinstance(value, float) and "f" in kinds


def _text(name, value):
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = [value]
    for size in shape:
        if any(not isinstance(one, list) or len(one) != size for one in flat):
            raise invalid(f"Encountered list at unexpected size: the rows of {name} have unequal lengths")
        flat = [item for one in flat for item in one]
    return text_array([_bytes(name, one) for one in flat]).reshape(shape)


def _bytes(name, value):
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if _is_base64(value) and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise invalid(f"Input {name}: unable to base64 decode its 'b64'") from None
    raise invalid(f"JSON Value: {str(value)[:100]!r} of input {name} is not of expected type: string")


def _plain(name, array):
    """Nested lists that JSON can hold."""
    if array.dtype != object:
        if array.dtype.kind == "c":
            raise invalid(f"Output {name} holds complex numbers, which JSON does not; ask by gRPC")
        return (array if array.dtype.kind in "iub" else array.astype(np.float64)).tolist()
    encode = name.endswith("_bytes")

    def one(data):
        return {"b64": base64.b64encode(data).decode()} if encode else data.decode("utf-8", "replace")

    def nested(value):
        return [nested(part) for part in value] if isinstance(value, list) else one(value)

    return nested(array.tolist())


def _fill_example(example, features, place):
    if not isinstance(features, dict):
        raise invalid(f"{place} must be an object of features")
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[name]
        if all(isinstance(one, str) or _is_base64(one) for one in values) and values:
            feature.bytes_list.value.extend(_bytes(name, one) for one in values)
        elif all(_is_of(one, "i") for one in values) and values:
            if not all(-(2**63) <= one < 2**63 for one in values):
                raise invalid(f"{place}: feature {name} holds a number outside of int64")
            feature.int64_list.value.extend(values)
        elif all(_is_of(one, "if") for one in values) and values:
            feature.float_list.value.extend(_float32(one, name, place) for one in values)
        else:
            raise invalid(f"{place}: feature {name} must be strings, whole numbers or numbers, all of one kind")


def _float32(value, name, place):
    if abs(value) > 3.4028235e38 and value == value and abs(value) != float("inf"):
        raise invalid(f"{place}: feature {name} holds a number outside of float")
    return value
