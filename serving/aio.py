"""Asynchronous client of a model server that speaks TF Serving's gRPC.

    async with AsyncClient("localhost:8500", "verification") as client:
        vectors, answer = await asyncio.gather(client.embed(images), client.verify(first, second))

It has the names of `serving.client.Client` and answers the same; many calls may be made at once.
"""

import asyncio

import grpc
import grpc.aio

from serving.channel import RETRIES, Attempts, Endpoint, stubs
from serving.errors import DeadlineExceeded, NotFound, ServingError, Unavailable
from serving.questions import CHUNK, OUTPUTS, SECONDS, Questions, Waiting, as_list, read_images

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
        self._room = asyncio.Semaphore(in_flight)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        if self._own:
            await self._own.close()

    async def embed(self, images):
        """Embeddings float32 [n, D]."""
        return (await self._ask_images("embed", image_bytes=images))["embedding"]

    async def ask(self, images):
        """Embeddings float32 [n, D] of images that ask, of a model that makes others of them."""
        return (await self._ask_images("ask", image_bytes=images))["embedding"]

    async def verify(self, first, second):
        """{"score", "probability", "decision", "threshold"} [n]; see Client."""
        return await self._ask_images("verify", image_bytes_1=first, image_bytes_2=second)

    async def search(self, images):
        """{"identities", "scores", "entries" [n, k], "unknown" [n]}; see Client."""
        return await self._ask_images("search", image_bytes=images)

    async def detect(self, images):
        """{"score", "probability", "decision", "threshold"} [n]; see Client."""
        return await self._ask_images("detect", image_bytes=images)

    async def classify(self, images):
        """{"label", "decision", "abstain" [n], "probabilities", "classes" [n, K]}, of some models "uncertainty" [n].

        Raises: ServingError with the image whose answer is none, ValueError or OSError for a file that cannot be sent.
        """
        images = as_list(images)
        if not images:
            raise ValueError("No image to classify; give at least one path or the bytes of one.")

        def conversation(start):
            request = list(read_images(images[start : start + CHUNK], start))
            return (yield from self._spared(self._classified_together, request, False))

        pairs = await self._together(conversation(start) for start in range(0, len(images), CHUNK))
        return self._joined_labels(pairs)

    async def predict(self, signature, inputs):
        """Any signature: {input: array, or nested list of numbers, str or bytes} -> {output: array}; see Client."""
        async with self._room:
            return await self._predict(signature, inputs)

    async def metadata(self):
        """{signature: {"inputs", "outputs": {name: (dtype, shape)}, "method"}}; see Client."""
        prediction, _ = self._connection.stubs()
        request = self._metadata_request()
        return self._signatures(await self._call(prediction.GetModelMetadata, request, self._seconds("")))

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

    async def _ask_images(self, signature, **images):
        answers = await self._together(self._conversations(signature, OUTPUTS[signature], images))
        return self._read(signature, self._put_together(OUTPUTS[signature], answers))

    async def _together(self, conversations):
        """What the conversations return, one list after the other; the first failure ends all of them."""
        tasks = [asyncio.ensure_future(self._talk(conversation)) for conversation in conversations]
        try:
            return [answer for answers in await asyncio.gather(*tasks) for answer in answers]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # what was cancelled is over when this returns

    async def _talk(self, conversation):
        """What a conversation returns; see Client."""
        async with self._room:
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


class _End:
    def __init__(self, value):
        self.value = value


def _step(advance, value):
    """The next question of a conversation, or its end: a thread cannot hand on a StopIteration."""
    try:
        return advance(value)
    except StopIteration as end:
        return _End(end.value)
