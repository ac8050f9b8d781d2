"""Client of a model server that speaks TF Serving's gRPC: library and command.

    python -m serving.client embed  IMAGE... --server=localhost:8500 --model=verification
        [--out=vectors.npz [--pattern=REGEX]]
    python -m serving.client ask    IMAGE... --model=vehicle_reid [--out=queries.npz [--pattern=REGEX]]
    python -m serving.client verify IMAGE IMAGE --model=verification
    python -m serving.client search IMAGE... --model=gallery [--k=5]
        [--out=sheet.png [--images=PHOTOS] [--pattern=REGEX]]
    python -m serving.client detect IMAGE... --model=fake_image_detection [--out=overlay.png]
    python -m serving.client classify IMAGE_OR_FOLDER... [--model=small_sample_diagnosis] [--explain=out.png]
    python -m serving.client embed|ask|search|detect|classify IMAGE_OR_FOLDER... --json [--out=answers.jsonl]
        [--in_flight=4] [--batch=32]
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

With --json a folder may be of any size: its images are sent --batch a request, --in_flight requests at a time, and each
answer is one line, in the order of the paths, to stdout or to answers.jsonl. That file appears when it is whole. The
same command goes on with what an interrupted call leaves beside it, answers.jsonl.<digest>.part, as long as the same
version of the model answers. Images that cannot be answered are no lines; they are counted and told at the end.

--tls checks the server's certificate against the authorities that gRPC knows, --tls_ca against those of a file;
--tls_cert and --tls_key say who asks. Where nobody answers or a queue is full a question is repeated up to --retries
times, never longer than --timeout.
"""

import time

import grpc
from absl import flags

from serving import channel
from serving.channel import RETRIES, Connection
from serving.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    ServingError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from serving.questions import (
    CHUNK,
    MAPS,
    MOST_SEED,
    OUTPUTS,
    RELOAD_SECONDS,
    RESTORE_SECONDS,
    SECONDS,
    Questions,
    Waiting,
    as_list,
    raised,
)
from tfrecords import command

POLL_SECONDS = 0.2  # between two questions of wait_ready
ABSENT_SECONDS = 1.5  # a running server sees a version written a moment ago at its next look, after 1 s

__all__ = [
    "Aborted", "AlreadyExists", "CHUNK", "Cancelled", "Client", "Connection", "DataLoss", "DeadlineExceeded",
    "FailedPrecondition", "Internal", "InvalidArgument", "NotFound", "OutOfRange", "PermissionDenied",
    "ResourceExhausted", "ServingError", "Unauthenticated", "Unavailable", "Unimplemented", "Unknown",
]  # fmt: skip


class Client(Questions):
    """Asks one model on one server.

    An image is a path or the bytes of an encoded file; `images` is one or a sequence, sent 32 a request, those to
    restore at most 16, a large one by itself.
    A request whose images are refused is asked again with one image at a time, to name the one at fault, or
    to have the answers where all of them were only too much at once. Where nobody answers (UNAVAILABLE) or a queue is
    full (RESOURCE_EXHAUSTED), a question is repeated after growing pauses until `timeout` is over; it only reads, so
    that does no harm. Threads may share a client, and clients a Connection.

    Args:    server: "host:port" or "unix:/path"; or a Connection, which stays open when the client is closed and has
             the settings from `tls` on.
             model: name on the server.
             timeout: seconds a request, repetitions included; None = 10, of restore 600.
             version, label: of the model; the newest available one by default.
             tls, tls_cert, tls_key, compression, retries: see `serving.channel.Endpoint`.
    Raises:  ValueError for bad arguments or image files; OSError for files that cannot be read; ServingError
             and its subclasses for what the server or the network answers.
    """

    def __init__(
        self,
        server="localhost:8500",
        model="verification",
        timeout=None,
        version=None,
        label=None,
        tls=None,
        tls_cert=None,
        tls_key=None,
        compression=None,
        retries=RETRIES,
    ):
        shared = isinstance(server, Connection)
        super().__init__(server.server if shared else server, model, timeout, version, label)
        self._own = None if shared else Connection(server, tls, tls_cert, tls_key, compression, retries)
        self._connection = server if shared else self._own

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._own:
            self._own.close()

    def embed(self, images):
        """Embeddings float32 [n, D]; where the model has `ask`, those of images that are searched."""
        return self._ask_images("embed", OUTPUTS["embed"], image_bytes=images)["embedding"]

    def ask(self, images):
        """Embeddings float32 [n, D] of images that ask: their products with those of `embed` are the scores.

        Raises: FailedPrecondition for a model that has no `ask`, where an image asks by `embed` as well.
        """
        try:
            return self._ask_images("ask", OUTPUTS["ask"], image_bytes=images)["embedding"]
        except FailedPrecondition as error:
            self.require("ask", "images ask by its `embed`; use that", error)
            raise

    def verify(self, first, second):
        """Do first[i] and second[i] show the same? {"score", "probability", "decision", "threshold"} [n].

        decision = score >= threshold, and it decides: the model's threshold is fitted to accept few different
        pairs (1 in 100 for `verification`). probability = that of "same" at equal odds, were there as many same
        as different pairs; a strict threshold lies higher, so 0.9 may well go with the decision False.
        """
        return self._ask_images("verify", OUTPUTS["verify"], image_bytes_1=first, image_bytes_2=second)

    def search(self, images):
        """The k most similar entries of a gallery: {"identities", "scores", "entries" [n, k], "unknown" [n]}.

        Identities and entries are str; scores descend; unknown = the best is below the gallery's threshold. What the
        identities, such as diagnoses, vote for: `serving.vote.votes(answer)`.
        """
        return self._read("search", self._ask_images("search", OUTPUTS["search"], image_bytes=images))

    def detect(self, images):
        """Is images[i] fake? {"score", "probability", "decision", "threshold"} [n].

        decision = score >= threshold, True for a fake, and it decides; probability = that of "fake".
        """
        return self._read("detect", self._ask_images("detect", OUTPUTS["detect"], image_bytes=images))

    def fake_map(self, images):
        """What speaks for a fake, and where: float32 [n, H, W] in [0, 1], over the whole image as the model sees it.

        Raises: ServingError with the image whose map holds anything else.
        """
        return self._map("fake_map", images)

    def classify(self, images):
        """What does images[i] show? {"label" str, "decision" int32, "abstain" bool [n], "probabilities" float32 and
        "classes" str [n, K]}, of some models "uncertainty" float32 [n] in [0, 1] as well.

        classes names the columns of probabilities, decision is the column of the label; abstain = the model is too
        unsure: ask a person.

        Raises: ServingError with the image whose answer is none.
        """
        return self._joined_labels(self._sparing(*self._classified(images)))

    def classify_each(self, images):
        """As classify, but one image cannot spoil the others, and only the answers of a request are kept.

        Returns: iterator of (image, {name: its value, or the values of its row}, or the error that speaks against this
                 image alone: ServingError, or ValueError or OSError for a file that cannot be sent). An image of which
                 only a path is given is read when its turn comes.
        Raises:  ValueError at once; ServingError, by the iterator, for what is wrong with all of them.
        """
        return self.each("classify", images)

    def each(self, signature, images):
        """As classify_each, of any signature that answers single images: embed, ask, search, detect or classify.

        Returns: iterator of (image, {name: the image's own value}, or the error that speaks against this image alone).
        """
        return self._sparing(*self._every(signature, images))

    def asking(self, signature):
        """Asks one request as `each` does: ([(image, its name, bytes or why there are none)]) -> [(image, answer)].

        Threads may call it. `serving.bulk.answers` keeps several requests going.
        """
        return self._together(self._asking(signature))

    def explain(self, images):
        """What speaks for the label that `classify` gives, and where: float32 [n, H, W] in [0, 1], as `fake_map`.

        Raises: FailedPrecondition for a model without `explain`; ServingError with the image whose map holds anything
                else.
        """
        try:
            return self._map("explain", images)
        except FailedPrecondition as error:
            self.require("explain", cause=error)
            raise

    def _map(self, signature, images):
        images = as_list(images)
        return self._maps(images, self._ask_images(signature, MAPS, image_bytes=images)["map"])

    def generate(self, count, seed=0, label=None):
        """[PNG bytes]: the images of the seeds seed, seed + 1, ..., asked for 32 a request.

        Args:   label: index of the class, of a model that makes images of a class; None of one that does not.
        Raises: ValueError for a label that is missing or not taken; ServingError for an answer that is no PNG.
        """
        conversations = self._generated(count, seed, label)
        signature = self.metadata().get("generate")
        if signature:  # where there is none, the server says so
            self._require_label(label, "label" in signature["inputs"])
        return [image for conversation in conversations for image in self._talk(conversation)]

    def restore(self, images, scale=None):
        """[PNG bytes]: each image made `scale` times as high and wide, in their order; None = the model's own scale.

        An EXIF orientation stays what it is: pixels are as they were stored, and the PNG says how to turn them.

        Raises: ValueError for a scale that is no whole number or below 1; which ones the model knows, the server says.
                ServingError with the image that is refused, or whose answer is no PNG or one of another size.
        """
        return [raised(answer) for _, answer in self.restore_each(images, scale)]

    def restore_each(self, images, scale=None):
        """As restore, but one image cannot spoil the others, and only the answers of a request are kept.

        Returns: iterator of (image, its PNG bytes, or the error that speaks against this image alone: ServingError,
                 or ValueError or OSError for a file that cannot be sent). An image of which only a path is given is
                 read when its turn comes.
        Raises:  ValueError at once; ServingError, by the iterator, for what is wrong with all of them.
        """
        return self._sparing(*self._restored(images, scale))

    def _sparing(self, requests, ask):
        """Iterator of (image, its answer or the error that speaks against it alone), one request after another.

        Args: requests, ask: see `_spared`.
        """
        together = self._together(ask)
        for request in requests:
            yield from together(request)

    def _together(self, ask):
        """(request) -> what `_spared` returns for it, which knows whether a request before it was answered."""
        answered = []

        def together(request):
            pairs = self._talk(self._spared(ask, request, bool(answered)))
            if not answered and any(not isinstance(answer, Exception) for _, answer in pairs):
                answered.append(True)
            return pairs

        return together

    def _talk(self, conversation):
        """What a conversation returns, each question asked by `predict`."""
        try:
            question = next(conversation)
            while True:
                try:
                    answer = self.predict(*question)
                except ServingError as error:
                    question = conversation.throw(error)
                else:
                    question = conversation.send(answer)
        except StopIteration as end:
            return end.value

    def predict(self, signature, inputs):
        """Any signature: {input: array, or nested list of numbers, str or bytes} -> {output: array}.

        Strings come back as bytes in arrays of dtype object.
        """
        request = self._predict_request(signature, inputs)
        return self._outputs(self._call(self._connection.prediction.Predict, request, self._seconds(signature)))

    def metadata(self):
        """{signature: {"inputs", "outputs": {name: (dtype, shape)}, "method"}}; -1 in a shape = any size."""
        return self._signatures(self._call(self._connection.prediction.GetModelMetadata, self._metadata_request()))

    def served_version(self):
        """Number of the version that answers now: the newest one, that of the label, or the one asked for."""
        response = self._call(self._connection.prediction.GetModelMetadata, self._metadata_request())
        return response.model_spec.version.value

    def require(self, signature, otherwise="", cause=None):
        """Raises: FailedPrecondition where the model has no such signature; `otherwise` = what follows from that."""
        self._require_known(self.metadata(), signature, otherwise, cause)

    def status(self):
        """[{"version", "state", "error_code", "error"}], newest first; state: AVAILABLE, LOADING, END ..."""
        return self._statuses(self._status_request())

    def wait_ready(self, timeout=60.0, absent=None):
        """Until the server answers and a version of the model (or the one asked for) is available.

        Args:   absent: seconds after which a server that is up but neither has nor loads it is believed; a server
                opens its port when the models it found are loaded. None = it is asked to the end of `timeout`.
        Raises: DeadlineExceeded that tells the last answer; NotFound after `absent`; InvalidArgument, and Unavailable
                of a server that is not trusted, at once.
        """
        waiting = Waiting(timeout, absent, POLL_SECONDS, self._asked())
        request = self._status_request()
        while True:
            try:
                states = self._statuses(request, waiting.seconds(self._timeout or SECONDS))
            except (NotFound, Unavailable, DeadlineExceeded) as error:
                states = error
            if waiting.over(states):
                return
            time.sleep(POLL_SECONDS)

    def reload(self, models, timeout=RELOAD_SECONDS):
        """The server serves exactly these models from now on; returns when they are loaded. Asked once, never again.

        Args:   models: text or message of a tensorflow.serving.ModelServerConfig, as --model_config_file holds it; what
                it does not list is no longer served.
                timeout: seconds to wait for them to be loaded.
        Raises: ValueError for text that is none; ServingError with the server's reason, after which it serves what it
                served before.
        """
        request, method = self._reload_request(models), self._connection.models.HandleReloadConfigRequest
        try:
            response = self._connection.call(method, request, timeout, retried=False)
        except grpc.RpcError as error:
            raise self._reload_failure(error) from error
        self._require_reloaded(response)

    def _ask_images(self, signature, outputs, **images):
        answers = []
        for conversation in self._conversations(signature, outputs, images):
            answers += self._talk(conversation)
        return self._put_together(outputs, answers)

    def _statuses(self, request, timeout=None):
        """The states a look shows; with a timeout it is one look of many, which is not repeated by itself."""
        method = self._connection.models.GetModelStatus
        return self._states(self._call(method, request) if timeout is None else self._once(method, request, timeout))

    def _call(self, method, request, timeout=None):
        """The answer of a question, which may be asked again."""
        return self._once(method, request, timeout or self._timeout or SECONDS, retried=True)

    def _once(self, method, request, seconds, retried=False):
        try:
            return self._connection.call(method, request, seconds, retried)
        except grpc.RpcError as error:
            raise self._failure(error) from error


# ---- Command ----


def define_flags():
    flags.DEFINE_string("server", "localhost:8500", "host:port or unix:/path of the server.")
    channel.define_flags()
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
        "embed, ask, search, detect, classify: .jsonl that gets one line an image; "
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
    flags.DEFINE_integer("in_flight", 4, "JSON lines: requests at a time.", lower_bound=1, upper_bound=256)
    flags.DEFINE_integer("batch", CHUNK, "JSON lines: images a request, at most.", lower_bound=1, upper_bound=1024)


def start():
    from serving import client_command  # what it draws and prints with is of no use to the library

    command.run(client_command.main, define_flags, words=True, errors=(ServingError,))


if __name__ == "__main__":
    start()
