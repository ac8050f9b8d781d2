"""Embedded gRPC server for one machine, with TF Serving's calls, flags, error codes and version handling.

    python -m serving.server --model_name=verification --model_base_path=saved_models/models/verification

It answers PredictionService Predict and GetModelMetadata and ModelService GetModelStatus; the other calls
are UNIMPLEMENTED. The port opens once every version found at start-up is loaded; a model whose folder holds
no version yet is waited for while the others serve. Messages may be as large as TF Serving allows (INT32_MAX
bytes).
"""

import os
import signal
import sys
import threading
from concurrent import futures

import grpc
import tensorflow as tf
from absl import flags, logging
from google.protobuf import message as protobuf_message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.config import ModelConfig, read_config
from serving.files import require_place, write_whole
from serving.models import Manager
from serving.status import Code, StatusError, invalid
from tfrecords import command

LARGEST_MESSAGE = 2**31 - 1
WAITING_CALLS = 1024  # more are refused with RESOURCE_EXHAUSTED at once instead of filling the memory


class _Requests(futures.ThreadPoolExecutor):
    """The threads that answer, with a count of the requests that wait, run or are still being sent back."""

    def __init__(self, threads):
        super().__init__(threads, thread_name_prefix="requests")
        self._lock, self._open = threading.Lock(), 0

    def submit(self, *args, **kwargs):
        self._count(1)
        future = super().submit(*args, **kwargs)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def hold(self, context):
        """Counts a request until its answer has left."""
        self._count(1)
        if not context.add_callback(lambda: self._count(-1)):
            self._count(-1)

    def are_done(self):
        with self._lock:
            return not self._open

    def _count(self, change):
        with self._lock:
            self._open += change


class _Decoding(grpc.ServerInterceptor):
    """Parses requests in the handlers: gRPC's own way leaks 16 KB and logs a traceback for each bad one.

    It logs one for each call that is not implemented as well, so these are answered here.
    """

    def intercept_service(self, continuation, handler_call_details):
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def parse_and_answer(data, context):
            try:
                request = handler.request_deserializer(data)
            except protobuf_message.DecodeError:
                context.abort(Code.INTERNAL, "The request cannot be parsed as the message this call takes.")
            try:
                return handler.unary_unary(request, context)
            except NotImplementedError:
                return context.abort(
                    Code.UNIMPLEMENTED, "The embedded server does not answer this call; TF Serving does."
                )

        return grpc.unary_unary_rpc_method_handler(
            parse_and_answer, response_serializer=handler.response_serializer
        )


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, manager, requests, tensor_content):
        self._manager, self._requests, self._tensor_content = manager, requests, tensor_content

    def Predict(self, request, context):  # noqa: N802 - the name of the call
        return _answer(self._requests, self._predict, request, context)

    def GetModelMetadata(self, request, context):  # noqa: N802
        return _answer(self._requests, self._metadata, request, context)

    def _predict(self, request):
        _require_spec(request)
        with self._manager.lease(request.model_spec) as version:
            response = version.servable.predict(request, self._tensor_content)
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
            return response

    def _metadata(self, request):
        _require_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._manager.lease(request.model_spec) as version:
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
            response.metadata["signature_def"].Pack(version.servable.definitions)
        return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, manager, requests):
        self._manager, self._requests = manager, requests

    def GetModelStatus(self, request, context):  # noqa: N802
        return _answer(self._requests, self._statuses, request, context)

    def _statuses(self, request):
        _require_spec(request)
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=self._manager.statuses(request.model_spec)
        )


def _require_spec(request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _answer(requests, work, request, context):
    requests.hold(context)
    if not context.is_active():  # it waited for a thread longer than its client waits for it
        context.abort(Code.DEADLINE_EXCEEDED, "The request's deadline passed before its turn came.")
    try:
        return work(request)
    except StatusError as error:
        failure = error
    except Exception:  # noqa: BLE001 - one bad request must not end the server
        logging.exception("A request failed in an unforeseen way.")
        failure = StatusError(Code.INTERNAL, "The server failed on this request; its log says where.")
    return context.abort(failure.code, failure.message)


class Server:
    """The embedded server as an object, for a process of its own or for use inside one.

    Args:    models: [ModelConfig].  port: TCP port on `host`; 0 = a free one, None = no TCP port.
             socket_path: Unix socket to serve on as well.  threads: requests answered at a time; 0 = 4 a CPU.
             tensor_content: answer in tensor_content instead of typed fields.
             poll_seconds, tags, warmup, load_retries, retry_seconds: see Manager.
    Raises:  ValueError for arguments that cannot be served.
    """

    def __init__(
        self,
        models,
        port=8500,
        host="127.0.0.1",
        socket_path="",
        threads=0,
        tensor_content=False,
        poll_seconds=1.0,
        tags=("serve",),
        warmup=True,
        load_retries=5,
        retry_seconds=60.0,
    ):
        if port is None and not socket_path:
            raise ValueError(
                "Neither `port` nor `grpc_socket_path` is set; the server needs at least one of them."
            )
        if port is not None and not 0 <= port <= 65535:
            raise ValueError(f"`port` is {port} but must be between 0 (a free one) and 65535.")
        if threads < 0:
            raise ValueError(f"`grpc_max_threads` is {threads} but must be at least 1, or 0 for four a CPU.")
        self.port = port
        self._host, self._socket_path = host, socket_path
        self._manager = Manager(models, poll_seconds, tags, warmup, load_retries, retry_seconds)
        self._requests = _Requests(threads or 4 * (os.cpu_count() or 1))
        self._grpc = grpc.server(
            self._requests,
            interceptors=[_Decoding()],
            maximum_concurrent_rpcs=WAITING_CALLS,
            options=[
                ("grpc.max_receive_message_length", LARGEST_MESSAGE),
                ("grpc.max_send_message_length", LARGEST_MESSAGE),
                ("grpc.so_reuseport", 0),  # else a second server on the port starts and takes half the calls
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(self._manager, self._requests, tensor_content), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            _ModelService(self._manager, self._requests), self._grpc
        )
        self._interrupted = self._serving = False

    @property
    def address(self):
        """What clients connect to: "127.0.0.1:8500" or "unix:/path"."""
        if self.port is None:
            return f"unix:{os.path.abspath(self._socket_path)}"
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    def start(self):
        """Bind, load every version that is there, then open the port.

        Raises: OSError for a port in use; StatusError where a version cannot be loaded and no retry is left.
        """
        if self.port is not None:
            self.port = self._bind(self.address, "choose another with --port, or 0 for a free one")
        if self._socket_path:
            self._bind(f"unix:{os.path.abspath(self._socket_path)}", "choose another --grpc_socket_path")
        self._manager.start()
        self._manager.wait_until_settled()
        failures = [] if self._interrupted else self._manager.failures()
        if failures:
            self.stop(0)
            reasons, folders = zip(*failures)
            raise StatusError(
                Code.UNKNOWN,
                f"{len(failures)} servable(s) did not become available: {{{'; '.join(reasons)}}}; "
                f"export again what is in {', '.join(folders)} or remove it.",
            )
        if not self._interrupted:
            self._serving = True
            self._grpc.start()

    def interrupt(self):
        """Makes `start` return before the port is open; takes no lock, so a signal handler may call it."""
        self._interrupted = True
        self._manager.interrupt()

    def wait_until_available(self, timeout=None):
        """Until every model serves a version.   Raises: TimeoutError that names the models without one."""
        self._manager.wait_until_available(timeout)

    def stop(self, grace=5.0):
        """No new requests; those under way get `grace` seconds. Returns whether nothing is left running."""
        self._interrupted = True
        stopped = self._grpc.stop(grace if self._serving else 0)
        # Idle clients keep their connections to the end of the grace; only requests are worth waiting for.
        while not self._requests.are_done() and not stopped.wait(0.02):
            pass
        self._grpc.stop(0).wait()
        self._requests.shutdown(wait=False, cancel_futures=True)
        return self._manager.stop()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def _bind(self, address, remedy):
        try:
            port = self._grpc.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if not port:
            raise OSError(f"`{address}` cannot be listened on: it is in use or not allowed; {remedy}.")
        return port


# ---- Command ----


def define_flags():
    flags.DEFINE_integer(
        "port", 8500, "TCP port for gRPC; 0 = a free one, -1 = none (with --grpc_socket_path)."
    )
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 = every network of this machine, where "
        "nothing is encrypted and everybody is answered.",
    )
    flags.DEFINE_string("port_file", None, "File that gets the port as soon as it is open (for scripts).")
    flags.DEFINE_string("grpc_socket_path", "", "Unix socket to listen on as well.")
    flags.DEFINE_integer("grpc_max_threads", 0, "Requests answered at a time; 0 = 4 a CPU.")
    flags.DEFINE_string("model_name", "default", "Name of the model in --model_base_path.")
    flags.DEFINE_string("model_base_path", "", "Folder that holds the model's version folders.")
    flags.DEFINE_string(
        "model_config_file", "", "ModelServerConfig in text format, instead of the two above."
    )
    flags.DEFINE_float(
        "file_system_poll_wait_seconds", 1, "Between two looks for new versions; 0 = look once."
    )
    flags.DEFINE_integer(
        "tensorflow_intra_op_parallelism", 0, "Threads of one operation; 0 = one a CPU.", lower_bound=0
    )
    flags.DEFINE_integer(
        "tensorflow_inter_op_parallelism", 0, "Operations at a time; 0 = TensorFlow's choice.", lower_bound=0
    )
    flags.DEFINE_string("saved_model_tags", "serve", "Tags of the graph to load, separated by commas.")
    flags.DEFINE_bool(
        "enable_model_warmup", True, "Replay assets.extra/tf_serving_warmup_requests before serving."
    )
    flags.DEFINE_integer("max_num_load_retries", 5, "Further attempts after a version failed to load.")
    flags.DEFINE_integer("load_retry_interval_micros", 60_000_000, "Between two attempts.")
    flags.DEFINE_bool(
        "enable_serialization_as_tensor_content", False, "Answer in tensor_content, not typed fields."
    )


def _models_from_flags(values):
    if values.model_config_file:
        return read_config(values.model_config_file)
    if not values.model_base_path:
        raise ValueError("Both --model_base_path and --model_config_file are empty! Set one of them.")
    path = values.model_base_path
    return [ModelConfig(values.model_name, path if "://" in path else os.path.abspath(path))]


def main(argv):
    values = flags.FLAGS
    if values.port_file and values.port == -1:
        raise ValueError("`port_file` needs a TCP port but `port` is -1; leave one of the two away.")
    if values.port_file:
        require_place("port_file", values.port_file)
    if not values["verbosity"].present:
        logging.set_verbosity(logging.INFO)
    # TensorFlow notes it of every gradient of a layer such as swish; nobody trains a served model.
    logging.get_absl_logger().addFilter(lambda record: "unsaved custom gradients" not in record.getMessage())
    models = _models_from_flags(values)
    tf.config.threading.set_intra_op_parallelism_threads(values.tensorflow_intra_op_parallelism)
    tf.config.threading.set_inter_op_parallelism_threads(values.tensorflow_inter_op_parallelism)
    server = Server(
        models,
        port=None if values.port == -1 else values.port,
        host=values.host,
        socket_path=values.grpc_socket_path,
        threads=values.grpc_max_threads,
        tensor_content=values.enable_serialization_as_tensor_content,
        poll_seconds=values.file_system_poll_wait_seconds,
        tags=values.saved_model_tags.split(","),
        warmup=values.enable_model_warmup,
        load_retries=values.max_num_load_retries,
        retry_seconds=values.load_retry_interval_micros / 1e6,
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: (stopping.set(), server.interrupt()))
    server.start()
    if not stopping.is_set():
        if values.port_file:
            write_whole("port_file", values.port_file, lambda stream: stream.write(b"%d\n" % server.port))
        print(f"listening on {server.address}", flush=True)
    while not stopping.wait(1.0):
        pass
    finished = server.stop(grace=5.0)
    logging.info("Stopped.")
    if not finished:
        sys.stdout.flush()
        os._exit(0)  # the interpreter would wait for what is left running


def start():
    command.run(main, define_flags, errors=(StatusError,))


if __name__ == "__main__":
    start()
