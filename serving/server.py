"""Embedded server for one machine, with TF Serving's calls, flags, error texts and version handling.

    python -m serving.server --model_name=verification --model_base_path=saved_models/models/verification
        [--rest_api_port=8501] [--enable_batching [--batching_parameters_file=batching.config]] [--demo_port=8080]

It answers PredictionService (Predict, Classify, Regress, MultiInference, GetModelMetadata) and ModelService
(GetModelStatus, HandleReloadConfigRequest), with --enable_grpc_healthcheck_service grpc.health.v1, on --rest_api_port
the same as JSON, and on --demo_port a web page that asks the loaded models. The ports open once every version found at
start-up is loaded; a model whose folder holds no version yet is waited for while the others serve. Messages may be as
large as TF Serving allows (INT32_MAX bytes).
"""

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import time

import grpc
import tensorflow as tf
from absl import flags, logging

from serving.batching import Batching, Queue, Scheduler
from serving.calls import Calls
from serving.config import ModelConfig, read_config
from serving.demo_page import DemoPage
from serving.files import require_place, write_whole
from serving.galleries import Galleries
from serving.models import Manager
from serving.monitoring import Monitor, page_path
from serving.parameters import read_parameters
from serving.pixels import MOST_PIXELS
from serving.request_log import RequestLog
from serving.rest import Rest
from serving.rpc import GrpcServer, Requests
from serving.status import Code, StatusError
from tfrecords import command

MODEL_PARAMETERS = "batching_params.pbtxt"  # in a version folder
SHARED_THREADS = 64  # of those whose requests share batches: most of them wait for one
CONFIG_SECONDS = 60.0  # after which a config file is read again, though what it names is not available yet


class Server:
    """The embedded server as an object, for a process of its own or for use inside one.

    Args:    models: [ModelConfig].  port: TCP port on `host`; 0 = a free one, None = no TCP port.
             socket_path: Unix socket to serve on as well.
             threads: for requests by gRPC; 0 = 4 a CPU, SHARED_THREADS with batching.
             tensor_content, strict_methods: see Calls.
             poll_seconds, tags, warmup, load_retries, retry_seconds, allow_labels, most_pixels: see Manager.
             batching: Batching of all signatures; None = every request runs by itself.
             own_batching: take the parameters of a version from its batching_params.pbtxt where it has one.
             config_file, config_poll_seconds: where `models` came from, read again so often; 0 = never.
             monitoring_path: where REST shows the metrics; "" = nowhere.
             rest_port: of REST; None = no REST, 0 = a free one.  rest_threads, rest_timeout, cross_origin: see Rest.
             demo_port: of the web page; None = no page, 0 = a free one.
             credentials: grpc.ServerCredentials of the TCP port; None = nothing is encrypted.
             health, channel_arguments: see GrpcServer.
             gallery_changes: let clients enrol into galleries and remove from them, which writes to their folders.
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
        allow_labels=False,
        strict_methods=False,
        batching=None,
        own_batching=False,
        config_file="",
        config_poll_seconds=0.0,
        credentials=None,
        health=False,
        gallery_changes=False,
        most_pixels=MOST_PIXELS,
        channel_arguments=(),
        monitoring_path="",
        rest_port=None,
        rest_threads=0,
        rest_timeout=30.0,
        cross_origin=False,
        demo_port=None,
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
        if config_poll_seconds < 0:
            raise ValueError(
                f"`model_config_file_poll_wait_seconds` is {config_poll_seconds} but must not be negative."
            )
        several = max(4 * (os.cpu_count() or 1), SHARED_THREADS if batching else 0)
        self._requests = Requests(threads or several)
        self._scheduler = batching and Scheduler(batching.num_batch_threads, self._requests.arriving)
        batch = batching and functools.partial(_queue, batching, own_batching, self._scheduler, self._requests.arrived)
        if batching:
            self._requests.none_arrives = self._scheduler.wake
        self._manager = Manager(
            models, poll_seconds, tags, warmup, load_retries, retry_seconds, allow_labels, batch or None, most_pixels
        )
        self._log = RequestLog(self._manager.config, tags)
        monitor = Monitor(self._manager, self._requests, self._scheduler, self._log)
        self._calls = Calls(self._manager, tensor_content, strict_methods, watchers=(monitor, self._log))
        changing = Galleries(self._manager) if gallery_changes else None
        self._grpc = GrpcServer(self._calls, self._requests, health, channel_arguments, changing)
        self._credentials = credentials
        self.rest_port, self._rest = rest_port, None
        self._rest_words = {
            "threads": rest_threads or several, "timeout": rest_timeout, "cross_origin": cross_origin,
            "pages": {monitoring_path: monitor.page} if monitoring_path else {},
        }  # fmt: skip
        self.demo_port, self._page = demo_port, None
        self._config = _ConfigFile(config_file, config_poll_seconds, self._manager, models)
        self._interrupted = self._serving = False

    @property
    def address(self):
        """What clients connect to: "127.0.0.1:8500" or "unix:/path"."""
        if self.port is None:
            return f"unix:{os.path.abspath(self._socket_path)}"
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    @property
    def page_address(self):
        """Where a browser finds the web page."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.demo_port}/"

    def start(self):
        """Bind, load every version that is there, then open the port.

        Raises: OSError for a port in use; StatusError where a version cannot be loaded and no retry is left. Nothing
                is bound or runs then.
        """
        try:
            self._start()
        except BaseException:
            self.stop(0)
            raise

    def _start(self):
        if self.port is not None:
            self.port = self._bind(self.address, "choose another with --port, or 0 for a free one")
        if self._socket_path:
            self._bind(f"unix:{os.path.abspath(self._socket_path)}", "choose another --grpc_socket_path")
        if self.rest_port is not None:
            with _listening(self._host, self.rest_port, "REST", "rest_api_port"):
                self._rest = Rest(self._calls, self._requests, self._host, self.rest_port, **self._rest_words)
            self.rest_port = self._rest.port
        if self.demo_port is not None:
            with _listening(self._host, self.demo_port, "the web page", "demo_port"):
                page = DemoPage(self._manager, self._calls, self._requests, self._host, self.demo_port)
            self._page, self.demo_port = page, page.port
        self._manager.start()
        self._manager.wait_until_settled()
        failures = [] if self._interrupted else self._manager.failures()
        if failures:
            reasons, folders = zip(*failures)
            raise StatusError(
                Code.UNKNOWN,
                f"{len(failures)} servable(s) did not become available: {{{'; '.join(reasons)}}}; "
                f"export again what is in {', '.join(folders)} or remove it.",
            )
        if not self._interrupted:
            self._manager.require_labels()
            self._serving = True
            self._grpc.start()
            for http in self._http:
                http.start()
            self._config.start()

    def interrupt(self):
        """Makes `start` return before the port is open; for another thread."""
        self._interrupted = True
        self._manager.interrupt()

    def stop(self, grace=5.0):
        """No new requests; those under way get `grace` seconds. Returns whether nothing is left running."""
        self._interrupted = True
        self._config.stop()
        for http in self._http:
            http.stop()
        grace = grace if self._serving else 0
        until = time.monotonic() + grace
        self._grpc.stop()
        while not self._is_idle() and time.monotonic() < until:
            time.sleep(0.02)
        self._grpc.close()
        for http in self._http:
            http.close()
        if self._scheduler:
            self._scheduler.close()
        self._requests.shutdown(wait=False, cancel_futures=True)
        self._log.close()
        return self._manager.stop()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def _http(self):
        """What answers by HTTP: REST and the web page, where there are such."""
        return [one for one in (self._rest, self._page) if one]

    def _is_idle(self):
        return self._requests.are_done() and all(http.is_done() for http in self._http)

    def _bind(self, address, remedy):
        port = self._grpc.bind(address, None if address.startswith("unix:") else self._credentials)
        if not port:
            raise OSError(f"`{address}` cannot be listened on: it is in use or not allowed; {remedy}.")
        return port


@contextlib.contextmanager
def _listening(host, port, what, flag):
    try:
        yield
    except OSError as error:
        raise OSError(
            f"`{host}:{port}` cannot be listened on for {what}: {error.strerror or error}; "
            f"choose another with --{flag}."
        ) from error


class _ConfigFile:
    """Serves what a ModelServerConfig file says, whenever it says something else."""

    def __init__(self, path, poll_seconds, manager, models):
        self._path, self._poll_seconds, self._manager, self._models = path, poll_seconds, manager, models
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model config", daemon=True)

    def start(self):
        if self._path and self._poll_seconds:
            self._thread.start()

    def stop(self):
        self._stopping.set()

    def _run(self):
        taken, told = self._models, None
        while not self._stopping.wait(self._poll_seconds):
            try:
                models = read_config(self._path)
                told = None
                if models != taken:
                    taken, before = models, taken  # a config that cannot be served is told of once
                    self._manager.reload(models, CONFIG_SECONDS)
                    logging.info("The models of %s are served now.", self._path)
            except (ValueError, OSError) as error:
                if str(error) != told:  # once, not at every look
                    logging.error("The models of %s stay as they were: %s", self._path, error)
                told = str(error)
            except StatusError as error:
                logging.error("The models of %s are not served, the ones before are: %s", self._path, error.message)
                if error.code == Code.DEADLINE_EXCEEDED:  # what is missing may still come
                    taken = before


def _queue(batching, own, scheduler, arrived, run, path):
    """The Queue of a signature of the version in `path`."""
    file = os.path.join(path, MODEL_PARAMETERS)
    if own and tf.io.gfile.exists(file):
        try:
            batching = Batching.of(read_parameters("BatchingParameters", file, MODEL_PARAMETERS))
        except ValueError as error:
            raise StatusError(Code.INVALID_ARGUMENT, str(error)) from error
    return Queue(run, batching, scheduler, arrived)


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
    flags.DEFINE_integer("rest_api_port", 0, "TCP port for REST; 0 = none. It must differ from --port.")
    flags.DEFINE_integer(
        "rest_api_num_threads", 0, "REST requests answered at a time; 0 = 4 a CPU, 64 with batching.", lower_bound=0
    )
    flags.DEFINE_integer(
        "rest_api_timeout_in_ms", 30_000, "How long a REST request may wait for its turn and its batch.", lower_bound=1
    )
    flags.DEFINE_bool("rest_api_enable_cors_support", False, "Let pages of other origins ask by REST.")
    flags.DEFINE_integer(
        "demo_port", 0, "TCP port for a web page that asks the models; 0 = none. It must differ from the others.",
        lower_bound=0, upper_bound=65535,
    )  # fmt: skip
    flags.DEFINE_string("port_file", None, "File that gets the port as soon as it is open (for scripts).")
    flags.DEFINE_string("grpc_socket_path", "", "Unix socket to listen on as well.")
    flags.DEFINE_integer(
        "grpc_max_threads", 0, "Threads for requests by gRPC; 0 = 4 a CPU, 64 with batching. A Predict that waits for "
        "its batch takes none.",
    )  # fmt: skip
    flags.DEFINE_string("model_name", "default", "Name of the model in --model_base_path.")
    flags.DEFINE_string("model_base_path", "", "Folder that holds the model's version folders.")
    flags.DEFINE_string(
        "model_config_file", "", "ModelServerConfig in text format, instead of the two above."
    )
    flags.DEFINE_float(
        "model_config_file_poll_wait_seconds", 0, "Between two readings of --model_config_file; 0 = read once."
    )
    flags.DEFINE_bool(
        "allow_version_labels_for_unavailable_models", False, "Labels may name versions that are not loaded yet."
    )
    flags.DEFINE_bool(
        "enable_gallery_changes", False, "Let clients enrol into galleries and remove from them; everybody who can "
        "reach the port may then, unless --ssl_config_file asks for certificates."
    )
    flags.DEFINE_integer(
        "max_image_pixels", MOST_PIXELS, "Of an encoded image, four times as many of a request; 0 = no limit.",
        lower_bound=0,
    )  # fmt: skip
    flags.DEFINE_bool("enable_grpc_healthcheck_service", False, "Answer grpc.health.v1 as well.")
    flags.DEFINE_string(
        "grpc_channel_arguments", "", "name=value,name=value for the gRPC channels, such as grpc.max_connection_age_ms."
    )
    flags.DEFINE_bool("enable_batching", False, "Join requests to a signature into batches.")
    flags.DEFINE_string("batching_parameters_file", "", "BatchingParameters in text format, with --enable_batching.")
    flags.DEFINE_bool(
        "enable_per_model_batching_parameters", False, f"A version's own {MODEL_PARAMETERS} holds for it."
    )
    flags.DEFINE_string(
        "monitoring_config_file", "", "MonitoringConfig in text format; metrics lie on the REST port then."
    )
    flags.DEFINE_string(
        "ssl_config_file", "", "SSLConfig in text format; the TCP port of gRPC is encrypted then, no other port is."
    )
    flags.DEFINE_float(
        "shutdown_grace_seconds", 20.0, "How long requests under way may take once the server is told to stop.",
        lower_bound=0,
    )  # fmt: skip
    flags.DEFINE_bool(
        "enable_signature_method_name_check", False, "Classify and Regress take signatures of their method only."
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


def _batching(values):
    """Batching by the flags, None where requests run by themselves."""
    if not values.enable_batching:
        for flag in ("batching_parameters_file", "enable_per_model_batching_parameters"):
            if values[flag].value:
                raise ValueError(f"`{flag}` is set but `enable_batching` is not; set it as well, or leave both.")
        return None
    if not values.batching_parameters_file:
        return Batching()
    return Batching.of(
        read_parameters("BatchingParameters", values.batching_parameters_file, "batching_parameters_file")
    )


def _credentials(path):
    """grpc.ServerCredentials of an SSLConfig file, which holds the PEM texts themselves."""
    if not path:
        return None
    config = read_parameters("SSLConfig", path, "ssl_config_file")
    if not (config.server_key and config.server_cert):
        raise ValueError(f"`ssl_config_file` {path} needs the PEM text of a server_key and a server_cert.")
    if config.client_verify and not config.custom_ca:
        raise ValueError(
            f"`ssl_config_file` {path} sets client_verify but no custom_ca; give the PEM text of who signs the "
            "certificates of clients."
        )
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _channel_arguments(text):
    """[(name, value)] of "name=value,..."; numbers as numbers."""
    found = []
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if not (name and value):
            raise ValueError(f"`grpc_channel_arguments` has `{part}` but takes name=value,name=value.")
        found.append((name, int(value) if value.lstrip("-").isdigit() else value))
    return found


class _Signalled(threading.Event):
    """Set by SIGTERM or SIGINT, after `at_once()`. A thread does both: a handler may interrupt whoever holds a lock."""

    def __init__(self, at_once):
        super().__init__()
        self._reader, writer = os.pipe()
        self._at_once = at_once
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(writer, b"."))

    def _watch(self):
        os.read(self._reader, 1)
        self._at_once()
        self.set()


def main(argv):
    values = flags.FLAGS
    if values.rest_api_port and values.rest_api_port == values.port:
        raise ValueError(f"`rest_api_port` is {values.port}, as `port` is, but they must differ; choose another.")
    if values.demo_port and values.demo_port in (values.port, values.rest_api_port):
        raise ValueError(
            f"`demo_port` is {values.demo_port}, as another port is, but they must differ; choose another."
        )
    if values.port_file and values.port == -1:
        raise ValueError("`port_file` needs a TCP port but `port` is -1; leave one of the two away.")
    if values.port_file:
        require_place("port_file", values.port_file)
    if not values["verbosity"].present:
        logging.set_verbosity(logging.INFO)
    # TensorFlow notes it of every gradient of a layer such as swish; nobody trains a served model.
    logging.get_absl_logger().addFilter(lambda record: "unsaved custom gradients" not in record.getMessage())
    if values.monitoring_config_file and not values.rest_api_port:
        raise ValueError(
            "`monitoring_config_file` is set but `rest_api_port` is not, where the metrics are shown; set it as well."
        )
    if values.ssl_config_file and (values.rest_api_port or values.demo_port):
        logging.warning(
            "--ssl_config_file is for gRPC: what --rest_api_port and --demo_port open on %s is not encrypted and asks "
            "nobody for a certificate.", values.host,
        )  # fmt: skip
    monitoring_path = page_path(values.monitoring_config_file)
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
        allow_labels=values.allow_version_labels_for_unavailable_models,
        strict_methods=values.enable_signature_method_name_check,
        batching=_batching(values),
        own_batching=values.enable_per_model_batching_parameters,
        config_file=values.model_config_file,
        config_poll_seconds=values.model_config_file_poll_wait_seconds,
        credentials=_credentials(values.ssl_config_file),
        health=values.enable_grpc_healthcheck_service,
        gallery_changes=values.enable_gallery_changes,
        most_pixels=values.max_image_pixels or None,
        channel_arguments=_channel_arguments(values.grpc_channel_arguments),
        monitoring_path=monitoring_path,
        rest_port=values.rest_api_port or None,
        rest_threads=values.rest_api_num_threads,
        rest_timeout=values.rest_api_timeout_in_ms / 1e3,
        cross_origin=values.rest_api_enable_cors_support,
        demo_port=values.demo_port or None,
    )
    # What was imported stays: searching it for garbage would hold up requests. Models come later and may go.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    stopping = _Signalled(server.interrupt)
    server.start()
    if not stopping.is_set():
        if values.port_file:
            write_whole("port_file", values.port_file, lambda stream: stream.write(b"%d\n" % server.port))
        print(f"listening on {server.address}", flush=True)
        if server.demo_port:
            print(f"web page on {server.page_address}", flush=True)
    stopping.wait()
    server.stop(values.shutdown_grace_seconds)
    logging.info("Stopped.")
    sys.stdout.flush()
    os._exit(0)  # the interpreter would wait for what is left running, and free every model first, which takes seconds


def start():
    command.run(main, define_flags, errors=(StatusError,))


if __name__ == "__main__":
    start()
