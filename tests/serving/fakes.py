"""Servers that fail as they are told, for the tests of clients."""

import concurrent.futures
import contextlib
import itertools
import socket
import threading

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class Failing(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Answers `embed` with the sizes of the images; before that it fails once for each (code, text) of `failures`.

    `asked` counts calls by name, `most` is how many Predict calls it saw at a time, `sizes` the images of each. Every
    call is held by `gate(name, context)` first.
    """

    def __init__(self, *failures, gate=None):
        self.failures, self.gate = list(failures), gate
        self.asked, self.most, self.sizes, self.reloaded = {}, 0, [], []
        self._now, self._lock = 0, threading.Lock()

    def Predict(self, request, context):  # noqa: N802
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self._begin("Predict", context)
            images = request.inputs["image_bytes"].string_val
            self.sizes.append(len(images))
            if any(image == b"refused" for image in images):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Unknown image file format")
            vectors = np.array([[len(image), 1] for image in images], np.float32)
            return predict_pb2.PredictResponse(outputs={"embedding": tf.make_tensor_proto(vectors)})
        finally:
            with self._lock:
                self._now -= 1

    def GetModelMetadata(self, request, context):  # noqa: N802
        self._begin("GetModelMetadata", context)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = 7
        response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return response

    def GetModelStatus(self, request, context):  # noqa: N802
        self._begin("GetModelStatus", context)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[{"version": 7, "state": AVAILABLE}])

    def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        self._begin("HandleReloadConfigRequest", context)
        self.reloaded.append(request.config)
        return model_management_pb2.ReloadConfigResponse()

    def _begin(self, name, context):
        with self._lock:
            self.asked[name] = self.asked.get(name, 0) + 1
            failure = self.failures.pop(0) if self.failures else None
        if self.gate:
            self.gate(name, context)
        if failure:
            context.abort(*failure)


def three_and_no_fourth():
    """A gate that the first three requests pass together, late enough for a fourth to be seen if one is sent."""
    together, fourth, turns = threading.Barrier(3), threading.Event(), itertools.count()

    def gate(*_):
        if next(turns) < 3:
            together.wait(20)
            fourth.wait(0.3)
        else:
            fourth.set()

    return gate


@contextlib.contextmanager
def serving(servicer, credentials=None, port=0, **options):
    """The address at which a servicer answers."""
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0), *options.items()]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    at = f"localhost:{port}" if credentials else f"127.0.0.1:{port}"
    port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    server.start()
    try:
        yield f"localhost:{port}" if credentials else f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


class Relay:
    """Passes TCP on to an address; counts the connections and the bytes that clients send."""

    def __init__(self, address):
        self.connections, self.sent = 0, 0
        self._to = address.rpartition(":")[::2]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.cut()
        self._end(self._listening)

    def cut(self):
        """Ends the connections there are; new ones are accepted."""
        while self._open:
            self._end(self._open.pop())

    @staticmethod
    def _end(taken):
        with contextlib.suppress(OSError):
            taken.shutdown(socket.SHUT_RDWR)
        taken.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection((self._to[0], int(self._to[1])))
                self.connections += 1
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(*ends, ends[0] is near), daemon=True).start()

    def _pass(self, source, target, counted):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent += len(data) if counted else 0
                target.sendall(data)
