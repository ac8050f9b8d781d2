"""gRPC in front of `serving.calls`: in come calls of PredictionService, ModelService and health, out go answers."""

import contextlib
import functools
import threading
from concurrent import futures

import grpc
from absl import logging
from google.protobuf import message as protobuf_message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import galleries
from serving.status import Code, StatusError

LARGEST_MESSAGE = 2**31 - 1
WAITING_CALLS = 1024  # more are refused with RESOURCE_EXHAUSTED at once instead of filling the memory
NO_DEADLINE = 1e8  # gRPC tells of the end of its calendar where there is none, which no lock can wait for
RELOAD_SECONDS = 0.2  # before its deadline a reload that is not done gives up, so that its answer says why


class Requests(futures.ThreadPoolExecutor):
    """The threads that answer; counts the requests that are open, and those that may still join a batch."""

    def __init__(self, threads):
        super().__init__(threads, thread_name_prefix="requests")
        self._lock, self._open, self._arriving, self._leaving = threading.Lock(), 0, 0, 0
        self._own = threading.local()

    def submit(self, work, *args, **kwargs):
        self._count(1)
        with self._lock:
            self._arriving += 1
        future = super().submit(self._started, work, *args, **kwargs)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def arriving(self):
        """Requests that have come but neither wait for a batch yet nor are answered."""
        return self._arriving

    def arrived(self):
        """This thread's request waits for a batch, or is answered: nobody need wait for it."""
        if getattr(self._own, "arriving", False):
            self._own.arriving = False
            with self._lock:
                self._arriving -= 1

    @contextlib.contextmanager
    def under_way(self):
        """Counts a request of another thread than those here, such as one of REST."""
        self._count(1)
        with self._lock:
            self._arriving += 1
        self._own.arriving = True
        try:
            yield
        finally:
            self.arrived()
            self._count(-1)

    def hold(self, context):
        """Counts a request until its answer has left."""
        self._count(1, 1)
        if not context.add_callback(lambda: self._count(-1, -1)):
            self._count(-1, -1)

    def at_work(self):
        """Requests that are worked on or wait for a thread."""
        with self._lock:
            return self._open - self._leaving

    def are_done(self):
        with self._lock:
            return not self._open

    def _started(self, work, *args, **kwargs):
        self._own.arriving = True
        try:
            return work(*args, **kwargs)
        finally:
            self.arrived()

    def _count(self, change, leaving=0):
        with self._lock:
            self._open += change
            self._leaving += leaving


class _Decoding(grpc.ServerInterceptor):
    """Parses requests in the handlers: gRPC's own way leaks 16 KB and logs a traceback for each bad one."""

    def intercept_service(self, continuation, handler_call_details):
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def parse_and_answer(data, context):
            try:
                request = handler.request_deserializer(data)
            except protobuf_message.DecodeError:
                context.abort(Code.INTERNAL, "The request cannot be parsed as the message this call takes.")
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            parse_and_answer, response_serializer=handler.response_serializer
        )


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, calls, requests):
        self.Predict = _answered(requests, calls.predict)
        self.Classify = _answered(requests, calls.classify)
        self.Regress = _answered(requests, calls.regress)
        self.MultiInference = _answered(requests, calls.multi_inference)
        self.GetModelMetadata = _answered(requests, calls.metadata)


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, calls, requests):
        self.GetModelStatus = _answered(requests, calls.status)
        self.HandleReloadConfigRequest = _answered(requests, calls.reload, spared=RELOAD_SECONDS)


def _answered(requests, work, spared=0.0):
    """The handler of a call: `work` with the seconds that are left, and its StatusErrors as gRPC's."""

    def answer(request, context):
        requests.hold(context)
        left = context.time_remaining()
        if left is not None and left > NO_DEADLINE:
            left = None
        if not context.is_active():  # it waited for a thread longer than its client waits for it
            context.abort(Code.DEADLINE_EXCEEDED, "The request's deadline passed before its turn came.")
        try:
            return work(request, timeout=None if left is None else max(0.0, left - spared))
        except StatusError as error:
            failure = error
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            logging.exception("A request failed in an unforeseen way.")
            failure = StatusError(Code.INTERNAL, "The server failed on this request; its log says where.")
        return context.abort(failure.code, failure.message)

    return answer


def grpc_server(calls, requests, with_health=False, arguments=(), changing=None):
    """A grpc.Server that is not started and has no port yet.

    Args:   with_health: answer grpc.health.v1 as well: SERVING for "" and each of TF Serving's services.
            arguments: [(name, value)] for its channels, as --grpc_channel_arguments.
            changing: serving.galleries.Galleries, to be changed over the wire; None = nobody may.
    """
    options = {
        "grpc.max_receive_message_length": LARGEST_MESSAGE,
        "grpc.max_send_message_length": LARGEST_MESSAGE,
        "grpc.so_reuseport": 0,  # else a second server on the port starts and takes half the calls
        **dict(arguments),
    }
    server = grpc.server(
        requests,
        interceptors=[_Decoding()],
        maximum_concurrent_rpcs=WAITING_CALLS,
        options=list(options.items()),
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(calls, requests), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(calls, requests), server)
    if changing is not None:
        galleries.add_to_server(changing, functools.partial(_answered, requests, spared=RELOAD_SECONDS), server)
    if with_health:
        servicer = health.HealthServicer()
        for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
            servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return server
