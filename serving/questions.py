"""What clients ask and how they read the answers, without a channel: blocking and asynchronous clients share it.

A conversation is a generator. It yields a question, (signature, inputs), is sent the {output: array} that comes back or
is thrown the ServingError instead, and returns what was wanted.
"""

import itertools
import os
import time

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from saved_models.signatures import encoded_image
from serving.answers import label_fault, without_rounding
from serving.channel import too_large, untrusted
from serving.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unavailable,
    error_of,
)
from serving.values import as_text, describe, from_proto, to_proto

CHUNK = 32  # images a request: most of the speed of a large batch, little memory
SECONDS, RESTORE_SECONDS = 10.0, 600.0  # to wait for an answer; a large photo takes a CPU minutes
# What is asked of each signature that takes one image a row, and of `verify`.
_DECIDED = ("score", "probability", "decision", "threshold")
OUTPUTS = {
    "embed": ("embedding",),
    "ask": ("embedding",),
    "verify": _DECIDED,
    "search": ("identities", "scores", "entries", "unknown"),
    "detect": _DECIDED,
}
# What `classify` answers: {output: (rank, kind of NumPy)}; not every model tells the uncertainty.
LABELS = {"label": (1, "O"), "decision": (1, "i"), "abstain": (1, "b"), "probabilities": (2, "f"), "classes": (2, "O")}
UNCERTAINTY = {"uncertainty": (1, "f")}

State = get_model_status_pb2.ModelVersionStatus.State


class Questions:
    """One model on one server, as both clients know it.

    Raises: ValueError for arguments that contradict each other.
    """

    def __init__(self, server, model, timeout, version, label):
        if timeout is not None and not timeout > 0:
            raise ValueError(f"`timeout` is {timeout} but must be more than 0 seconds.")
        if version is not None and label is not None:
            raise ValueError(
                f"`version` is {version} and `label` is {label!r} but a request takes only one of them."
            )
        self._server, self._model, self._timeout = server, model, timeout
        self._version, self._label = version, label

    # ---- Messages ----

    def _spec(self, signature=""):
        spec = model_pb2.ModelSpec(name=self._model, signature_name=signature)
        if self._version is not None:
            spec.version.value = self._version
        elif self._label is not None:
            spec.version_label = self._label
        return spec

    def _asked(self):
        which = f" version {self._version}" if self._version is not None else ""
        which = f" label {self._label}" if self._label is not None else which
        return f"Server {self._server}, model {self._model}{which}: "

    def _fault(self, message, image=None, code="DATA_LOSS"):
        """The error for an answer that is not what it must be."""
        return error_of(code, message, self._asked(), image)

    def _failure(self, error):
        """The error for a grpc.RpcError."""
        return error_of(error.code().name, error.details() or "no reason given", self._asked())

    def _seconds(self, signature):
        return self._timeout or (RESTORE_SECONDS if signature == "restore" else SECONDS)

    def _predict_request(self, signature, inputs):
        request = predict_pb2.PredictRequest(model_spec=self._spec(signature))
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(to_proto(name, value))
        return request

    @staticmethod
    def _outputs(response):
        return {name: from_proto(name, proto) for name, proto in response.outputs.items()}

    def _metadata_request(self):
        return get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )

    @staticmethod
    def _signatures(response):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            key: {
                "inputs": describe(signature.inputs),
                "outputs": describe(signature.outputs),
                "method": signature.method_name,
            }
            for key, signature in sorted(signatures.signature_def.items())
            if not key.startswith("__saved_model_")  # what loading runs, not what anybody calls
        }

    def _status_request(self):
        return get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())

    @staticmethod
    def _states(response):
        return [
            {
                "version": status.version,
                "state": State.Name(status.state),
                "error_code": status.status.error_code,
                "error": status.status.error_message,
            }
            for status in response.model_version_status
        ]

    # ---- Conversations ----

    def _conversations(self, signature, outputs, images):
        """[conversation] of each request for {input: one or many images}; what they return goes to `_put_together`."""
        images = {name: as_list(value) for name, value in images.items()}
        sizes = {name: len(value) for name, value in images.items()}
        count = next(iter(sizes.values()))
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"`{'` and `'.join(sizes)}` hold {' and '.join(map(str, sizes.values()))} images but "
                "must hold as many as each other."
            )
        if not count:
            raise ValueError(f"No image to {signature}; give at least one path or the bytes of one.")
        return [
            self._of_chunk(signature, outputs, {name: value[start : start + CHUNK] for name, value in images.items()},
                           start)
            for start in range(0, count, CHUNK)
        ]  # fmt: skip

    def _of_chunk(self, signature, outputs, images, start):
        """[answer] of one request, or one answer an image where the server refuses all of them together."""
        encoded = {name: [encoded_image(image) for image in value] for name, value in images.items()}
        called = {name: [name_of(image, start + row) for row, image in enumerate(value)]
                  for name, value in images.items()}  # fmt: skip
        return (yield from self._each(signature, outputs, encoded, called, first=True))

    def _put_together(self, outputs, answers):
        return {name: self._joined(name, [answer[name] for answer in answers]) for name in outputs}

    def _each(self, signature, outputs, encoded, called, others=None, trusted=False, first=False):
        """[one answer for all images]; where they are refused together, [an answer or its refusal for one at a time].

        Args:   encoded, called: {input: bytes or names of its images}.  others: {input: array [n]} sent beside them.
                trusted: whether only images can be at fault.  first: whether the first refusal of an image is raised.
        Raises: InvalidArgument where a fine image is refused in the same words: something else is wrong;
                ResourceExhausted of a full queue.
        """
        others = others or {}
        count = len(next(iter(encoded.values())))
        answer = yield from self._answer_or_refusal(signature, outputs, encoded | others)
        if not isinstance(answer, ServingError):
            return [answer]
        row = {name: value[:1] for name, value in others.items()}
        fine = None
        if not trusted and isinstance(answer, InvalidArgument):
            fine = yield from self._refusal(signature, dict.fromkeys(encoded, self._fine()), row)
        if answer.message == fine:
            raise answer
        answers = []
        for row in range(count):
            one = {name: value[row : row + 1] for name, value in encoded.items()}
            beside = {name: value[row : row + 1] for name, value in others.items()}
            if count > 1:
                answer = yield from self._answer_or_refusal(signature, outputs, one | beside)
            if isinstance(answer, ServingError):
                if others and answer.message == fine:  # a refusal that shows the values of all reads otherwise
                    raise answer
                names = {name: value[row] for name, value in called.items()}
                answer = yield from self._blaming(answer, signature, names, one, beside)
                if first:
                    raise answer
            answers.append(answer)
        return answers

    def _answer_or_refusal(self, signature, outputs, inputs):
        try:
            return (yield from self._of_encoded(signature, outputs, inputs))
        except InvalidArgument as error:
            return error
        except ResourceExhausted as error:
            if not too_large(error.message):
                raise
            return error

    def _blaming(self, error, signature, names, encoded, others):
        """The error with the image at fault: the only one, or of several inputs the one refused by itself."""
        for name, called in names.items():
            if len(names) > 1:
                refused = yield from self._refusal(signature, dict.fromkeys(names, encoded[name][0]), others)
            if len(names) == 1 or refused:
                blaming = type(error)(error.code, error.message, error.asked, called)
                blaming.__cause__ = error.__cause__
                return blaming
        return error

    @staticmethod
    def _refusal(signature, images, others):
        """Why single images are refused, None where they are not."""
        try:
            yield signature, {name: [image] for name, image in images.items()} | others
        except (InvalidArgument, ResourceExhausted) as error:
            return error.message
        except ServingError:
            return None
        return None

    def _of_encoded(self, signature, outputs, encoded):
        answer = yield signature, encoded
        missing = [name for name in outputs if name not in answer]
        if missing:
            raise self._fault(
                f"signature `{signature}` answers without `{missing[0]}`; it gives {', '.join(sorted(answer))}",
                code="UNIMPLEMENTED",
            )
        count = len(next(iter(encoded.values())))
        for name in outputs:
            if answer[name].shape[:1] != (count,):
                raise self._fault(f"output `{name}` has shape {list(answer[name].shape)} for {count} images")
        return answer

    @staticmethod
    def _spared(ask, request, trusted):
        """[(image, its answer or the error that speaks against it alone)] of one request.

        Args:   ask: ([(name, bytes)], whether only images can be at fault) -> conversation that returns [an answer or a
                ServingError] for each of them.
                request: [(image, its name, bytes or why there are none)].
                trusted: whether the server has answered such a question before.
        """
        sent = [(called, data) for _, called, data in request if not isinstance(data, Exception)]
        try:
            answers = (yield from ask(sent, trusted)) if sent else []
        except InvalidArgument:
            # The fine image may have a fault of its own, such as its size: one answer to another one shows it.
            answers = (yield from ask(sent, True)) if len(sent) > 1 else []
            if all(isinstance(answer, Exception) for answer in answers):
                raise
        answers = iter(answers)
        return [(image, data if isinstance(data, Exception) else next(answers)) for image, _, data in request]

    def _rows_together(self, signature, sent, trusted):
        """[{output: its row} or a ServingError] for each of [(name, bytes)], all of them sent in one request."""
        names, encoded = zip(*sent)
        outputs, inputs = OUTPUTS[signature], {"image_bytes": encoded}
        answers = yield from self._each(signature, outputs, inputs, {"image_bytes": names}, trusted=trusted)
        rows = []
        for answer in answers:
            if isinstance(answer, ServingError):
                rows.append(answer)
                continue
            answer = self._read(signature, {name: answer[name] for name in outputs})
            if signature in ("embed", "ask"):
                self._require(answer["embedding"], "embedding", rank=2, kinds="f")
            count = len(answer[outputs[0]])
            rows += [{name: value[row] for name, value in answer.items()} for row in range(count)]
        return rows

    def _classified_together(self, sent, trusted):
        """[{name: values [1, ...]} or a ServingError] for each of [(name, bytes)], all of them sent in one request."""
        names, encoded = zip(*sent)
        rows = iter(names)
        inputs, called, classified = {"image_bytes": encoded}, {"image_bytes": names}, []
        for answer in (yield from self._each("classify", LABELS, inputs, called, trusted=trusted)):
            if isinstance(answer, ServingError):
                next(rows)
                classified.append(answer)
                continue
            answer = self._labels(answer)
            # The other way round a row would be lost.
            for row, name in zip(range(len(answer["label"])), rows):
                one = {output: value[row : row + 1] for output, value in answer.items()}
                fault = label_fault({output: value[0] for output, value in one.items()})
                classified.append(self._fault(fault, name) if fault else without_rounding(one))
        return classified

    def _asking(self, signature):
        """What `_spared` asks by, for a signature of single images; its answers are {output: the image's own}."""
        if signature == "classify":
            return self._classified_row
        if signature not in OUTPUTS or signature == "verify":
            raise ValueError(
                f"`signature` is {signature!r} but must be one of {', '.join(EACH)}; ask others by `predict`."
            )
        return lambda sent, trusted: self._rows_together(signature, sent, trusted)

    def _classified_row(self, sent, trusted):
        answers = yield from self._classified_together(sent, trusted)
        return [row_of(answer) for answer in answers]

    # ---- Checks ----

    def _read(self, signature, answer):
        """An answer as the methods of a client give it.   Raises: ServingError where it is not what it must be."""
        if signature == "detect":
            for name in OUTPUTS[signature]:
                self._require(answer[name], name, rank=1, kinds="b" if name == "decision" else "f")
        if signature == "search":
            return {name: as_text(value) if value.dtype == object else value for name, value in answer.items()}
        return answer

    def _labels(self, answer):
        """The outputs of `classify` with text as str.   Raises: ServingError where one is not what it must be."""
        wanted = {name: kind for name, kind in (LABELS | UNCERTAINTY).items() if name in answer}
        answer = {name: answer[name] for name in wanted}
        for name, value in answer.items():
            self._require(value, name, *wanted[name])
        for name, like in (("classes", "probabilities"), ("uncertainty", "label")):
            if name in answer and answer[name].shape != answer[like].shape:
                raise self._fault(
                    f"output `{name}` has shape {list(answer[name].shape)} but must have that of `{like}`, "
                    f"{list(answer[like].shape)}"
                )
        return {name: as_text(value) if value.dtype == object else value for name, value in answer.items()}

    def _joined_labels(self, pairs):
        """{name: values [n, ...]} of [(image, answer or error)].   Raises: the first error."""
        answers = []
        for _, answer in pairs:
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        return self._put_together([name for name in answers[0] if all(name in answer for answer in answers)], answers)

    def _joined(self, name, parts):
        """The answers of all requests as one array."""
        for part in parts:
            if part.shape[1:] != parts[0].shape[1:]:
                raise self._fault(
                    f"output `{name}` has shape {list(parts[0].shape)} in one answer but {list(part.shape)} in another"
                )
        return np.concatenate(parts)

    def _require(self, array, name, rank, kinds):
        """Raises: ServingError where an output is not what the signature promises; kinds: NumPy's, one letter each."""
        if array.ndim != rank or array.dtype.kind not in kinds or not array.size:
            wanted = {"b": "bool", "f": "float32", "i": "int32", "O": "string"}[kinds]
            shape = {1: "[n]", 2: "[n, D]" if name == "embedding" else "[n, K]", 3: "[n, H, W]"}[rank]
            raise self._fault(
                f"output `{name}` is {'string' if array.dtype == object else array.dtype} {list(array.shape)} but must "
                f"be {wanted} {shape}"
            )

    @staticmethod
    def _fine():
        return fine_image()


EACH = (*(name for name in OUTPUTS if name != "verify"), "classify")  # signatures that answer each image by itself


class Waiting:
    """Whether a model is ready, from one look at its states after another; see `Client.wait_ready`."""

    def __init__(self, timeout, absent, pause, asked):
        self._timeout, self._absent, self._pause, self._asked = timeout, absent, pause, asked
        self._deadline = time.monotonic() + timeout
        self._absent_since, self._remaining = None, timeout

    def seconds(self, most):
        """How long the next look may take."""
        self._remaining = self._deadline - time.monotonic()
        return min(most, max(self._remaining, self._pause))

    def over(self, states):
        """Whether a look, states or the error in their place, shows that it is ready.   Raises: see `wait_ready`."""
        missing = None
        if isinstance(states, Unavailable) and untrusted(states.message):
            raise states
        if isinstance(states, ServingError):
            last, missing = f"{states.code}: {states.message}", states if isinstance(states, NotFound) else None
        else:
            names = {state["state"] for state in states}
            if "AVAILABLE" in names:
                return True
            last = "; ".join(
                f"version {state['version']} is {state['state']} {state['error']}".strip() for state in states
            )
            if not names & {"START", "LOADING"}:
                missing = NotFound("NOT_FOUND", f"no version can be asked: {last}", self._asked)
        self._absent_since = (self._absent_since or time.monotonic()) if missing else None
        if missing and self._absent is not None and time.monotonic() - self._absent_since >= self._absent:
            raise missing
        if self._remaining <= self._pause:
            raise DeadlineExceeded(
                "DEADLINE_EXCEEDED", f"not ready after {self._timeout:g} s, last answer: {last}", self._asked
            )
        return False


def fine_image():
    """A small picture that every model of pictures reads."""
    return tf.io.encode_png(np.full((16, 16, 3), 128, np.uint8)).numpy()


def as_list(images):
    return [images] if isinstance(images, (str, bytes, os.PathLike)) else list(images)


def name_of(image, row):
    return f"image {row + 1}" if isinstance(image, bytes) else os.fspath(image)


def row_of(answer):
    """{name: value} of {name: values [1, ...]}, an error as it is."""
    return answer if isinstance(answer, Exception) else {name: value[0] for name, value in answer.items()}


def read_images(images, start=0):
    """Iterator of (image, its name, bytes or why there are none); start: the number of the first, from 0."""
    for row, image in enumerate(images, start):
        try:
            data = encoded_image(image)
        except (ValueError, OSError) as error:
            data = error
        yield image, name_of(image, row), data


def requests_of(images):
    """Iterator of [(image, its name, bytes or why there are none)], 32 a request, each read when its turn comes."""
    read = read_images(images)
    return iter(lambda: list(itertools.islice(read, CHUNK)), [])
