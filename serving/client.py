"""Client of a model server that speaks TF Serving's gRPC: library and command.

    python -m serving.client embed  IMAGE... --server=localhost:8500 --model=verification
        [--out=vectors.npz [--pattern=REGEX]]
    python -m serving.client ask    IMAGE... --model=vehicle_reid [--out=queries.npz [--pattern=REGEX]]
    python -m serving.client verify IMAGE IMAGE --model=verification
    python -m serving.client search IMAGE... --model=gallery [--k=5]
        [--out=sheet.png [--images=PHOTOS] [--pattern=REGEX]]
    python -m serving.client detect IMAGE... --model=fake_image_detection [--out=overlay.png]
    python -m serving.client classify IMAGE_OR_FOLDER... [--model=small_sample_diagnosis] [--explain=out.png]
    python -m serving.client generate --model=image_generation [--count=16] [--seed=0] [--class_index=INDEX]
        [--out=sheet.png or --out=FOLDER]
    python -m serving.client restore IMAGE_OR_FOLDER... --out=large.png or --out=FOLDER [--scale=2]
        [--model=super_resolution or face_hallucination]

It prints a table, or with --json one JSON line an image. A server that is still starting and a model that is
being loaded are waited for, up to --wait=30 seconds; --wait=0 asks at once. In the answer of verify `decision`
decides: same where the score reaches the model's threshold. `probability` is that of "same" at equal odds, so
it can be above 0.5 where the decision is different. Some models make other vectors of images that ask than of those
that are searched: `ask` gives the former, `embed` the latter, and of verify the first image asks. The sheet of search
shows each query with its answers in order, the enrolled images as well where PHOTOS is the folder the gallery was built
from; a bar is the share of the sheet's largest score. Where an identity, such as a diagnosis, occurs among the answers
of an image more than once, they vote: the most frequent one wins, of equally frequent ones that of the nearest answer.
An unknown image has no vote.

REGEX is searched in the path of an image as it is typed, which may begin above PHOTOS. It says whose image it is, by
its group identity, else label. On a sheet right answers are framed green then, wrong ones red; the file of embed or ask
gets `identities` and, by groups camera and track, `cameras` and `tracks`, as `python -m keras_apps.evaluate
--query=queries.npz --gallery=vectors.npz` reads them.

Of detect, too, `decision` decides: fake where the score reaches the threshold. Its picture, of at most 50 images, asks
`fake_map` as well and shows each image beside itself in grey, where red is what speaks for a fake. generate takes no
images: it makes one of each seed from --seed on, the same one whenever it is asked again; a model that knows classes
needs --class_index. They go into FOLDER as <seed>.png, or the first 400 onto a sheet.

classify names a label with its probability, then the runner-up. Where the model is too unsure, it says to ask a person
and shows the label that leads. --explain asks `explain` as well and draws at most 50 images as detect does, in red what
speaks for the label.

restore makes each image SCALE times as high and wide: one goes into large.png, others into FOLDER as <name>.png, those
of a folder below it as they lie there. Nothing is overwritten that is to be restored, and two images never go into one
file. Of several, those that cannot be restored or classified are told at the end, and the exit code is 1.
"""

import functools
import itertools
import numbers
import os
import time

import grpc
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from saved_models.signatures import IMAGE_BYTES, encoded_image
from serving.answers import image_size, label_fault, png_size, restoring_fault, share_fault, without_rounding
from serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
    error_of,
)
from serving.orientation import carried
from serving.values import as_text, describe, from_proto, to_proto
from tfrecords import command

CHUNK = 32  # images a request: most of the speed of a large batch, little memory
MOST_SEED = 2**63 - 1  # seeds are sent as int64
SECONDS, RESTORE_SECONDS = 10.0, 600.0  # to wait for an answer; a large photo takes a CPU minutes
# Of several images that are restored by one request, pixels those of the answers: they are waited for together.
RESTORE_IMAGES, RESTORE_BYTES, RESTORE_PIXELS = 16, 4 * 2**20, 2**24
OWN_SCALE = 0  # asks a model to restore by the scale it was judged by
USUAL_SCALE = 4  # by which requests are cut where the model's own is not known
# What `classify` answers: {output: (rank, kind of NumPy)}; not every model tells the uncertainty.
LABELS = {"label": (1, "O"), "decision": (1, "i"), "abstain": (1, "b"), "probabilities": (2, "f"), "classes": (2, "O")}
UNCERTAINTY = {"uncertainty": (1, "f")}
POLL_SECONDS = 0.2  # between two questions of wait_ready
ABSENT_SECONDS = 1.5  # a running server sees a version written a moment ago at its next look, after 1 s

State = get_model_status_pb2.ModelVersionStatus.State


class Client:
    """Asks one model on one server.

    An image is a path or the bytes of an encoded file; `images` is one or a sequence, sent 32 a request, those to
    restore at most 16, a large one by itself.
    A request whose images are refused is asked again with one image at a time, to name the one at fault, or
    to have the answers where all of them were only too much at once. Nothing else is retried.

    Args:    server: "host:port" or "unix:/path".  model: name on the server.
             timeout: seconds a request; None = 10, of restore 600.
             version, label: of the model; the newest available one by default.
    Raises:  ValueError for bad arguments or image files; OSError for files that cannot be read; ServingError
             and its subclasses for what the server or the network answers.
    """

    def __init__(self, server="localhost:8500", model="verification", timeout=None, version=None, label=None):
        if timeout is not None and not timeout > 0:
            raise ValueError(f"`timeout` is {timeout} but must be more than 0 seconds.")
        if version is not None and label is not None:
            raise ValueError(
                f"`version` is {version} and `label` is {label!r} but a request takes only one of them."
            )
        self._server, self._model, self._timeout = server, model, timeout
        self._version, self._label = version, label
        host = server.rpartition(":")[0].strip("[]")
        local = host in ("localhost", "::1") or host.startswith("127.") or server.startswith("unix:")
        self._channel = grpc.insecure_channel(
            server,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A proxy cannot reach this machine's own address.
                ("grpc.enable_http_proxy", 0 if local else 1),
                # A server that starts is seen at once: gRPC's own pauses grow to two minutes.
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._channel.close()

    def embed(self, images):
        """Embeddings float32 [n, D]; where the model has `ask`, those of images that are searched."""
        return self._ask_images("embed", ("embedding",), image_bytes=images)["embedding"]

    def ask(self, images):
        """Embeddings float32 [n, D] of images that ask: their products with those of `embed` are the scores.

        Raises: FailedPrecondition for a model that has no `ask`, where an image asks by `embed` as well.
        """
        try:
            return self._ask_images("ask", ("embedding",), image_bytes=images)["embedding"]
        except FailedPrecondition as error:
            self.require("ask", "images ask by its `embed`; use that", error)
            raise

    def verify(self, first, second):
        """Do first[i] and second[i] show the same? {"score", "probability", "decision", "threshold"} [n].

        decision = score >= threshold, and it decides: the model's threshold is fitted to accept few different
        pairs (1 in 100 for `verification`). probability = that of "same" at equal odds, were there as many same
        as different pairs; a strict threshold lies higher, so 0.9 may well go with the decision False.
        """
        names = ("score", "probability", "decision", "threshold")
        return self._ask_images("verify", names, image_bytes_1=first, image_bytes_2=second)

    def search(self, images):
        """The k most similar entries of a gallery: {"identities", "scores", "entries" [n, k], "unknown" [n]}.

        Identities and entries are str; scores descend; unknown = the best is below the gallery's threshold. What the
        identities, such as diagnoses, vote for: `serving.vote.votes(answer)`.
        """
        names = ("identities", "scores", "entries", "unknown")
        answer = self._ask_images("search", names, image_bytes=images)
        return {name: as_text(value) if value.dtype == object else value for name, value in answer.items()}

    def detect(self, images):
        """Is images[i] fake? {"score", "probability", "decision", "threshold"} [n].

        decision = score >= threshold, True for a fake, and it decides; probability = that of "fake".
        """
        names = ("score", "probability", "decision", "threshold")
        answer = self._ask_images("detect", names, image_bytes=images)
        for name in names:
            self._require(answer[name], name, rank=1, kinds="b" if name == "decision" else "f")
        return answer

    def fake_map(self, images):
        """What speaks for a fake, and where: float32 [n, H, W] in [0, 1], over the whole image as the model sees it.

        Raises: ServingError with the image whose map holds anything else.
        """
        return self._maps("fake_map", images)

    def classify(self, images):
        """What does images[i] show? {"label" str, "decision" int32, "abstain" bool [n], "probabilities" float32 and
        "classes" str [n, K]}, of some models "uncertainty" float32 [n] in [0, 1] as well.

        classes names the columns of probabilities, decision is the column of the label; abstain = the model is too
        unsure: ask a person.

        Raises: ServingError with the image whose answer is none.
        """
        answers = []
        for _, answer in self._classified(images):
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        names = [name for name in answers[0] if all(name in answer for answer in answers)]
        return {name: self._joined(name, [answer[name] for answer in answers]) for name in names}

    def classify_each(self, images):
        """As classify, but one image cannot spoil the others, and only the answers of a request are kept.

        Returns: iterator of (image, {name: its value, or the values of its row}, or the error that speaks against this
                 image alone: ServingError, or ValueError or OSError for a file that cannot be sent). An image of which
                 only a path is given is read when its turn comes.
        Raises:  ValueError at once; ServingError, by the iterator, for what is wrong with all of them.
        """
        return (
            (image, answer if isinstance(answer, Exception) else {name: value[0] for name, value in answer.items()})
            for image, answer in self._classified(images)
        )

    def _classified(self, images):
        """Iterator of (image, {name: values [1, ...]} or its error)."""
        images = _as_list(images)
        if not images:
            raise ValueError("No image to classify; give at least one path or the bytes of one.")
        read = _read(images)
        requests = iter(lambda: list(itertools.islice(read, CHUNK)), [])
        return self._sparing(requests, self._classified_together)

    def _classified_together(self, sent, trusted):
        """{name: values [1, ...]} or a ServingError for each of [(name, bytes)], all of them sent in one request."""
        names, encoded = zip(*sent)
        rows = iter(names)
        inputs, called = {"image_bytes": encoded}, {"image_bytes": names}
        for answer in self._each("classify", LABELS, inputs, called, trusted=trusted):
            if isinstance(answer, ServingError):
                next(rows)
                yield answer
                continue
            answer = self._labels(answer)
            # The other way round a row would be lost.
            for row, name in zip(range(len(answer["label"])), rows):
                one = {output: value[row : row + 1] for output, value in answer.items()}
                fault = label_fault({output: value[0] for output, value in one.items()})
                yield ServingError("DATA_LOSS", fault, self._asked(), name) if fault else without_rounding(one)

    def _labels(self, answer):
        """The outputs of `classify` with text as str.   Raises: ServingError where one is not what it must be."""
        wanted = {name: kind for name, kind in (LABELS | UNCERTAINTY).items() if name in answer}
        answer = {name: answer[name] for name in wanted}
        for name, value in answer.items():
            self._require(value, name, *wanted[name])
        for name, like in (("classes", "probabilities"), ("uncertainty", "label")):
            if name in answer and answer[name].shape != answer[like].shape:
                raise ServingError(
                    "DATA_LOSS",
                    f"output `{name}` has shape {list(answer[name].shape)} but must have that of `{like}`, "
                    f"{list(answer[like].shape)}",
                    self._asked(),
                )
        return {name: as_text(value) if value.dtype == object else value for name, value in answer.items()}

    def explain(self, images):
        """What speaks for the label that `classify` gives, and where: float32 [n, H, W] in [0, 1], as `fake_map`.

        Raises: FailedPrecondition for a model without `explain`; ServingError with the image whose map holds anything
                else.
        """
        try:
            return self._maps("explain", images)
        except FailedPrecondition as error:
            self.require("explain", cause=error)
            raise

    def _maps(self, signature, images):
        images = _as_list(images)
        maps = self._ask_images(signature, ("map",), image_bytes=images)["map"]
        self._require(maps, "map", rank=3, kinds="f")
        for row, evidence in enumerate(maps):
            fault = share_fault("map", evidence)
            if fault:
                raise ServingError("DATA_LOSS", fault, self._asked(), _called(images[row], row))
        return np.clip(maps, 0, 1).astype(np.float32)

    def generate(self, count, seed=0, label=None):
        """[PNG bytes]: the images of the seeds seed, seed + 1, ..., asked for 32 a request.

        Args:   label: index of the class, of a model that makes images of a class; None of one that does not.
        Raises: ValueError for a label that is missing or not taken; ServingError for an answer that is no PNG.
        """
        if count < 1:
            raise ValueError(f"`count` is {count} but must be at least 1.")
        if not 0 <= seed <= MOST_SEED - count:
            raise ValueError(f"`seed` is {seed} but must lie between 0 and {MOST_SEED - count:,} for {count} images.")
        if label is not None and not 0 <= label < 2**31:
            raise ValueError(f"`label` is {label} but must be the index of a class, 0 or more; correct it.")
        signature = self.metadata().get("generate")
        if signature:  # where there is none, the server says so
            self._require_label(label, "label" in signature["inputs"])
        images = []
        for start in range(seed, seed + count, CHUNK):
            seeds = np.arange(start, min(start + CHUNK, seed + count), dtype=np.int64)
            inputs = {"seed": seeds} | ({} if label is None else {"label": np.full(len(seeds), label, np.int32)})
            answer = self._ask_encoded("generate", ("image_bytes",), inputs)["image_bytes"]
            self._require(answer, "image_bytes", rank=1, kinds="O")
            for made_of, image in zip(seeds, answer):
                if len(image) > IMAGE_BYTES or png_size(image) is None:
                    raise ServingError(
                        "DATA_LOSS",
                        f"output `image_bytes` holds {len(image):,} bytes for seed {made_of} but must hold a PNG of at "
                        f"most {IMAGE_BYTES:,}",
                        self._asked(),
                    )
            images += answer.tolist()
        return images

    def restore(self, images, scale=None):
        """[PNG bytes]: each image made `scale` times as high and wide, in their order; None = the model's own scale.

        An EXIF orientation stays what it is: pixels are as they were stored, and the PNG says how to turn them.

        Raises: ValueError for a scale that is no whole number or below 1; which ones the model knows, the server says.
                ServingError with the image that is refused, or whose answer is no PNG or one of another size.
        """
        restored = []
        for _, answer in self.restore_each(images, scale):
            if isinstance(answer, Exception):
                raise answer
            restored.append(answer)
        return restored

    def restore_each(self, images, scale=None):
        """As restore, but one image cannot spoil the others, and only the answers of a request are kept.

        Returns: iterator of (image, its PNG bytes, or the error that speaks against this image alone: ServingError,
                 or ValueError or OSError for a file that cannot be sent). An image of which only a path is given is
                 read when its turn comes.
        Raises:  ValueError at once; ServingError, by the iterator, for what is wrong with all of them.
        """
        whole = isinstance(scale, numbers.Integral) and not isinstance(scale, bool)
        if scale is not None and (not whole or not 1 <= scale < 2**31):  # sent as int32
            raise ValueError(f"`scale` is {scale!r} but must be a whole number of at least 1, such as 4.")
        images = _as_list(images)
        if not images:
            raise ValueError("No image to restore; give at least one path or the bytes of one.")
        scale = int(scale or OWN_SCALE)
        return self._sparing(_requests(images, scale), functools.partial(self._restored_together, scale))

    def _sparing(self, requests, ask):
        """Iterator of (image, its answer or the error that speaks against it alone), one request after another.

        Args:   requests: [(image, its name, bytes or why there are none)] of each.
                ask: ([(name, bytes)], whether only images can be at fault) -> iterator of an answer or a ServingError
                for each of them.
        """
        answered = False
        for request in requests:
            sent = [(called, data) for _, called, data in request if not isinstance(data, Exception)]
            try:
                answers = list(ask(sent, answered)) if sent else []
            except InvalidArgument:
                # The fine image may have a fault of its own, such as its size: one answer to another one shows it.
                answers = list(ask(sent, True)) if len(sent) > 1 else []
                if all(isinstance(answer, Exception) for answer in answers):
                    raise
            answered = answered or not all(isinstance(answer, Exception) for answer in answers)
            for image, _, data in request:
                yield image, data if isinstance(data, Exception) else answers.pop(0)

    def _restored_together(self, scale, sent, trusted):
        """PNG bytes or a ServingError for each of [(name, bytes)], all of them sent in one request."""
        names, encoded = zip(*sent)
        rows = iter(sent)
        inputs = {"image_bytes": list(encoded)}
        scales = {"scale": np.full(len(sent), scale, np.int32)}
        try:
            for answer in self._each("restore", ("image_bytes",), inputs, {"image_bytes": names}, scales, trusted):
                if isinstance(answer, ServingError):
                    next(rows)
                    yield answer
                    continue
                self._require(answer["image_bytes"], "image_bytes", rank=1, kinds="O")
                # The other way round a row would be lost.
                for image, (name, asked) in zip(answer["image_bytes"], rows):
                    fault = restoring_fault(image, image_size(asked), scale)
                    yield ServingError("DATA_LOSS", fault, self._asked(), name) if fault else carried(asked, image)
        except ServingError as error:
            if error.code != "RESOURCE_EXHAUSTED" or len(sent) > 1:
                raise
            # More than the server's memory or a message holds, which is 2 GB: smaller images may well be restored.
            yield ServingError(error.code, error.message, error.asked, names[0])

    def predict(self, signature, inputs):
        """Any signature: {input: array, or nested list of numbers, str or bytes} -> {output: array}.

        Strings come back as bytes in arrays of dtype object.
        """
        request = predict_pb2.PredictRequest(model_spec=self._spec(signature))
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(to_proto(name, value))
        seconds = self._timeout or (RESTORE_SECONDS if signature == "restore" else SECONDS)
        response = self._call(self._prediction.Predict, request, seconds)
        return {name: from_proto(name, proto) for name, proto in response.outputs.items()}

    def metadata(self):
        """{signature: {"inputs", "outputs": {name: (dtype, shape)}, "method"}}; -1 in a shape = any size."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        response = self._call(self._prediction.GetModelMetadata, request)
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

    def require(self, signature, otherwise="", cause=None):
        """Raises: FailedPrecondition where the model has no such signature; `otherwise` = what follows from that."""
        known = self.metadata()
        if signature not in known:
            said = f", so {otherwise}" if otherwise else f"; it has {', '.join(sorted({*known} - {'serving_default'}))}"
            told = f"the model has no signature `{signature}`{said}"
            raise FailedPrecondition("FAILED_PRECONDITION", told, self._asked()) from cause

    def status(self):
        """[{"version", "state", "error_code", "error"}], newest first; state: AVAILABLE, LOADING, END ..."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        return self._statuses(request)

    def wait_ready(self, timeout=60.0, absent=None):
        """Until the server answers and a version of the model (or the one asked for) is available.

        Args:   absent: seconds after which a server that is up but neither has nor loads it is believed; a server
                opens its port when the models it found are loaded. None = it is asked to the end of `timeout`.
        Raises: DeadlineExceeded that tells the last answer; NotFound after `absent`; InvalidArgument at once.
        """
        deadline = time.monotonic() + timeout
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        absent_since = None
        while True:
            remaining = deadline - time.monotonic()
            missing = None
            try:
                states = self._statuses(request, min(self._timeout or SECONDS, max(remaining, POLL_SECONDS)))
                names = {state["state"] for state in states}
                if "AVAILABLE" in names:
                    return
                last = "; ".join(
                    f"version {state['version']} is {state['state']} {state['error']}".strip()
                    for state in states
                )
                if not names & {"START", "LOADING"}:
                    missing = NotFound("NOT_FOUND", f"no version can be asked: {last}", self._asked())
            except NotFound as error:
                last, missing = f"{error.code}: {error.message}", error
            except (Unavailable, DeadlineExceeded) as error:
                last = f"{error.code}: {error.message}"
            absent_since = (absent_since or time.monotonic()) if missing else None
            if missing and absent is not None and time.monotonic() - absent_since >= absent:
                raise missing
            if remaining <= POLL_SECONDS:
                raise DeadlineExceeded(
                    "DEADLINE_EXCEEDED", f"not ready after {timeout:g} s, last answer: {last}", self._asked()
                )
            time.sleep(POLL_SECONDS)

    def _ask_images(self, signature, outputs, **images):
        images = {name: _as_list(value) for name, value in images.items()}
        sizes = {name: len(value) for name, value in images.items()}
        count = next(iter(sizes.values()))
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"`{'` and `'.join(sizes)}` hold {' and '.join(map(str, sizes.values()))} images but "
                "must hold as many as each other."
            )
        if not count:
            raise ValueError(f"No image to {signature}; give at least one path or the bytes of one.")
        answers = []
        for start in range(0, count, CHUNK):
            chunk = {name: value[start : start + CHUNK] for name, value in images.items()}
            answers += self._ask_chunk(signature, outputs, chunk, start)
        return {name: self._joined(name, [answer[name] for answer in answers]) for name in outputs}

    def _joined(self, name, parts):
        """The answers of all requests as one array."""
        for part in parts:
            if part.shape[1:] != parts[0].shape[1:]:
                raise ServingError(
                    "DATA_LOSS",
                    f"output `{name}` has shape {list(parts[0].shape)} in one answer but {list(part.shape)} in another",
                    self._asked(),
                )
        return np.concatenate(parts)

    def _require(self, array, name, rank, kinds):
        """Raises: ServingError where an output is not what the signature promises; kinds: NumPy's, one letter each."""
        if array.ndim != rank or array.dtype.kind not in kinds or not array.size:
            wanted = {"b": "bool", "f": "float32", "i": "int32", "O": "string"}[kinds]
            shape = {1: "[n]", 2: "[n, K]", 3: "[n, H, W]"}[rank]
            raise ServingError(
                "DATA_LOSS",
                f"output `{name}` is {'string' if array.dtype == object else array.dtype} {list(array.shape)} but must "
                f"be {wanted} {shape}",
                self._asked(),
            )

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

    def _ask_chunk(self, signature, outputs, images, start):
        """[answer] of one request, or one answer an image where the server refuses all of them together."""
        encoded = {name: [encoded_image(image) for image in value] for name, value in images.items()}
        called = {name: [_called(image, start + row) for row, image in enumerate(value)]
                  for name, value in images.items()}  # fmt: skip
        answers = []
        for answer in self._each(signature, outputs, encoded, called):
            if isinstance(answer, InvalidArgument):
                raise answer
            answers.append(answer)
        return answers

    def _each(self, signature, outputs, encoded, called, others=None, trusted=False):
        """One answer for all images; where they are refused together, an answer or its refusal for one at a time.

        Args:   encoded, called: {input: bytes or names of its images}.  others: {input: array [n]} sent beside them.
                trusted: whether only images can be at fault.
        Raises: InvalidArgument where a fine image is refused in the same words: something else is wrong.
        """
        others = others or {}
        count = len(next(iter(encoded.values())))
        answer = self._answer_or_refusal(signature, outputs, encoded | others)
        if not isinstance(answer, InvalidArgument):
            yield answer
            return
        first = {name: value[:1] for name, value in others.items()}
        fine = None if trusted else self._refusal(signature, dict.fromkeys(encoded, _fine_image()), first)
        if answer.message == fine:
            raise answer
        for row in range(count):
            one = {name: value[row : row + 1] for name, value in encoded.items()}
            beside = {name: value[row : row + 1] for name, value in others.items()}
            if count > 1:
                answer = self._answer_or_refusal(signature, outputs, one | beside)
            if isinstance(answer, InvalidArgument):
                if others and answer.message == fine:  # a refusal that shows the values of all reads otherwise
                    raise answer
                names = {name: value[row] for name, value in called.items()}
                answer = self._blaming(answer, signature, names, one, beside)
            yield answer

    def _answer_or_refusal(self, signature, outputs, inputs):
        try:
            return self._ask_encoded(signature, outputs, inputs)
        except InvalidArgument as error:
            return error

    def _blaming(self, error, signature, names, encoded, others):
        """The error with the image at fault: the only one, or of several inputs the one refused by itself."""
        for name, called in names.items():
            if len(names) == 1 or self._refusal(signature, dict.fromkeys(names, encoded[name][0]), others):
                blaming = InvalidArgument(error.code, error.message, error.asked, called)
                blaming.__cause__ = error.__cause__
                return blaming
        return error

    def _refusal(self, signature, images, others):
        """Why single images are refused, None where they are not."""
        try:
            self.predict(signature, {name: [image] for name, image in images.items()} | others)
        except InvalidArgument as error:
            return error.message
        except ServingError:
            return None
        return None

    def _ask_encoded(self, signature, outputs, encoded):
        answer = self.predict(signature, encoded)
        missing = [name for name in outputs if name not in answer]
        if missing:
            raise ServingError(
                "UNIMPLEMENTED",
                f"signature `{signature}` answers without `{missing[0]}`; it gives {', '.join(sorted(answer))}",
                self._asked(),
            )
        count = len(next(iter(encoded.values())))
        for name in outputs:
            if answer[name].shape[:1] != (count,):
                raise ServingError(
                    "DATA_LOSS",
                    f"output `{name}` has shape {list(answer[name].shape)} for {count} images",
                    self._asked(),
                )
        return answer

    def _spec(self, signature=""):
        spec = model_pb2.ModelSpec(name=self._model, signature_name=signature)
        if self._version is not None:
            spec.version.value = self._version
        elif self._label is not None:
            spec.version_label = self._label
        return spec

    def _statuses(self, request, timeout=None):
        response = self._call(self._models.GetModelStatus, request, timeout)
        return [
            {
                "version": status.version,
                "state": State.Name(status.state),
                "error_code": status.status.error_code,
                "error": status.status.error_message,
            }
            for status in response.model_version_status
        ]

    def _call(self, method, request, timeout=None):
        try:
            return method(request, timeout=timeout or self._timeout or SECONDS)
        except grpc.RpcError as error:
            raise error_of(error.code().name, error.details() or "no reason given", self._asked()) from error

    def _asked(self):
        which = f" version {self._version}" if self._version is not None else ""
        which = f" label {self._label}" if self._label is not None else which
        return f"Server {self._server}, model {self._model}{which}: "


def _fine_image():
    """A small picture that every model of pictures reads."""
    return tf.io.encode_png(np.full((16, 16, 3), 128, np.uint8)).numpy()


def _as_list(images):
    return [images] if isinstance(images, (str, bytes, os.PathLike)) else list(images)


def _called(image, row):
    return f"image {row + 1}" if isinstance(image, bytes) else os.fspath(image)


def _read(images):
    """Iterator of (image, its name, bytes or why there are none)."""
    for row, image in enumerate(images):
        try:
            data = encoded_image(image)
        except (ValueError, OSError) as error:
            data = error
        yield image, _called(image, row), data


def _requests(images, scale):
    """[(image, its name, bytes or why there are none)] of each request to restore images."""
    request, shares = [], 0.0
    for image, called, data in _read(images):
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


# ---- Command ----


def define_flags():
    flags.DEFINE_string("server", "localhost:8500", "host:port or unix:/path of the server.")
    flags.DEFINE_string(
        "model", None, "Name of the model on the server; default: gallery for search, fake_image_detection for detect, "
        "small_sample_diagnosis for classify, image_generation for generate, super_resolution for restore, else "
        "verification."
    )
    flags.DEFINE_integer("version", None, "Version of the model instead of the newest.", lower_bound=0)
    flags.DEFINE_string("label", None, "Version label of the model instead of the newest.")
    flags.DEFINE_float(
        "timeout", None, f"Seconds to wait for each answer; default: {RESTORE_SECONDS:g} for restore, else {SECONDS:g}."
    )
    flags.DEFINE_float(
        "wait",
        30.0,
        "Seconds to wait until the server is up and the model loaded; a model that a running server does not "
        "know is not waited for.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "out",
        None,
        "embed, ask: .npz that gets `embeddings` [n, D] and `images` (paths), with --pattern `identities` as well; "
        "search: .png that gets the ranked sheet; detect: .png that gets the images with what speaks for a fake; "
        "generate: .png that gets a sheet of the images, or a folder (a name without ending) that gets <seed>.png; "
        "restore: .png that gets the one image, or a folder that gets <name>.png of each.",
    )
    flags.DEFINE_string("explain", None, "classify: .png that gets the images with what speaks for their label.")
    flags.DEFINE_string(
        "images", None, "search --out: folder the gallery was built from, whose images the sheet shows."
    )
    flags.DEFINE_string(
        "pattern",
        "",
        "embed, ask, search --out: regular expression with the groups of tfrecords.write, but searched in each path "
        "as it is typed; its group identity, else label, says whose image it is, and the sheet which answers are "
        "right; the .npz gets camera and track as well.",
    )
    flags.DEFINE_integer("k", None, "search: entries to show of those the gallery returns.", lower_bound=1)
    flags.DEFINE_integer("count", 16, "generate: images to make.", lower_bound=1, upper_bound=10_000)
    flags.DEFINE_integer(
        "seed", 0, "generate: of the first image, the next has one more.", lower_bound=0, upper_bound=MOST_SEED - 10_000
    )
    flags.DEFINE_integer(
        "class_index", None, "generate: class to make images of, needed by a model that knows classes.", lower_bound=0
    )
    flags.DEFINE_integer(
        "scale",
        None,
        "restore: how many times as high and wide an image becomes, if not the model's own; the server says which it "
        "knows.",
        lower_bound=1,
    )
    flags.DEFINE_bool("json", False, "One JSON line an image instead of a table.")


def start():
    from serving import client_command  # what it draws and prints with is of no use to the library

    command.run(client_command.main, define_flags, words=True, errors=(ServingError,))


if __name__ == "__main__":
    start()
