"""One loaded version: in come its folder and PredictRequests, out go PredictResponses or StatusErrors."""

import dataclasses
import functools
import os

import tensorflow as tf
from google.protobuf import message as protobuf_message
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_log_pb2

from saved_models.export import WARMUP_FILE, WARMUP_RECORDS
from saved_models.verify import core_message, read_saved_model, serve_graph
from serving import inference
from serving.pixels import MOST_PIXELS, require_pixels
from serving.status import Code, StatusError, invalid, not_found, status_of
from serving.tensors import array_of, read_tensor, write_tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A Predict of one signature: its inputs {input: array}, and which outputs are wanted."""

    key: str
    inputs: dict
    outputs: list

    def response(self, found, tensor_content=False):
        """PredictResponse of {output: array}."""
        response = predict_pb2.PredictResponse()
        for alias in self.outputs:
            write_tensor(found[alias], response.outputs[alias], tensor_content)
        response.model_spec.signature_name = self.key
        return response


class Servable:
    """A SavedModel in memory that answers requests; its signatures are run one by one or in shared batches.

    Args:    path: version folder.  tags: which of its graphs, as `--saved_model_tags`.
             batch: (run, path) -> serving.batching.Queue, what joins requests to one signature; None = each request
             runs by itself. `run` is {input: array [n, ...]} -> {output: array [n, ...]}.
             most_pixels: of an encoded image in a request, four times as many of all; None = no limit.
    Raises:  StatusError NOT_FOUND or DATA_LOSS where there is no such graph; what tf.saved_model.load raises.
    """

    def __init__(self, path, tags=("serve",), batch=None, most_pixels=MOST_PIXELS):
        graph = _read_graph(path, tags)
        self.definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=graph.signature_def)
        self.path, self._most_pixels = path, most_pixels
        self._loaded = tf.saved_model.load(path, tags=list(tags))  # keeps variables, tables and assets alive
        self._functions = dict(self._loaded.signatures)
        self._queues = {
            key: batch(functools.partial(self._run, key), path)
            for key in (self._functions if batch else ())
            if _is_batched(self.definitions.signature_def[key])
        }

    def signature(self, name):
        """(key, SignatureDef) of a request's signature name; the definition is None where there is none."""
        key = name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        return key, self.definitions.signature_def[key] if key in self._functions else None

    def run(self, key, inputs, timeout=None):
        """{input: array} -> {output: array} of a signature.

        Args:   timeout: seconds the request may wait for its batch; None = as long as it takes.
        Raises: StatusError.
        """
        queue = self.queue(key, inputs)
        return self._run(key, inputs) if queue is None else queue(inputs, timeout)

    def queue(self, key, inputs):
        """The Queue in which these inputs meet others; None where they run by themselves."""
        queue = self._queues.get(key)
        if queue is None:
            return None
        rows = {len(value) for value in inputs.values()}
        return queue if len(rows) == 1 and rows != {0} else None  # the graph itself says what is wrong with others

    def asked(self, request):
        """What a PredictRequest asks for, checked.   Raises: StatusError with TF Serving's code and text."""
        key, definition = self.signature(request.model_spec.signature_name)
        if definition is None:
            raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
        inputs = _read_inputs(definition, request.inputs)
        aliases = _output_aliases(definition, request.output_filter)
        if self._most_pixels is not None:
            require_pixels(inputs, self._most_pixels)
        return Asked(key, inputs, aliases)

    def predict(self, request):
        """PredictRequest -> PredictResponse without model name and version.   Raises: StatusError."""
        asked = self.asked(request)
        return asked.response(self.run(asked.key, asked.inputs))

    def _run(self, key, inputs):
        try:
            outputs = self._functions[key](**{alias: tf.constant(value) for alias, value in inputs.items()})
            return {alias: array_of(value) for alias, value in outputs.items()}
        except tf.errors.OpError as error:
            raise status_of(error) from error
        except UnicodeDecodeError as error:  # TensorFlow's message quotes what was sent, which is no text
            raise invalid(f"signature {key}: an input cannot be parsed") from error

    def warm_up(self):
        """Replay assets.extra/tf_serving_warmup_requests; returns the number of requests.

        Raises: StatusError; a request that fails makes the version unfit to serve.
        """
        file = os.path.join(self.path, WARMUP_FILE)
        if not tf.io.gfile.exists(file):
            return 0
        count = 0
        try:
            for record in tf.data.TFRecordDataset(file):
                count += 1
                if count > WARMUP_RECORDS:
                    raise invalid(f"Number of warmup records exceeds the maximum ({WARMUP_RECORDS})")
                self._replay(record.numpy(), count)
        except tf.errors.DataLossError as error:
            raise StatusError(
                Code.DATA_LOSS,
                f"Please verify your warmup data is in TFRecord format. {core_message(error)}",
            ) from error
        return count

    def _replay(self, record, number):
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except protobuf_message.DecodeError as error:
            raise invalid(f"Failed to parse warmup record {number}") from error
        kind = log.WhichOneof("log_type")
        if kind in (None, "session_run_log"):
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
        try:
            _REPLAYS[kind](self, getattr(log, kind).request)
        except StatusError as error:
            raise StatusError(error.code, f"Warm-up request {number} failed: {error.message}") from error


_REPLAYS = {
    "predict_log": lambda servable, request: servable.predict(request),
    "classify_log": inference.classify,
    "regress_log": inference.regress,
    "multi_inference_log": inference.multi_inference,
}


def _is_batched(definition):
    """Whether all inputs and outputs have rows of any number: what cannot be joined and parted runs by itself."""
    tensors = [*definition.inputs.values(), *definition.outputs.values()]
    shapes = [tensor.tensor_shape for tensor in tensors]
    return bool(definition.inputs) and all(
        not shape.unknown_rank and len(shape.dim) and shape.dim[0].size == -1 for shape in shapes
    )


def _read_graph(path, tags):
    """The graph with just these tags; what is wrong is said in TF Serving's words."""
    try:
        saved_model = read_saved_model(path)
    except FileNotFoundError as error:
        raise not_found(f"Could not find saved_model.pb in {path}") from error
    except ValueError as error:
        file = os.path.join(path, "saved_model.pb")
        raise StatusError(Code.DATA_LOSS, f"Can't parse {file} as binary proto") from error
    try:
        return serve_graph(saved_model, tags)
    except ValueError as error:
        raise not_found(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}"
        ) from error


def _read_inputs(definition, sent):
    declared, defaults = definition.inputs, definition.defaults
    if len(sent) > len(declared) or len(sent) < len(declared) and not defaults:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(declared)} len({_set_text(sent)}) != "
            f"len({_set_text(declared)}). Sent extra: {_set_text(set(sent) - set(declared))}. "
            f"Missing but required: {_set_text(set(declared) - set(sent))}."
        )
    for alias in sorted(sent):
        if alias not in declared:
            raise invalid(
                f"input tensor alias not found in signature: {alias}. Inputs "
                f"expected to be in the set {_set_text(declared)}."
            )
    for alias in sorted(declared) if len(sent) < len(declared) else ():
        if alias not in sent and alias not in defaults:
            raise invalid(
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
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs "
                f"expected to be in the set {_set_text(definition.outputs)}."
            )
        if alias in seen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(wanted) or sorted(definition.outputs)


def _set_text(names):
    return "{" + ",".join(sorted(names)) + "}"
