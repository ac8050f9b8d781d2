"""What the tests send to a server and read from it, with nothing but tensorflow-serving-api."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import socket
import time

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.toys import until

IA, FP, NF = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND
X = tf.make_tensor_proto([2.0, 5.0])
State = get_model_status_pb2.ModelVersionStatus.State


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


@contextlib.contextmanager
def stub_of(running):
    """PredictionService of a server in this process."""
    with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def asking(address):
    """ask(verb, path, body) -> (HTTP status, JSON); a body that is no str or bytes is written as JSON."""

    def ask(verb, path, body=None):
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(verb, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else None

    return ask


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


def examples(*values):
    """An Input of tf.Examples with the feature "x"."""
    found = input_pb2.Input()
    for value in values:
        found.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return found


def shape(*sizes):
    return {"dim": [{"size": size} for size in sizes]}


def appear(folder, number, build):
    """As an export does it: whole or not at all."""
    hidden = folder / f".new-{number}"
    build(hidden)
    os.rename(hidden, folder / str(number))


def broken(path):
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\xff not a protocol buffer")


def ends_after_the_last_answer(running, number, model, offset):
    """Signals a server process while version 1 of `model` works on a request, and waits for its end.

    offset: what the model answers.
    """
    folder = running.log.parent
    with grpc.insecure_channel(running.address) as channel, concurrent.futures.ThreadPoolExecutor() as pool:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        message = request({"file": str(folder / "last")}, model=model, version=1, signature="slow")
        slow = pool.submit(stub.Predict, message)
        try:
            assert until((folder / "last.begun").exists)
            running.process.send_signal(number)
            time.sleep(0.5)
            assert running.process.poll() is None and not slow.done()
        finally:
            (folder / "last").touch()
        assert slow.result(timeout=5).outputs["offset"].float_val == [offset]
        since = time.monotonic()
        assert running.process.wait(timeout=20) == 0, running.log.read_text()
        assert time.monotonic() - since < 4.0, "an idle connection must not use up the grace"
