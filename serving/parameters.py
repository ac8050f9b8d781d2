"""TF Serving's parameter files as messages: in comes text format, out goes what is set in it.

`tensorflow-serving-api` ships no classes for these; the fields here are described anew, by their public names, in a
package of our own, so that both may be loaded beside each other.
"""

import os

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers

PARAMETER_BYTES = 2**20
_PACKAGE = "few_label_images.serving"
_KINDS = descriptor_pb2.FieldDescriptorProto

# {message: {field: (number, kind, repeated)}}; a kind is a wrapper of google.protobuf, a message of ours, or a scalar.
_FIELDS = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value", False),
        "batch_timeout_micros": (2, "Int64Value", False),
        "max_enqueued_batches": (3, "Int64Value", False),
        "num_batch_threads": (4, "Int64Value", False),
        "thread_pool_name": (5, "StringValue", False),
        "allowed_batch_sizes": (6, "int64", True),
        "pad_variable_length_inputs": (7, "bool", False),
        "enable_large_batch_splitting": (10, "BoolValue", False),
        "max_execution_batch_size": (11, "Int64Value", False),
    },
    "PrometheusConfig": {"enable": (1, "bool", False), "path": (2, "string", False)},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig", False)},
    "SSLConfig": {
        "server_key": (1, "string", False),
        "server_cert": (2, "string", False),
        "custom_ca": (3, "string", False),
        "client_verify": (4, "bool", False),
    },
}
_SCALARS = {"int64": _KINDS.TYPE_INT64, "bool": _KINDS.TYPE_BOOL, "string": _KINDS.TYPE_STRING}


def _classes():
    file = descriptor_pb2.FileDescriptorProto(
        name="few_label_images/serving/parameters.proto", package=_PACKAGE, syntax="proto3",
        dependency=[wrappers.DESCRIPTOR.name],
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind, repeated) in fields.items():
            label = _KINDS.LABEL_REPEATED if repeated else _KINDS.LABEL_OPTIONAL
            if kind in _SCALARS:
                described.field.add(name=field, number=number, label=label, type=_SCALARS[kind])
            else:
                package = _PACKAGE if kind in _FIELDS else "google.protobuf"
                described.field.add(
                    name=field, number=number, label=label, type=_KINDS.TYPE_MESSAGE, type_name=f".{package}.{kind}"
                )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


_CLASSES = _classes()


def read_parameters(kind, path, flag):
    """The message `kind` ("BatchingParameters", "MonitoringConfig", "SSLConfig") of a file in text format.

    Raises: ValueError that names the flag and the file; OSError.
    """
    if os.path.getsize(path) > PARAMETER_BYTES:
        raise ValueError(
            f"`{flag}` names `{path}`, which is larger than the {PARAMETER_BYTES:,} bytes that a {kind} may have; "
            "check the path."
        )
    with open(path, encoding="utf-8", errors="replace") as stream:  # what is no text cannot be parsed either
        return parse_parameters(kind, stream.read(), f"`{flag}` {path}: ")


def parse_parameters(kind, text, place=""):
    """As read_parameters, of the text itself.   Raises: ValueError that begins with `place`."""
    message = _CLASSES[kind]()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        told = " ".join(str(error).split()).replace(f"{_PACKAGE}.", "tensorflow.serving.")
        raise ValueError(f"{place}Error parsing text-format tensorflow.serving.{kind}: {told}") from error
    return message


def value_of(message, field, default):
    """What a wrapped field holds, `default` where it is not set."""
    return getattr(message, field).value if message.HasField(field) else default
