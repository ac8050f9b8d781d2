"""Embedded gRPC server for one machine, with TF Serving's calls, flags, error codes and version handling.

    python -m serving.server --model_name=verification --model_base_path=saved_models/models/verification

It answers PredictionService Predict and GetModelMetadata and ModelService GetModelStatus; the other calls
are UNIMPLEMENTED. The port opens once every version found at start-up is loaded; a model whose folder holds
no version yet is waited for while the others serve. Messages may be as large as TF Serving allows (INT32_MAX
bytes).
"""

import contextlib
import dataclasses
import gc
import math
import os
import re
import signal
import sys
import threading
import time
import urllib.parse
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from absl import app, flags, logging
from google.protobuf import message as protobuf_message
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

Code = grpc.StatusCode
State = get_model_status_pb2.ModelVersionStatus.State

LARGEST_MESSAGE = 2**31 - 1
LARGEST_VERSION = 2**63 - 1
MESSAGE_CHARACTERS = 2000  # of an error; gRPC carries it in a header of limited size
EXPANDED_BYTES = 64 * 2**20  # a few bytes may declare a huge tensor of one repeated value; this is the limit
WAITING_CALLS = 1024  # more are refused with RESOURCE_EXHAUSTED at once instead of filling the memory
WARMUP_RECORDS = 1000
REMEMBERED_VERSIONS = 1000  # unloaded versions a model still lists
CONFIG_BYTES = 2**20
NOTICE_SECONDS = 10.0  # between two notes that a model has no version yet


class StatusError(Exception):
    """An answer that is an error: a gRPC code and a message, independent of the transport."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, bounded(message)


def _invalid(message):
    return StatusError(Code.INVALID_ARGUMENT, message)


def _not_found(message):
    return StatusError(Code.NOT_FOUND, message)


def bounded(message):
    """At most 2,000 characters, fewer where they are not ASCII: gRPC percent-encodes them into a header."""
    message = message[:MESSAGE_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    while len(urllib.parse.quote(message)) > 3 * MESSAGE_CHARACTERS:
        message = message[: len(message) * 3 // 4]
    return message


def status_of(error):
    """The StatusError for whatever loading or running a graph raised, without a Python traceback."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return StatusError(_CODES.get(error.error_code, Code.UNKNOWN), _core_of(error.message))
    return StatusError(Code.UNKNOWN, _core_of(str(error) or type(error).__name__))


_CODES = {code.value[0]: code for code in Code}


def _core_of(message):
    """What went wrong, without the Python frames, node and function names TensorFlow wraps around it."""
    message = message[: 10 * MESSAGE_CHARACTERS]
    first_of_many = re.search(r"\(0\) [A-Z_]+:\s*(.*?)\s*(?:\n\s*\(1\)|\n\t|\Z)", message, re.DOTALL)
    if "root error(s) found" in message and first_of_many:
        message = first_of_many.group(1)
    message = re.sub(r"\{\{function_node .*?\}\}\s*", "", message)
    message = re.sub(r"\s*\[\[\{\{node .*?\}\}\]\]", "", message)
    message = re.sub(r"\s*\[Op:[^\]]*\]", "", message)
    before, _, frames = message.partition("Traceback (most recent call last)")
    if frames and not before.strip():  # the last line of a traceback names the error
        before = frames.strip().rpartition("\n")[2]
    kept, in_frames = [], False
    for line in before.splitlines():
        if line.startswith(("Graph execution error", "Detected at node", "<stack traces unavailable>")):
            in_frames = line.startswith("Detected at node")
        elif not (in_frames and line.startswith("  ")):
            in_frames = False
            kept.append(line)
    return "\n".join(kept).strip() or "TensorFlow gave no reason."


# ---- Configuration ----


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One served model: where its version folders lie and which of them to load.

    Args:    name: what clients ask for.  base_path: absolute path or URI that holds the numeric folders.
             policy: "latest" (the `latest` newest), "all" or "specific" (those of `versions` that are there).
             labels: {label: version}; resolved at each request, so the version may come later.
    Raises:  ValueError for a name, path or policy that cannot be served.
    """

    name: str
    base_path: str
    policy: str = "latest"
    latest: int = 1
    versions: tuple = ()
    labels: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.name:
            raise ValueError("`name` of a model is empty; give the name that clients ask for.")
        if not (os.path.isabs(self.base_path) or "://" in self.base_path):
            raise ValueError(
                f"Expected model {self.name} to have an absolute path or URI; "
                f"got base_path()={self.base_path}"
            )
        if self.policy not in ("latest", "all", "specific"):
            raise ValueError(
                f"`policy` of model {self.name} is {self.policy!r} but must be latest, all or specific."
            )
        if self.policy == "latest" and self.latest < 1:
            raise ValueError(f"`latest` of model {self.name} is {self.latest} but must be at least 1.")
        if self.policy == "specific" and not self.versions:
            raise ValueError(
                f"`versions` of model {self.name} is empty but policy specific must name at least one."
            )

    def choose(self, found):
        """Version numbers to serve of those found, highest first: the newest is wanted soonest."""
        numbers = sorted(found, reverse=True)
        if self.policy == "latest":
            return numbers[: self.latest]
        return [number for number in numbers if self.policy == "all" or number in self.versions]


def parse_config(text):
    """ModelServerConfig in text format -> [ModelConfig].   Raises: ValueError."""
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ValueError(
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {error}"
        ) from error
    if config.WhichOneof("config") == "custom_model_config":
        raise ValueError("Only ModelConfigList is currently supported")
    models = [_model_config(model) for model in config.model_config_list.config]
    if not models:
        raise ValueError(
            "The model config lists no model; add `config { name: ... base_path: ... }` to its "
            "model_config_list."
        )
    return models


def _model_config(model):
    if bool(model.model_platform) == bool(model.model_type):
        which = "both" if model.model_platform else "neither"
        raise ValueError(
            f"Illegal setting {which} ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform of model {model.name}; set model_platform to "
            '"tensorflow".'
        )
    if model.model_platform not in ("", "tensorflow"):
        raise ValueError(
            f'`model_platform` of model {model.name} is {model.model_platform!r} but must be "tensorflow".'
        )
    policy = model.model_version_policy
    return ModelConfig(
        model.name,
        model.base_path,
        policy.WhichOneof("policy_choice") or "latest",
        latest=policy.latest.num_versions or 1,
        versions=tuple(policy.specific.versions),
        labels=dict(model.version_labels),
    )


# ---- TensorProto <-> tensors ----


def read_tensor(alias, proto, info):
    """TensorProto of a request -> tf.Tensor of the dtype and shape the signature declares.

    float_val and the like are read by TensorFlow's own parser: a seventh of the time of tf.make_ndarray, and
    TF Serving's rules for repeated values and encoded strings.
    Raises: StatusError INVALID_ARGUMENT that names the input.
    """
    dims = [dim.size for dim in proto.tensor_shape.dim]
    if proto.dtype not in _DTYPE_NAMES or proto.tensor_shape.unknown_rank or min(dims, default=0) < 0:
        raise _unreadable(alias, "no dtype or no full shape")
    if proto.dtype != info.dtype:
        raise _invalid(
            f"Expects input {alias} to be {_dtype_name(info)} but {_DTYPE_NAMES[proto.dtype]} is provided"
        )
    if info.HasField("tensor_shape") and not _fits(dims, info.tensor_shape):
        raise _invalid(
            f"Expects input {alias} to have shape "
            f"{_shape_text(info.tensor_shape)} but {_dims_text(dims)} is provided"
        )
    dtype, count = tf.as_dtype(proto.dtype), math.prod(dims)
    # A string takes at least two bytes of the message, but 24 of memory.
    if count * (dtype.size or 1) > max(
        proto.ByteSize(), EXPANDED_BYTES if dtype.size else EXPANDED_BYTES // 24
    ):
        raise _unreadable(
            alias, f"shape {_dims_text(dims)} holds far more than the {proto.ByteSize()} bytes sent"
        )
    if proto.tensor_content and dtype.as_numpy_dtype in _PLAIN:
        if len(proto.tensor_content) != count * dtype.size:
            raise _unreadable(
                alias,
                f"shape {_dims_text(dims)} takes {count * dtype.size} bytes but tensor_content "
                f"has {len(proto.tensor_content)}",
            )
        return tf.constant(np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).reshape(dims))
    if proto.string_val and len(proto.string_val) == count:
        return tf.constant(list(proto.string_val), tf.string, dims)
    try:
        return tf.io.parse_tensor(proto.SerializeToString(), dtype)
    except tf.errors.OpError as error:
        raise _unreadable(alias, "shape and values do not agree") from error


def write_tensor(tensor, proto, content=False):
    """Fill an empty TensorProto: typed fields (float_val ...), or with `content` tensor_content.

    Strings are always string_val: tf.make_ndarray, which Python clients use, cannot read encoded ones.
    """
    array = np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)
    if content and array.dtype.type in _PLAIN:
        proto.tensor_content = array.tobytes()
    elif array.dtype.type in _PACKED:
        # A packed field on the wire is the array itself; extend() with floats takes 350 times as long.
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        proto.MergeFromString(_PACKED[array.dtype.type] + _varint(len(data)) + data)
    elif tensor.dtype in _FIELDS:
        field, view = _FIELDS[tensor.dtype]
        getattr(proto, field).extend((array.view(view) if view else array).ravel().tolist())
    else:
        proto.CopyFrom(tf.make_tensor_proto(array, tensor.dtype))
        return
    proto.dtype = tensor.dtype.as_datatype_enum
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


def _dtype_name(info):
    return _DTYPE_NAMES.get(info.dtype, "a sparse or ragged tensor, which the embedded server does not take")


def _varint(number):
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes(encoded) + bytes([number])


def _unreadable(alias, reason):
    return _invalid(f"tensor parsing error: {alias} ({reason})")


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


# ---- One loaded version ----


class Servable:
    """A SavedModel in memory that answers PredictRequests.

    Args:    path: version folder.  tags: which of its graphs, as `--saved_model_tags`.
    Raises:  StatusError NOT_FOUND or DATA_LOSS where there is no such graph; what tf.saved_model.load raises.
    """

    def __init__(self, path, tags=("serve",)):
        graph = _read_graph(path, tags)
        self.definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=graph.signature_def)
        self._path = path
        self._loaded = tf.saved_model.load(path, tags=list(tags))  # keeps variables, tables and assets alive
        self._functions = dict(self._loaded.signatures)

    def predict(self, request, tensor_content=False):
        """PredictRequest -> PredictResponse without model name and version, which the caller knows.

        Raises: StatusError with TF Serving's code and text.
        """
        key = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if key not in self._functions:
            raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
        definition = self.definitions.signature_def[key]
        inputs = _read_inputs(definition, request.inputs)
        aliases = _output_aliases(definition, request.output_filter)
        try:
            outputs = self._functions[key](**inputs)
            response = predict_pb2.PredictResponse()
            for alias in aliases:
                write_tensor(outputs[alias], response.outputs[alias], tensor_content)
        except tf.errors.OpError as error:
            raise status_of(error) from error
        response.model_spec.signature_name = key
        return response

    def warm_up(self):
        """Replay assets.extra/tf_serving_warmup_requests; returns the number of requests.

        Raises: StatusError; a request that fails makes the version unfit to serve.
        """
        file = os.path.join(self._path, "assets.extra", "tf_serving_warmup_requests")
        if not tf.io.gfile.exists(file):
            return 0
        count = 0
        try:
            for record in tf.data.TFRecordDataset(file):
                count += 1
                if count > WARMUP_RECORDS:
                    raise _invalid(f"Number of warmup records exceeds the maximum ({WARMUP_RECORDS})")
                self._replay(record.numpy(), count)
        except tf.errors.DataLossError as error:
            raise StatusError(
                Code.DATA_LOSS,
                f"Please verify your warmup data is in TFRecord format. {_core_of(error.message)}",
            ) from error
        return count

    def _replay(self, record, number):
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except protobuf_message.DecodeError as error:
            raise _invalid(f"Failed to parse warmup record {number}") from error
        kind = log.WhichOneof("log_type")
        if kind in (None, "session_run_log"):
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
        if kind != "predict_log":
            logging.info(
                "%s: warm-up record %d is a %s, which only TF Serving replays.", self._path, number, kind
            )
            return
        try:
            self.predict(log.predict_log.request)
        except StatusError as error:
            raise StatusError(error.code, f"Warm-up request {number} failed: {error.message}") from error


def _read_graph(path, tags):
    file = os.path.join(path, "saved_model.pb")
    try:
        with tf.io.gfile.GFile(file, "rb") as stream:
            saved_model = saved_model_pb2.SavedModel.FromString(stream.read())
    except tf.errors.NotFoundError as error:
        raise _not_found(f"Could not find saved_model.pb in {path}") from error
    except protobuf_message.DecodeError as error:
        raise StatusError(Code.DATA_LOSS, f"Can't parse {file} as binary proto") from error
    for graph in saved_model.meta_graphs:
        if set(graph.meta_info_def.tags) == set(tags):
            return graph
    raise _not_found(f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}")


def _read_inputs(definition, sent):
    declared, defaults = definition.inputs, definition.defaults
    if len(sent) > len(declared) or len(sent) < len(declared) and not defaults:
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(declared)} len({_set_text(sent)}) != "
            f"len({_set_text(declared)}). Sent extra: {_set_text(set(sent) - set(declared))}. "
            f"Missing but required: {_set_text(set(declared) - set(sent))}."
        )
    for alias in sorted(sent):
        if alias not in declared:
            raise _invalid(
                f"input tensor alias not found in signature: {alias}. Inputs "
                f"expected to be in the set {_set_text(declared)}."
            )
    for alias in sorted(declared):
        if alias not in sent and alias not in defaults:
            raise _invalid(
                f"Signature input alias: {alias} not found in request and no default value provided."
            )
    return {
        alias: read_tensor(alias, sent[alias] if alias in sent else defaults[alias], info)
        for alias, info in declared.items()
    }


def _output_aliases(definition, wanted):
    seen = set()
    for alias in wanted:
        if alias not in definition.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs "
                f"expected to be in the set {_set_text(definition.outputs)}."
            )
        if alias in seen:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(wanted) or sorted(definition.outputs)


def _set_text(names):
    return "{" + ",".join(sorted(names)) + "}"


# ---- Versions over time ----


class _Version:
    """One numbered folder from its discovery to its end. Its fields change under the manager's lock only."""

    def __init__(self, number, path):
        self.number, self.path = number, path
        self.state, self.error = State.START, None
        self.servable, self.users = None, 0
        self.wanted, self.attempts, self.retry_at = True, 0, 0.0

    def is_settled(self):
        return self.state not in (State.START, State.LOADING)


class Manager:
    """Keeps the wanted versions of every model loaded: polls the folders, loads, warms up, swaps, unloads.

    A new version is loaded and warmed before an old one goes, requests under way finish on the version they
    started with, and the only loaded version of a model is never unloaded, whatever happens to its folder.
    All loading runs in one thread, so that two large models never load at once beside the serving.

    Args:    models: [ModelConfig].  poll_seconds: between two looks at the folders; 0 = look once.
             tags, warmup, load_retries, retry_seconds: as the server's flags.
    """

    def __init__(
        self, models, poll_seconds=1.0, tags=("serve",), warmup=True, load_retries=5, retry_seconds=60.0
    ):
        names = [model.name for model in models]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Illegal to list model {name} multiple times in config list")
        for flag, value in (
            ("file_system_poll_wait_seconds", poll_seconds),
            ("max_num_load_retries", load_retries),
            ("load_retry_interval_micros", retry_seconds),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{flag}` is {value} but must not be negative.")
        self._models = {model.name: model for model in models}
        self._versions = {model.name: {} for model in models}  # {name: {number: _Version}}
        self._poll_seconds, self._tags, self._warmup = poll_seconds, tuple(tags), warmup
        self._load_retries, self._retry_seconds = load_retries, retry_seconds
        self._noticed = {}  # {name: when its lack of versions was told}
        self._changed = threading.Condition()  # guards the versions, tells of their changes
        self._polled = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def start(self):
        self._thread.start()

    def interrupt(self):
        """Ends the polling and every wait soon; takes no lock, so a signal handler may call it."""
        self._stopping.set()

    def stop(self):
        """Ends the polling; returns whether nothing is being loaded or answered any more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        with self._changed:
            return not self._thread.is_alive() and not any(version.users for version in self._all())

    def wait_until_settled(self):
        """Until each version found by the first look is available or has failed for good, or `interrupt`."""
        self._wait(lambda: self._polled and all(version.is_settled() for version in self._all()), None)

    def wait_until_available(self, timeout=None):
        """Until every model has a version that serves.   Raises: TimeoutError that says what is missing."""
        if not self._wait(lambda: not self._unavailable(), timeout):
            with self._changed:
                reasons = "; ".join(self._unavailable())
            raise TimeoutError(f"Not every model became available within {timeout} s: {reasons}.")

    def failures(self):
        """["NAME version N: reason"] of the versions that are wanted but failed for good."""
        with self._changed:
            return [
                f"{name} version {version.number}: {version.error.message}"
                for name, versions in self._versions.items()
                for version in versions.values()
                if version.wanted and version.state == State.END and version.error
            ]

    @contextlib.contextmanager
    def lease(self, spec):
        """The _Version for a ModelSpec, kept loaded while the context lasts.   Raises: StatusError."""
        with self._changed:
            version = self._find(spec)
            version.users += 1
        try:
            yield version
        finally:
            with self._changed:
                version.users -= 1
                self._release(version)

    def statuses(self, spec):
        """[ModelVersionStatus] of one or all versions of a model, newest first.   Raises: StatusError."""
        number = self._number(spec)
        with self._changed:
            versions = self._versions.get(spec.name, {})
            if number is not None and number not in versions:
                raise _not_found(f"Could not find version {number} of model {spec.name}")
            if not versions:
                raise _not_found(f"Could not find any versions of model {spec.name}")
            chosen = sorted(versions, reverse=True) if number is None else [number]
            return [_status(versions[chosen_number]) for chosen_number in chosen]

    def _find(self, spec):
        number = self._number(spec)
        available = {
            version.number: version
            for version in self._versions.get(spec.name, {}).values()
            if version.state == State.AVAILABLE
        }
        if number is None and not available:
            raise _not_found(f"Servable not found for request: Latest({spec.name})")
        if number is not None and number not in available:
            raise _not_found(f"Servable not found for request: Specific({spec.name}, {number})")
        return available[max(available) if number is None else number]

    def _number(self, spec):
        """The version a ModelSpec asks for, None = the newest."""
        if not spec.name:
            raise _invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            labels = self._models[spec.name].labels if spec.name in self._models else {}
            if spec.version_label not in labels:
                raise _invalid(f"Unrecognized servable version label: {spec.version_label}")
            return labels[spec.version_label]
        return spec.version.value if choice == "version" else None

    def _all(self):
        return [version for versions in self._versions.values() for version in versions.values()]

    def _unavailable(self):
        missing = []
        for name, versions in self._versions.items():
            if not any(version.state == State.AVAILABLE for version in versions.values()):
                errors = [
                    f"version {version.number}: {version.error.message}"
                    for version in versions.values()
                    if version.error
                ]
                missing.append(f"model {name} ({errors[-1] if errors else 'no version loaded yet'})")
        return missing

    def _wait(self, condition, timeout):
        """In short waits, so that `interrupt` ends them. False = timed out."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not condition() and not self._stopping.is_set() and time.monotonic() < deadline:
                self._changed.wait(min(0.2, max(0.0, deadline - time.monotonic())))
            return condition() or self._stopping.is_set()

    def _run(self):
        next_look = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + self._poll_seconds if self._poll_seconds else math.inf
                self._load_pending()
                self._unload_unwanted()
            except Exception:  # noqa: BLE001 - a fault in one round must not end the polling for good
                logging.exception("Looking for versions failed; trying again.")
            pause = min(
                [next_look] + [version.retry_at for version in self._all() if not version.is_settled()]
            )
            self._stopping.wait(min(max(pause - time.monotonic(), 0.05), 1.0))

    def _look(self):
        """Notes which versions are wanted now; a folder without any changes nothing."""
        for name, model in self._models.items():
            found = _version_folders(model.base_path)
            wanted = model.choose(found)
            with self._changed:
                versions = self._versions[name]
                if wanted:
                    for version in versions.values():
                        version.wanted = version.wanted and version.number in wanted
                for number in wanted:
                    version = versions.get(number)
                    # Seen again after it was gone or out of the policy: a fresh start, also after an error.
                    if version is None or version.state == State.END and not version.wanted:
                        versions[number] = _Version(number, found[number])
                    elif version.state == State.AVAILABLE:
                        version.wanted = True
                self._forget(versions)
                serving = any(version.state == State.AVAILABLE for version in versions.values())
            if not wanted:
                self._tell_missing(model, found, serving)
            else:
                self._noticed.pop(name, None)
        with self._changed:
            self._polled = True
            self._changed.notify_all()

    def _tell_missing(self, model, found, serving):
        if time.monotonic() - self._noticed.get(model.name, -math.inf) < NOTICE_SECONDS:
            return
        self._noticed[model.name] = time.monotonic()
        what = "none of the versions that its policy names" if found else "no numeric version folder"
        logging.warning(
            "Model %s: %s holds %s; %s.",
            model.name,
            model.base_path,
            what,
            "the loaded version stays" if serving else "waiting for one",
        )

    def _forget(self, versions):
        ended = sorted(
            number
            for number, version in versions.items()
            if version.state == State.END and not version.wanted
        )
        for number in ended[:-REMEMBERED_VERSIONS]:
            del versions[number]

    def _load_pending(self):
        for name, versions in self._versions.items():
            for version in sorted(versions.values(), key=lambda version: -version.number):
                if self._stopping.is_set():
                    return
                if version.wanted and not version.is_settled() and version.retry_at <= time.monotonic():
                    self._load(name, version)

    def _load(self, name, version):
        with self._changed:
            version.state = State.LOADING
            version.attempts += 1
        started = time.monotonic()
        try:
            servable = Servable(version.path, self._tags)
            requests = servable.warm_up() if self._warmup else 0
        except Exception as error:  # noqa: BLE001 - any broken model must leave the others serving
            self._note_failure(name, version, status_of(error))
            return
        with self._changed:
            version.servable, version.state, version.error = servable, State.AVAILABLE, None
            self._changed.notify_all()
        logging.info(
            "Model %s version %d is available (loaded in %.1f s, %d warm-up requests).",
            name,
            version.number,
            time.monotonic() - started,
            requests,
        )

    def _note_failure(self, name, version, error):
        again = version.attempts <= self._load_retries
        with self._changed:
            version.error = error
            version.retry_at = time.monotonic() + self._retry_seconds
            if not again:
                version.state = State.END
            self._changed.notify_all()
        logging.error(
            "Model %s version %d cannot be loaded: %s: %s (%s)",
            name,
            version.number,
            error.code.name,
            error.message,
            f"next attempt in {self._retry_seconds:g} s" if again else "given up",
        )

    def _unload_unwanted(self):
        unloaded = False
        with self._changed:
            for name, versions in self._versions.items():
                replaced = any(
                    version.wanted and version.state == State.AVAILABLE for version in versions.values()
                )
                for version in versions.values():
                    if version.wanted:
                        continue
                    if version.state == State.AVAILABLE and replaced:
                        version.state = State.UNLOADING
                        logging.info("Model %s version %d is being unloaded.", name, version.number)
                    elif not version.is_settled():  # its folder went before it could be loaded
                        version.state = State.END
                    unloaded |= self._release(version)
            self._changed.notify_all()
        if unloaded:
            gc.collect()  # loaded SavedModels hold reference cycles; free their memory now

    def _release(self, version):
        """Drops an unloading version once its last request is done; whether it did."""
        if version.state != State.UNLOADING or version.users:
            return False
        version.servable, version.state = None, State.END
        return True


def _version_folders(base_path):
    """{version: folder} of the numeric folders ("00000123" is 123); {} where the path cannot be read."""
    try:
        names = sorted((name.rstrip("/") for name in tf.io.gfile.listdir(base_path)), key=len, reverse=True)
        return {
            int(name): os.path.join(base_path, name)
            for name in names
            if re.fullmatch(r"[0-9]{1,40}", name)
            and int(name) <= LARGEST_VERSION
            and tf.io.gfile.isdir(os.path.join(base_path, name))
        }
    except (tf.errors.OpError, OSError):
        return {}


def _status(version):
    status = get_model_status_pb2.ModelVersionStatus(version=version.number, state=version.state)
    status.status.error_code = version.error.code.value[0] if version.error else 0
    status.status.error_message = version.error.message if version.error else ""
    return status


# ---- gRPC ----


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
    """Parses requests in the handlers: gRPC's own way leaks 16 KB and logs a traceback for each bad one."""

    def intercept_service(self, continuation, handler_call_details):
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def parse_and_answer(data, context):
            try:
                request = handler.request_deserializer(data)
            except protobuf_message.DecodeError:
                context.abort(
                    Code.INTERNAL, "The request cannot be parsed as the message this call takes."
                )
            return handler.unary_unary(request, context)

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
            raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise _invalid(f"Metadata field {field} is not supported")
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
        raise _invalid("Missing ModelSpec")


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
            raise StatusError(
                Code.UNKNOWN,
                f"{len(failures)} servable(s) did not become available: {{{'; '.join(failures)}}}",
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
        if os.path.getsize(values.model_config_file) > CONFIG_BYTES:
            raise ValueError(
                f"`{values.model_config_file}` is larger than {CONFIG_BYTES} bytes, which no model "
                "config is; check --model_config_file."
            )
        with open(values.model_config_file, encoding="utf-8") as stream:
            try:
                return parse_config(stream.read())
            except ValueError as error:
                raise ValueError(f"{values.model_config_file}: {' '.join(str(error).split())}") from error
    if not values.model_base_path:
        raise ValueError("Both --model_base_path and --model_config_file are empty! Set one of them.")
    path = values.model_base_path
    return [ModelConfig(values.model_name, path if "://" in path else os.path.abspath(path))]


def _write_whole(path, text):
    """`path` appears with all of `text` in it: a script that waits for the file never reads half."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, path)


def main(argv):
    try:
        if argv[1:]:
            raise ValueError(f"`{argv[1]}` is not a flag; every setting is written --name=value.")
        values = flags.FLAGS
        if values.port_file and values.port == -1:
            raise ValueError("`port_file` needs a TCP port but `port` is -1; leave one of the two away.")
        if not values["verbosity"].present:
            logging.set_verbosity(logging.INFO)
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
                _write_whole(values.port_file, f"{server.port}\n")
            print(f"listening on {server.address}", flush=True)
        while not stopping.wait(1.0):
            pass
        finished = server.stop(grace=5.0)
    except (ValueError, OSError, StatusError) as error:
        sys.exit(f"error: {error}")
    logging.info("Stopped.")
    if not finished:
        sys.stdout.flush()
        os._exit(0)  # the interpreter would wait for what is left running


if __name__ == "__main__":
    define_flags()
    app.run(main)
