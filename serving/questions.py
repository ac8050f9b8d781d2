"""What clients ask and how they read the answers, without a channel: blocking and asynchronous clients share it.

A conversation is a generator. It yields a question, (signature, inputs), is sent the {output: array} that comes back or
is thrown the ServingError instead, and returns what was wanted.
"""

import functools
import itertools
import numbers
import os
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from saved_models.signatures import IMAGE_BYTES, encoded_image
from serving.answers import image_size, label_fault, png_size, restoring_fault, share_fault, without_rounding
from serving.channel import too_large, untrusted
from serving.config import config_message
from serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unavailable,
    error_of,
)
from serving.orientation import carried
from serving.values import as_text, describe, from_proto, to_proto

MOST_SEED = 2**63 - 1  # seeds are sent as int64
# Of several images that are restored by one request, pixels those of the answers: they are waited for together.
RESTORE_IMAGES, RESTORE_BYTES, RESTORE_PIXELS = 16, 4 * 2**20, 2**24
OWN_SCALE = 0  # asks a model to restore by the scale it was judged by
USUAL_SCALE = 4  # by which requests are cut where the model's own is not known
CHUNK = 32  # images a request: most of the speed of a large batch, little memory
SECONDS, RESTORE_SECONDS = 10.0, 600.0  # to wait for an answer; a large photo takes a CPU minutes
RELOAD_SECONDS = 120.0  # to wait until new models are loaded
# What is asked of each signature that takes one image a row, and of `verify`.
_DECIDED = ("score", "probability", "decision", "threshold")
OUTPUTS = {
    "embed": ("embedding",),
    "ask": ("embedding",),
    "verify": _DECIDED,
    "search": ("identities", "scores", "entries", "unknown"),
    "detect": _DECIDED,
}
MAPS = ("map",)  # of those that say where in the image an answer lies
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

    def _require_known(self, known, signature, otherwise, cause):
        """See `Client.require`.   Args: known: what `_signatures` gives."""
        if signature not in known:
            said = f", so {otherwise}" if otherwise else f"; it has {', '.join(sorted({*known} - {'serving_default'}))}"
            told = f"the model has no signature `{signature}`{said}"
            raise FailedPrecondition("FAILED_PRECONDITION", told, self._asked()) from cause

    @staticmethod
    def _reload_request(models):
        """Args: models: text or message of a ModelServerConfig.   Raises: ValueError for text that is none."""
        config = config_message(models) if isinstance(models, str) else models
        return model_management_pb2.ReloadConfigRequest(config=config)

    def _reload_failure(self, error):
        """The error for a grpc.RpcError of a reload, which asks no model."""
        return error_of(error.code().name, error.details() or "no reason given", f"Server {self._server}: ")

    def _require_reloaded(self, response):
        """Raises: ServingError with the server's reason where it has not loaded the models."""
        if response.status.error_code:
            names = {code.value[0]: code.name for code in grpc.StatusCode}
            code = names.get(response.status.error_code, "UNKNOWN")
            told = response.status.error_message or "no reason given"
            raise error_of(code, told, f"Server {self._server}: ")

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
        some(next(iter(images.values())), signature)
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
            fine = yield from self._refusal(signature, dict.fromkeys(encoded, fine_image()), row)
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

    def _classified(self, images):
        """(requests, what `_spared` asks by) for the labels of images, each as {name: values [1, ...]}."""
        return requests_of(some(images, "classify")), self._classified_together

    def _every(self, signature, images):
        """(requests, what `_spared` asks by) for each image's own answer of a signature."""
        ask = self._asking(signature)
        return requests_of(some(images, signature)), ask

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

    def _generated(self, count, seed, label):
        """[conversation] of each request for images of the seeds from `seed` on; each returns [PNG bytes]."""
        if count < 1:
            raise ValueError(f"`count` is {count} but must be at least 1.")
        if not 0 <= seed <= MOST_SEED - count:
            raise ValueError(f"`seed` is {seed} but must lie between 0 and {MOST_SEED - count:,} for {count} images.")
        if label is not None and not 0 <= label < 2**31:
            raise ValueError(f"`label` is {label} but must be the index of a class, 0 or more; correct it.")
        return [
            self._of_seeds(np.arange(start, min(start + CHUNK, seed + count), dtype=np.int64), label)
            for start in range(seed, seed + count, CHUNK)
        ]

    def _of_seeds(self, seeds, label):
        inputs = {"seed": seeds} | ({} if label is None else {"label": np.full(len(seeds), label, np.int32)})
        answer = (yield from self._of_encoded("generate", ("image_bytes",), inputs))["image_bytes"]
        self._require(answer, "image_bytes", rank=1, kinds="O")
        for seed, image in zip(seeds, answer):
            if len(image) > IMAGE_BYTES or png_size(image) is None:
                raise self._fault(
                    f"output `image_bytes` holds {len(image):,} bytes for seed {seed} but must hold a PNG of at most "
                    f"{IMAGE_BYTES:,}"
                )
        return answer.tolist()

    def _restored(self, images, scale):
        """(requests, what `_spared` asks by) for images made `scale` times as large; each becomes PNG bytes."""
        whole = isinstance(scale, numbers.Integral) and not isinstance(scale, bool)
        if scale is not None and (not whole or not 1 <= scale < 2**31):  # sent as int32
            raise ValueError(f"`scale` is {scale!r} but must be a whole number of at least 1, such as 4.")
        images, scale = some(images, "restore"), int(scale or OWN_SCALE)
        return _restoring(images, scale), functools.partial(self._restored_together, scale)

    def _restored_together(self, scale, sent, trusted):
        """[PNG bytes or a ServingError] for each of [(name, bytes)], all of them sent in one request."""
        names, encoded = zip(*sent)
        rows, restored = iter(sent), []
        inputs, called = {"image_bytes": list(encoded)}, {"image_bytes": names}
        scales = {"scale": np.full(len(sent), scale, np.int32)}
        try:
            for answer in (yield from self._each("restore", ("image_bytes",), inputs, called, scales, trusted)):
                if isinstance(answer, ServingError):
                    next(rows)
                    restored.append(answer)
                    continue
                self._require(answer["image_bytes"], "image_bytes", rank=1, kinds="O")
                # The other way round a row would be lost.
                for image, (name, asked) in zip(answer["image_bytes"], rows):
                    fault = restoring_fault(image, image_size(asked), scale)
                    restored.append(self._fault(fault, name) if fault else carried(asked, image))
        except ServingError as error:
            if error.code != "RESOURCE_EXHAUSTED" or len(sent) > 1 or not too_large(error.message):
                raise
            # More than the server's memory or a message holds, which is 2 GB: smaller images may well be restored.
            return [error_of(error.code, error.message, error.asked, names[0])]
        return restored

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
        """{name: values [n, ...]} of (image, answer or error).   Raises: the first error."""
        answers = [raised(answer) for _, answer in pairs]
        return self._put_together([name for name in answers[0] if all(name in answer for answer in answers)], answers)

    def _maps(self, images, maps):
        """Maps as a client gives them.   Raises: ServingError with the image whose map holds no shares."""
        self._require(maps, "map", rank=3, kinds="f")
        for row, evidence in enumerate(maps):
            fault = share_fault("map", evidence)
            if fault:
                raise self._fault(fault, name_of(images[row], row))
        return np.clip(maps, 0, 1).astype(np.float32)

    def _require_label(self, label, conditional):
        if conditional and label is None:
            raise ValueError(
                f"`label` is missing but model {self._model} makes images of a class; give the index of one, "
                "--class_index=INDEX in the command."
            )
        if not conditional and label is not None:
            raise ValueError(
                f"`label` is {label} but model {self._model} knows no classes; leave it away, --class_index in the "
                "command."
            )

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


def some(images, signature):
    """A list of images.   Raises: ValueError where there is none."""
    images = as_list(images)
    if not images:
        raise ValueError(f"No image to {signature}; give at least one path or the bytes of one.")
    return images


def raised(answer):
    """An answer.   Raises: the error in its place."""
    if isinstance(answer, Exception):
        raise answer
    return answer


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


def _restoring(images, scale):
    """[(image, its name, bytes or why there are none)] of each request to restore images."""
    request, shares = [], 0.0
    for image, called, data in read_images(images):
        share = 0.0
        if not isinstance(data, Exception):
            size = image_size(data)
            pixels = size[0] * size[1] * (scale or USUAL_SCALE) ** 2 if size else RESTORE_PIXELS
            share = max(1 / RESTORE_IMAGES, len(data) / RESTORE_BYTES, pixels / RESTORE_PIXELS)
        if request and shares + share > 1:
            yield request
            request, shares = [], 0.0
        request.append((image, called, data))
        shares += share
    yield request
