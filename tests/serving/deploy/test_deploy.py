"""The files for the real TF Serving: parsed, as there is no Docker here to run them."""

import os
import re

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from serving.config import parse_config
from tests.serving.toys import ROOT

DEPLOY = os.path.join(ROOT, "serving", "deploy")

# tensorflow-serving-api ships no classes for these messages; {name: (field number, type, repeated)}.
MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value", False),
        "batch_timeout_micros": (2, "Int64Value", False),
        "max_enqueued_batches": (3, "Int64Value", False),
        "num_batch_threads": (4, "Int64Value", False),
        "thread_pool_name": (5, "StringValue", False),
        "allowed_batch_sizes": (6, "int64", True),
        "pad_variable_length_inputs": (7, "bool", False),
        "enable_large_batch_splitting": (8, "BoolValue", False),
        "max_execution_batch_size": (9, "Int64Value", False),
    },
    "PrometheusConfig": {"enable": (1, "bool", False), "path": (2, "string", False)},
    "MonitoringConfig": {"prometheus_config": (1, ".suite.PrometheusConfig", False)},
}


def message(name):
    Field = descriptor_pb2.FieldDescriptorProto
    scalars = {"int64": Field.TYPE_INT64, "bool": Field.TYPE_BOOL, "string": Field.TYPE_STRING}
    file = descriptor_pb2.FileDescriptorProto(
        name="suite.proto", package="suite", syntax="proto3", dependency=["google/protobuf/wrappers.proto"]
    )
    for message_name, fields in MESSAGES.items():
        declared = file.message_type.add(name=message_name)
        for field_name, (number, kind, repeated) in fields.items():
            field = declared.field.add(
                name=field_name,
                number=number,
                label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL,
            )
            if kind in scalars:
                field.type = scalars[kind]
            else:
                field.type = Field.TYPE_MESSAGE
                field.type_name = kind if kind.startswith(".") else f".google.protobuf.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"suite.{name}"))()


def read(name):
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as stream:
        return stream.read()


def test_models():
    models = parse_config(read("models.config"))
    assert [(model.name, model.base_path) for model in models] == [
        ("verification", "/models/verification"),
        ("gallery", "/models/gallery"),
    ]


def test_batching():
    parameters = text_format.Parse(read("batching.config"), message("BatchingParameters"))
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) and sizes[-1] == parameters.max_batch_size.value
    assert parameters.num_batch_threads.value >= 1 and 0 <= parameters.batch_timeout_micros.value <= 10_000
    with pytest.raises(text_format.ParseError):  # the parser does tell a misspelt field
        text_format.Parse("max_batch: 3", message("BatchingParameters"))


def test_monitoring():
    config = text_format.Parse(read("monitoring.config"), message("MonitoringConfig")).prometheus_config
    assert config.enable and config.path == "/monitoring/prometheus/metrics"


def test_compose():
    service = yaml.safe_load(read("compose.yaml"))["services"]["serving"]
    assert service["image"] == "tensorflow/serving:2.15.1"
    targets = {}
    for volume in service["volumes"]:
        source, target = re.fullmatch(r"(.+?):(/[^:]+):ro", volume).groups()
        targets[target] = source
    assert targets.pop("/models").startswith("${MODELS:-")
    for source in targets.values():
        assert os.path.isfile(os.path.join(DEPLOY, source)), source
    flags = dict(flag.removeprefix("--").split("=") for flag in service["command"])
    assert {value for value in flags.values() if value.startswith("/")} == set(targets)
    ports = {port.rsplit(":", 1)[1] for port in service["ports"]}
    assert ports == {flags["port"], flags["rest_api_port"]} and flags["enable_batching"] == "true"


def test_readme_is_short_and_honest():
    text = read("README.md")
    assert len(text.splitlines()) <= 25 and "Not run" in text
    for name in re.findall(r"`([a-z]+\.(?:config|yaml))`", text):
        assert os.path.isfile(os.path.join(DEPLOY, name)), name
