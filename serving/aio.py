"""Asynchronous client of a model server that speaks TF Serving's gRPC.

    async with AsyncClient("localhost:8500", "verification") as client:
        vectors, answer = await asyncio.gather(client.embed(images), client.verify(first, second))

Its methods are those of `serving.client.Client`, which says what each takes and gives; all but `asking` are here. Many
calls may be made at once.
"""

import asyncio
import collections

import grpc
import grpc.aio

from serving.channel import RETRIES, Attempts, Endpoint, stubs
from serving.errors import DeadlineExceeded, FailedPrecondition, NotFound, ServingError, Unavailable
from serving.questions import MAPS, OUTPUTS, RELOAD_SECONDS, SECONDS, Questions, Waiting, as_list, raised

IN_FLIGHT = 8  # requests: enough to fill the batches of a server, few enough to keep little in memory
POLL_SECONDS = 0.2  # between two looks of wait_ready


class AsyncConnection(Endpoint):
    """One channel, which any number of asynchronous clients of one event loop share.   Args: as Endpoint."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._channel = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        if self._channel:
            await self._channel.close()

    def stubs(self):
        """(PredictionServiceStub, ModelServiceStub)."""
        if self._channel is None:  # not before, as it belongs to the event loop that runs now
            self._channel = self.open(grpc.aio)
            self._stubs = stubs(self._channel)
        return self._stubs

    async def call(self, method, request, seconds, retried=True):
        """See `serving.channel.Connection.call`."""
        attempts = Attempts(seconds, self.retries if retried else 0)
        while True:
            try:
                return await method(request, timeout=attempts.left())
            except grpc.RpcError as error:
                pause = attempts.pause(error)
                if pause is None:
                    raise
            await asyncio.sleep(pause)


class AsyncClient(Questions):
    """As `serving.client.Client`, but its methods are awaited and the requests of a call are made at the same time.

    Those that give an iterator there give an asynchronous one here, whose answers are in the order of the images.

    Args:    server: address, or an AsyncConnection, which stays open when the client is closed and has the settings
             from `tls` on.
             in_flight: requests at a time, of all calls together; images of later ones are not read yet.
             others: as of Client.
    Raises:  as Client.
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
        in_flight=IN_FLIGHT,
    ):
        if in_flight < 1:
            raise ValueError(f"`in_flight` is {in_flight} but must be at least 1 request.")
        shared = isinstance(server, AsyncConnection)
        super().__init__(server.server if shared else server, model, timeout, version, label)
        self._own = None if shared else AsyncConnection(server, tls, tls_cert, tls_key, compression, retries)
        self._connection = server if shared else self._own
        self._in_flight, self._room = in_flight, asyncio.Semaphore(in_flight)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        if self._own:
            await self._own.close()

    async def embed(self, images):
        """Embeddings float32 [n, D]."""
        return (await self._ask_images("embed", OUTPUTS["embed"], image_bytes=images))["embedding"]

    async def ask(self, images):
        """Embeddings float32 [n, D] of images that ask, of a model that makes others of them."""
        try:
            return (await self._ask_images("ask", OUTPUTS["ask"], image_bytes=images))["embedding"]
        except FailedPrecondition as error:
            await self.require("ask", "images ask by its `embed`; use that", error)
            raise

    async def verify(self, first, second):
        """{"score", "probability", "decision", "threshold"} [n]; see Client."""
        return await self._ask_images("verify", OUTPUTS["verify"], image_bytes_1=first, image_bytes_2=second)

    async def search(self, images):
        """{"identities", "scores", "entries" [n, k], "unknown" [n]}; see Client."""
        return self._read("search", await self._ask_images("search", OUTPUTS["search"], image_bytes=images))

    async def detect(self, images):
        """{"score", "probability", "decision", "threshold"} [n]; see Client."""
        return self._read("detect", await self._ask_images("detect", OUTPUTS["detect"], image_bytes=images))

    async def fake_map(self, images):
        """What speaks for a fake, and where: float32 [n, H, W] in [0, 1]; see Client."""
        return await self._map("fake_map", images)

    async def classify(self, images):
        """{"label", "decision", "abstain" [n], "probabilities", "classes" [n, K]}, of some models "uncertainty" [n].

        Raises: ServingError with the image whose answer is none, ValueError or OSError for a file that cannot be sent.
        """
        return self._joined_labels([pair async for pair in self._sparing(*self._classified(images))])

    def classify_each(self, images):
        """Asynchronous iterator of (image, {name: its value} or the error that speaks against it alone); see Client."""
        return self.each("classify", images)

    def each(self, signature, images):
        """As classify_each, of any signature that answers single images: embed, ask, search, detect or classify."""
        return self._sparing(*self._every(signature, images))

    async def explain(self, images):
        """What speaks for the label that `classify` gives, and where: float32 [n, H, W] in [0, 1]; see Client."""
        try:
            return await self._map("explain", images)
        except FailedPrecondition as error:
            await self.require("explain", cause=error)
            raise

    async def generate(self, count, seed=0, label=None):
        """[PNG bytes]: the images of the seeds seed, seed + 1, ...; see Client."""
        conversations = self._generated(count, seed, label)
        signature = (await self.metadata()).get("generate")
        if signature:  # where there is none, the server says so
            self._require_label(label, "label" in signature["inputs"])
        return await self._together(conversations)

    async def restore(self, images, scale=None):
        """[PNG bytes]: each image made `scale` times as high and wide, None = the model's own scale; see Client."""
        return [raised(answer) async for _, answer in self.restore_each(images, scale)]

    def restore_each(self, images, scale=None):
        """Asynchronous iterator of (image, its PNG bytes or the error that speaks against it alone); see Client."""
        return self._sparing(*self._restored(images, scale))

    async def predict(self, signature, inputs):
        """Any signature: {input: array, or nested list of numbers, str or bytes} -> {output: array}; see Client."""
        async with self._room:
            return await self._predict(signature, inputs)

    async def metadata(self):
        """{signature: {"inputs", "outputs": {name: (dtype, shape)}, "method"}}; see Client."""
        prediction, _ = self._connection.stubs()
        request = self._metadata_request()
        return self._signatures(await self._call(prediction.GetModelMetadata, request, self._seconds("")))

    async def served_version(self):
        """Number of the version that answers now: the newest one, that of the label, or the one asked for."""
        prediction, _ = self._connection.stubs()
        response = await self._call(prediction.GetModelMetadata, self._metadata_request(), self._seconds(""))
        return response.model_spec.version.value

    async def require(self, signature, otherwise="", cause=None):
        """Raises: FailedPrecondition where the model has no such signature; `otherwise` = what follows from that."""
        self._require_known(await self.metadata(), signature, otherwise, cause)

    async def status(self):
        """[{"version", "state", "error_code", "error"}], newest first."""
        _, models = self._connection.stubs()
        return self._states(await self._call(models.GetModelStatus, self._status_request(), self._seconds("")))

    async def wait_ready(self, timeout=60.0, absent=None):
        """Until the server answers and a version of the model (or the one asked for) is available; see Client."""
        waiting = Waiting(timeout, absent, POLL_SECONDS, self._asked())
        _, models = self._connection.stubs()
        while True:
            seconds = waiting.seconds(self._timeout or SECONDS)
            try:
                look = await self._call(models.GetModelStatus, self._status_request(), seconds, retried=False)
                states = self._states(look)
            except (NotFound, Unavailable, DeadlineExceeded) as error:
                states = error
            if waiting.over(states):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def reload(self, models, timeout=RELOAD_SECONDS):
        """The server serves exactly these models from now on; asked once, never again; see Client."""
        request = self._reload_request(models)
        _, asked = self._connection.stubs()
        try:
            response = await self._connection.call(asked.HandleReloadConfigRequest, request, timeout, retried=False)
        except grpc.RpcError as error:
            raise self._reload_failure(error) from error
        self._require_reloaded(response)

    async def _ask_images(self, signature, outputs, **images):
        return self._put_together(outputs, await self._together(self._conversations(signature, outputs, images)))

    async def _map(self, signature, images):
        images = as_list(images)
        return self._maps(images, (await self._ask_images(signature, MAPS, image_bytes=images))["map"])

    async def _sparing(self, requests, ask):
        """Asynchronous iterator of (image, its answer or the error that speaks against it alone).

        Args: requests, ask: see `_spared`; up to `in_flight` of the requests are under way at a time.
        """
        under_way, answered = collections.deque(), False
        try:
            while True:
                while len(under_way) < self._in_flight:
                    await self._room.acquire()  # before its images are read
                    request = await self._read_in_room(requests)
                    if request is None:
                        break
                    task = asyncio.ensure_future(self._converse(self._spared(ask, request, answered)))
                    task.add_done_callback(lambda _: self._room.release())
                    under_way.append(task)
                if not under_way:
                    return
                for pair in await under_way.popleft():
                    answered = answered or not isinstance(pair[1], Exception)
                    yield pair
        finally:
            await _ended(under_way)

    async def _read_in_room(self, requests):
        """The next request, None behind the last one, or where it cannot be read: room is given back then."""
        request = None
        try:
            request = await asyncio.to_thread(next, requests, None)
        finally:
            if request is None:
                self._room.release()
        return request

    async def _together(self, conversations):
        """What the conversations return, one list after the other; the first failure ends all of them."""
        tasks = [asyncio.ensure_future(self._talk(conversation)) for conversation in conversations]
        try:
            return [answer for answers in await asyncio.gather(*tasks) for answer in answers]
        finally:
            await _ended(tasks)

    async def _talk(self, conversation):
        """What a conversation returns, as soon as there is room for it."""
        async with self._room:
            return await self._converse(conversation)

    async def _converse(self, conversation):
        # Images are read before the first question, which the event loop must not wait for.
        step = await asyncio.to_thread(_step, conversation.send, None)
        while not isinstance(step, _End):
            try:
                answer = await self._predict(*step)
            except ServingError as error:
                step = _step(conversation.throw, error)
            else:
                step = _step(conversation.send, answer)
        return step.value

    async def _predict(self, signature, inputs):
        prediction, _ = self._connection.stubs()
        request = self._predict_request(signature, inputs)
        return self._outputs(await self._call(prediction.Predict, request, self._seconds(signature)))

    async def _call(self, method, request, seconds, retried=True):
        try:
            return await self._connection.call(method, request, seconds, retried)
        except grpc.RpcError as error:
            raise self._failure(error) from error


async def _ended(tasks):
    """Cancels what is under way; it is over when this returns."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _End:
    def __init__(self, value):
        self.value = value


def _step(advance, value):
    """The next question of a conversation, or its end: a thread cannot hand on a StopIteration."""
    try:
        return advance(value)
    except StopIteration as end:
        return _End(end.value)
