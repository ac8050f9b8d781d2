"""Client of a model server that speaks TF Serving's gRPC: library and command.

    python -m serving.client embed  IMAGE... --server=localhost:8500 --model=verification
        [--out=vectors.npz [--pattern=REGEX]]
    python -m serving.client ask    IMAGE... --model=vehicle_reid [--out=queries.npz [--pattern=REGEX]]
    python -m serving.client verify IMAGE IMAGE --model=verification
    python -m serving.client search IMAGE... --model=gallery [--k=5]
        [--out=sheet.png [--images=PHOTOS] [--pattern=REGEX]]

It prints a table, or with --json one JSON line an image. A server that is still starting and a model that is
being loaded are waited for, up to --wait=30 seconds; --wait=0 asks at once. In the answer of verify `decision`
decides: same where the score reaches the model's threshold. `probability` is that of "same" at equal odds, so
it can be above 0.5 where the decision is different. Some models make other vectors of images that ask than of those
that are searched: `ask` gives the former, `embed` the latter, and of verify the first image asks. The sheet of search
shows each query with its answers in order, the enrolled images as well where PHOTOS is the folder the gallery was built
from; a bar is the share of the sheet's largest score.

REGEX is searched in the path of an image as it is typed, which may begin above PHOTOS. It says whose image it is, by
its group identity, else label. On a sheet right answers are framed green then, wrong ones red; the file of embed or ask
gets `identities` and, by groups camera and track, `cameras` and `tracks`, as `python -m keras_apps.evaluate
--query=queries.npz --gallery=vectors.npz` reads them.
"""

import json
import os
import sys
import time

import grpc
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from saved_models.signatures import encoded_image
from serving.files import require_place, write_whole
from tfrecords import command

CHUNK = 32  # images a request: most of the speed of a large batch, little memory
POLL_SECONDS = 0.2  # between two questions of wait_ready
ABSENT_SECONDS = 1.5  # a running server sees a version written a moment ago at its next look, after 1 s
QUIET_SECONDS = 2.0  # work shorter than this shows no progress
SHOWN = 4  # numbers of an embedding in the table: with a file name they fit into 80 columns

State = get_model_status_pb2.ModelVersionStatus.State


class ServingError(Exception):
    """A request that was not answered: `code` is the gRPC code's name, `message` what the server said.

    `image` is the path, or "image <number>", of the image at fault where it is one; None where it is not.
    """

    remedy = ""

    def __init__(self, code, message, asked="", image=None):
        self.code, self.message, self.asked, self.image = code, message, asked, image
        said = " ".join(message.split()).rstrip(".")
        at_fault = f"{image}: " if image else ""
        super().__init__(f"{at_fault}{asked}{code}: {said}{'; ' + self.remedy if self.remedy else ''}.")


class NotFound(ServingError):
    """The server has no such model or version."""

    remedy = (
        "check the name (--model here, --model_name or the model config at the server) and the version, "
        "or wait until it is exported and loaded"
    )


class InvalidArgument(ServingError):
    """The server refuses the inputs."""


class FailedPrecondition(ServingError):
    """The model cannot answer this, for example because it has no such signature."""


class DeadlineExceeded(ServingError):
    """No answer within the time limit."""

    remedy = "allow more time or send fewer images at once"


class Unavailable(ServingError):
    """No server answers at the address."""

    remedy = "start it with `python -m serving.server` or check the address"


_ERRORS = {
    error_class.__name__.upper(): error_class
    for error_class in (NotFound, InvalidArgument, FailedPrecondition, DeadlineExceeded, Unavailable)
}


class Client:
    """Asks one model on one server.

    An image is a path or the bytes of an encoded file; `images` is one or a sequence, sent 32 a request.
    A request whose images are refused is asked again with one image at a time, to name the one at fault, or
    to have the answers where all of them were only too much at once. Nothing else is retried.

    Args:    server: "host:port" or "unix:/path".  model: name on the server.  timeout: seconds a request.
             version, label: of the model; the newest available one by default.
    Raises:  ValueError for bad arguments or image files; OSError for files that cannot be read; ServingError
             and its subclasses for what the server or the network answers.
    """

    def __init__(self, server="localhost:8500", model="verification", timeout=10.0, version=None, label=None):
        if not timeout > 0:
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
            if "ask" in self.metadata():
                raise
            raise FailedPrecondition(
                error.code, "the model has no signature `ask`, so images ask by its `embed`; use that", error.asked
            ) from error

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

        Identities and entries are str; scores descend; unknown = the best is below the gallery's threshold.
        """
        names = ("identities", "scores", "entries", "unknown")
        answer = self._ask_images("search", names, image_bytes=images)
        return {name: _as_text(value) if value.dtype == object else value for name, value in answer.items()}

    def predict(self, signature, inputs):
        """Any signature: {input: array, or nested list of numbers, str or bytes} -> {output: array}.

        Strings come back as bytes in arrays of dtype object.
        """
        request = predict_pb2.PredictRequest(model_spec=self._spec(signature))
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(_tensor_proto(name, value))
        response = self._call(self._prediction.Predict, request)
        return {name: _array(name, proto) for name, proto in response.outputs.items()}

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
                "inputs": _describe(signature.inputs),
                "outputs": _describe(signature.outputs),
                "method": signature.method_name,
            }
            for key, signature in sorted(signatures.signature_def.items())
            if not key.startswith("__saved_model_")  # what loading runs, not what anybody calls
        }

    def status(self):
        """[{"version", "state", "error_code", "error"}], newest first; state: AVAILABLE, LOADING, END ..."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec())
        return self._statuses(request, self._timeout)

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
                states = self._statuses(request, min(self._timeout, max(remaining, POLL_SECONDS)))
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
        return {name: np.concatenate([answer[name] for answer in answers]) for name in outputs}

    def _ask_chunk(self, signature, outputs, images, start):
        """[answer] of one request, or one answer an image where the server refuses all of them together."""
        encoded = {name: [encoded_image(image) for image in value] for name, value in images.items()}
        count = len(next(iter(encoded.values())))
        try:
            return [self._ask_encoded(signature, outputs, encoded)]
        except InvalidArgument as error:
            # In the same words for an image that is fine: something else is wrong with the request.
            if self._refusal(signature, dict.fromkeys(encoded, _fine_image())) == error.message:
                raise
            if count == 1:
                raise self._blaming(error, signature, images, encoded, start) from error.__cause__
        answers = []
        for row in range(count):
            one = {name: value[row : row + 1] for name, value in encoded.items()}
            try:
                answers.append(self._ask_encoded(signature, outputs, one))
            except InvalidArgument as error:
                one_image = {name: value[row : row + 1] for name, value in images.items()}
                raise self._blaming(error, signature, one_image, one, start + row) from error.__cause__
        return answers

    def _blaming(self, error, signature, images, encoded, row):
        """The error with the image at fault: the only one, or of several inputs the one refused by itself."""
        for name, (image,) in images.items():
            if len(images) == 1 or self._refusal(signature, dict.fromkeys(images, encoded[name][0])):
                where = f"image {row + 1}" if isinstance(image, bytes) else os.fspath(image)
                return InvalidArgument(error.code, error.message, error.asked, where)
        return error

    def _refusal(self, signature, inputs):
        """Why single images are refused, None where they are not."""
        try:
            self.predict(signature, {name: [image] for name, image in inputs.items()})
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

    def _statuses(self, request, timeout):
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
            return method(request, timeout=timeout or self._timeout)
        except grpc.RpcError as error:
            code = error.code().name
            error_class = _ERRORS.get(code.replace("_", ""), ServingError)
            raise error_class(code, error.details() or "no reason given", self._asked()) from error

    def _asked(self):
        which = f" version {self._version}" if self._version is not None else ""
        which = f" label {self._label}" if self._label is not None else which
        return f"Server {self._server}, model {self._model}{which}: "


def _fine_image():
    """A small picture that every model of pictures reads."""
    return tf.io.encode_png(np.full((16, 16, 3), 128, np.uint8)).numpy()


def _as_list(images):
    return [images] if isinstance(images, (str, bytes, os.PathLike)) else list(images)


def _tensor_proto(name, value):
    """Numbers as tensor_content (float_val costs the server much more), strings byte for byte."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "OSU":
            return _number_proto(name, value)
        value = value.tolist()
    # By hand, not through NumPy: its strings lose trailing zero bytes and each takes the room of the longest.
    shape, items = [], [value]
    while items and isinstance(items[0], (list, tuple)):
        shape.append(len(items[0]))
        if not all(isinstance(item, (list, tuple)) and len(item) == shape[-1] for item in items):
            return _number_proto(name, value)
        items = [part for item in items for part in item]
    if not items or not all(isinstance(item, (str, bytes)) for item in items):
        return _number_proto(name, value)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    proto.string_val.extend(item.encode() if isinstance(item, str) else item for item in items)
    return proto


def _number_proto(name, value):
    try:
        return tf.make_tensor_proto(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` cannot be sent: {' '.join(str(error).split())[:200]}; give an array of numbers "
            "or strings of one shape."
        ) from error


def _array(name, proto):
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise ServingError("DATA_LOSS", f"output `{name}` cannot be read: {error}") from error


def _as_text(array):
    texts = np.empty(array.shape, dtype=object)
    texts.ravel()[:] = [item.decode("utf-8", "replace") for item in array.ravel()]
    return texts


def _describe(tensors):
    return {
        name: (
            tf.as_dtype(info.dtype).name if info.dtype else "composite",
            tuple(dim.size for dim in info.tensor_shape.dim) if not info.tensor_shape.unknown_rank else None,
        )
        for name, info in sorted(tensors.items())
    }


# ---- Command ----


def define_flags():
    flags.DEFINE_string("server", "localhost:8500", "host:port or unix:/path of the server.")
    flags.DEFINE_string(
        "model", None, "Name of the model on the server; default: gallery for search, else verification."
    )
    flags.DEFINE_integer("version", None, "Version of the model instead of the newest.", lower_bound=0)
    flags.DEFINE_string("label", None, "Version label of the model instead of the newest.")
    flags.DEFINE_float("timeout", 10.0, "Seconds to wait for each answer.")
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
        "search: .png that gets the ranked sheet.",
    )
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
    flags.DEFINE_bool("json", False, "One JSON line an image instead of a table.")


def _embed(client, images, values, facts):
    return _vectors(client.embed, images, values, facts)


def _ask(client, images, values, facts):
    return _vectors(client.ask, images, values, facts)


def _vectors(embed, images, values, facts):
    vectors = np.concatenate([embed(chunk) for chunk in _chunks(images, "embedding")])
    if values.out:
        arrays = {"embeddings": vectors, "images": np.array(images), **(facts or {})}
        write_whole("out", values.out, lambda stream: np.savez(stream, **arrays))
        print(
            f"{len(images)} embeddings of {vectors.shape[1]} numbers written to {values.out}", file=sys.stderr
        )
    return [{"image": image, "embedding": vector.tolist()} for image, vector in zip(images, vectors)]


def _verify(client, images, values, _):
    if len(images) != 2:
        raise ValueError(f"`verify` got {len(images)} images but compares exactly 2.")
    answer = client.verify(images[0], images[1])
    return [
        {
            "first": images[0],
            "second": images[1],
            **{name: _plain(value[0]) for name, value in answer.items()},
        }
    ]


def _groups(images, pattern):
    """What the pattern finds in the paths: [{group: text}], {} where it does not match; and whose images they are."""
    from saved_models.gallery import identity_of, identity_pattern

    expression = identity_pattern(pattern)
    found = [match.groupdict() if (match := expression.search(image)) else {} for image in images]
    return found, [identity_of(groups) or None for groups in found]


def _facts(images, pattern):
    """The arrays of the paths: identities and, where the pattern has such groups, cameras and tracks."""
    found, identities = _groups(images, pattern)
    columns = {"identities": ("identity", identities)}
    for group in ("camera", "track"):
        if any(group in groups for groups in found):
            columns[f"{group}s"] = group, [groups.get(group) for groups in found]
    for group, values in columns.values():
        for image, value in zip(images, values):
            if not value:
                raise ValueError(
                    f"`--pattern` is {pattern} but finds no {group} in `{image}`, the path as it is typed; correct the "
                    "pattern or leave the image out."
                )
    return {name: np.array(values) for name, (_, values) in columns.items()}


def _truths(images, pattern):
    """Whose images the queries are by their paths; None where the pattern does not say."""
    truths = _groups(images, pattern)[1]
    if not any(truths):
        print(
            f"`--pattern` finds no identity in any of the {len(images)} paths as they are typed, such as {images[0]}, "
            "so no answer is framed",
            file=sys.stderr,
        )
    return truths


def _search(client, images, values, truths):
    found = {"identities": [], "scores": [], "entries": [], "unknown": []}
    for chunk in _chunks(images, "searching"):
        for name, value in client.search(chunk).items():
            found[name] += [row[: values.k] for row in value] if value.ndim > 1 else list(value)
    if values.out:
        from serving import sheet

        picture, said = sheet.draw(images, found, values.images, truths)
        write_whole("out", values.out, lambda stream: picture.save(stream, "PNG"))
        hint = "" if values.images else "; --images=DIR, what the gallery was built from, shows its images"
        print(f"sheet written to {values.out}: {said}{hint}", file=sys.stderr)
    return [
        {
            "image": image,
            "unknown": bool(unknown),
            "matches": [
                {"identity": identity, "score": float(score), "entry": entry}
                for identity, score, entry in zip(*ranked)
            ],
        }
        for image, unknown, *ranked in zip(
            images, found["unknown"], found["identities"], found["scores"], found["entries"]
        )
    ]


_COMMANDS = {"embed": _embed, "ask": _ask, "verify": _verify, "search": _search}
_MODELS = {"search": "gallery"}  # what is asked without --model; "verification" elsewhere
_OWNERS = {
    "out": ("embed", "ask", "search"),
    "k": ("search",),
    "images": ("search",),
    "pattern": ("embed", "ask", "search"),
}
_READS = {"embed": _facts, "ask": _facts, "search": _truths}  # what --pattern reads in the paths
_ENDINGS = {"embed": ".npz", "ask": ".npz", "search": ".png"}


def _wait(client, values, model):
    """Until the model can answer, at most --wait seconds; what is wrong then, the question will say.

    Raises: NotFound where the server is up and has no such model.
    """
    began = time.monotonic()
    try:
        client.wait_ready(min(values.wait, QUIET_SECONDS), ABSENT_SECONDS)
        return
    except DeadlineExceeded as error:
        last = " ".join(error.message.partition("last answer: ")[2].split())
    except NotFound:
        raise
    except ServingError:  # such as a server that tells no status
        return
    if values.wait > QUIET_SECONDS:
        print(
            f"waiting for model {model} on {values.server}, up to {values.wait:g} s ({last})",
            file=sys.stderr,
            flush=True,
        )
        try:
            client.wait_ready(values.wait - (time.monotonic() - began), ABSENT_SECONDS)
        except NotFound:
            raise
        except ServingError:
            pass


def _plain(value):
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _chunks(images, doing):
    """The images of each request; a bar on a terminal, one closing line elsewhere if it took long."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    started = time.monotonic()
    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or len(images) <= CHUNK,
    ) as progress:
        task = progress.add_task(doing, total=len(images))
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            yield chunk
            progress.advance(task, len(chunk))
    seconds = time.monotonic() - started
    if seconds > QUIET_SECONDS:
        print(f"{doing}: {len(images)} images in {seconds:.1f} s", file=sys.stderr)


def _print_table(signature, rows):
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    def columns(*names):
        # A narrow terminal folds names, of which the end matters most, and never breaks a number.
        return [
            Column(name, overflow="fold") if name in _NAMES else Column(name, no_wrap=True) for name in names
        ]

    console = Console(width=None if sys.stdout.isatty() else 160)
    if signature in ("embed", "ask"):
        size = len(rows[0]["embedding"])
        console.print(
            f"{len(rows)} embedding{'s' if len(rows) > 1 else ''} of {size} numbers [{len(rows)}, {size}]; "
            "all of them with --out=FILE.npz or --json.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        table = Table(*columns("image", "length", "first numbers"))
        for row in rows:
            vector = row["embedding"]
            table.add_row(
                Text(row["image"]),
                f"{np.linalg.norm(vector):.4f}",
                " ".join(f"{number: .3f}" for number in vector[:SHOWN]) + (" ..." if size > SHOWN else ""),
            )
    elif signature == "verify":
        table = Table(*columns("first", "second", "score", "threshold", "decision", "probability"))
        for row in rows:
            table.add_row(
                Text(row["first"]),
                Text(row["second"]),
                f"{row['score']:.4f}",
                f"{row['threshold']:.4f}",
                _decision_text(row["decision"]),
                f"{row['probability']:.4f}",
            )
    else:
        table = Table(*columns("image", "rank", "identity", "score", "entry", "known"))
        for row in rows:
            for rank, match in enumerate(row["matches"], 1):
                first = rank == 1
                table.add_row(
                    Text(row["image"] if first else ""),
                    str(rank),
                    Text(match["identity"]),
                    f"{match['score']:.4f}",
                    Text(match["entry"]),
                    ("unknown" if row["unknown"] else "known") if first else "",
                )
    console.print(table)
    if signature == "verify":
        console.print(
            "`decision` decides: same where score >= threshold. `probability` is that of same at equal odds, were "
            "there as many same as different pairs; a strict threshold may decide against it.",
            markup=False,
            highlight=False,
        )


_NAMES = {"image", "first", "second", "identity", "entry"}


def _decision_text(decision):
    return ("same" if decision else "different") if isinstance(decision, (bool, int)) else str(decision)


def main(argv):
    values = flags.FLAGS
    if len(argv) < 2 or argv[1] not in _COMMANDS:
        raise ValueError(
            f"`{argv[1] if len(argv) > 1 else ''}` is not a command; use one of "
            f"{', '.join(_COMMANDS)}, followed by images."
        )
    signature, images = argv[1], argv[2:]
    if not images:
        raise ValueError(f"No image to {signature}; give at least one path.")
    for flag, owners in _OWNERS.items():
        if values[flag].present and signature not in owners:
            raise ValueError(f"`--{flag}` belongs to {' and '.join(owners)}; leave it away for {signature}.")
    if values.out:
        if not values.out.endswith(_ENDINGS[signature]):
            raise ValueError(f"`--out` is {values.out} but must end in {_ENDINGS[signature]}.")
        require_place("out", values.out)
    if values.images and not values.out:
        raise ValueError(f"`--images` is {values.images} but only a sheet shows images; give --out=FILE.png as well.")
    if values.pattern and not values.out:
        use = "a sheet frames answers" if signature == "search" else "a file holds identities"
        raise ValueError(
            f"`--pattern` is {values.pattern} but only {use}; give --out=FILE{_ENDINGS[signature]} as well."
        )
    if values.images and not os.path.isdir(values.images):
        raise FileNotFoundError(
            f"`--images` is {values.images} but must be the folder that the gallery was built from; unpack a zip first."
        )
    for image in images:  # before the first of many requests, not after the last
        if not os.path.isfile(image):
            raise FileNotFoundError(f"Image `{image}` is not a file; check the path.")
    read = _READS[signature](images, values.pattern) if values.pattern else None
    model = values.model or _MODELS.get(signature, "verification")
    with Client(values.server, model, values.timeout, values.version, values.label) as client:
        if values.wait:
            _wait(client, values, model)
        rows = _COMMANDS[signature](client, images, values, read)
    if values.json:
        for row in rows:
            print(json.dumps(row))
    elif not values.out:
        _print_table(signature, rows)


def start():
    command.run(main, define_flags, words=True, errors=(ServingError,))


if __name__ == "__main__":
    start()
