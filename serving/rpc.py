"""gRPC in front of `serving.calls`: in come calls of PredictionService, ModelService and health, out go answers.

All of it runs on one event loop in a thread of its own, which parses small requests and lets them wait for their batch
without a thread each; what takes long or waits otherwise is done by `Requests`' threads.
"""

import asyncio
import collections
import contextlib
import functools
import os
import threading
import time
from concurrent import futures

import grpc
import grpc.aio
from absl import logging
from google.protobuf import message as protobuf_message
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import galleries
from serving.status import Code, StatusError

LARGEST_MESSAGE = 2**31 - 1
WAITING_CALLS = 4096  # more are refused with RESOURCE_EXHAUSTED at once; each takes about 40 KB beside its message
MEMORY_SHARE = 0.25  # of the machine's memory that requests and their answers may take together
SMALL = 2**18  # bytes of a request or an answer that the loop itself reads or writes, while others wait
CHANGING_CALLS = 8  # at a time: reloads and changes of galleries
SPARED_SECONDS = 0.2  # before its deadline a change that is not done gives up
PREDICTION, MODELS = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
SERVICES = "", PREDICTION, MODELS  # whose health is told


class Requests(futures.ThreadPoolExecutor):
    """The threads that answer what would hold up others; counts the requests that are open anywhere in the server, and
    those that may still join a batch."""

    def __init__(self, threads):
        super().__init__(threads, thread_name_prefix="requests")
        self.none_arrives = lambda: None  # called when nobody is on the way to a batch any more
        self._lock, self._open, self._arriving = threading.Lock(), 0, 0
        self._own = threading.local()

    def arriving(self):
        """Requests that have come but neither wait for a batch yet nor are answered."""
        return self._arriving

    def arrived(self):
        """This thread's request waits for a batch, or is answered: nobody need wait for it."""
        if getattr(self._own, "arriving", False):
            self._own.arriving = False
            with self._lock:
                self._arriving -= 1
                last = not self._arriving
            if last:
                self.none_arrives()

    @contextlib.contextmanager
    def under_way(self):
        """Counts a request that came another way than gRPC's and that this thread works on."""
        self.count(1)
        try:
            yield
        finally:
            self.count(-1)

    @contextlib.contextmanager
    def joining(self):
        """This thread works on a request that may join a batch."""
        with self._lock:
            self._arriving += 1
        self._own.arriving = True
        try:
            yield
        finally:
            self.arrived()

    def count(self, change):
        """Counts requests that have come; less than 0: whose answers have left."""
        with self._lock:
            self._open += change

    def at_work(self):
        """Requests whose answers have not left yet."""
        return self._open

    def are_done(self):
        return not self._open


class GrpcServer:
    """A gRPC server that is not started and has no port yet.

    Args:    calls: serving.calls.Calls.  requests: Requests.
             with_health: answer grpc.health.v1 as well: SERVING for "" and each of TF Serving's services, NOT_SERVING
             once `stop` is called.
             arguments: [(name, value)] for its channels, as --grpc_channel_arguments.
             changing: serving.galleries.Galleries, to be changed over the wire; None = nobody may.
             most_bytes: of requests and answers that are in memory at a time; what would be more is refused, but for a
             request that is alone. None = MEMORY_SHARE of the machine's memory.
    """

    def __init__(self, calls, requests, with_health=False, arguments=(), changing=None, most_bytes=None):
        self._calls, self._requests = calls, requests
        self._bytes, self._most_bytes = 0, most_bytes or _memory() * MEMORY_SHARE
        # Changes wait for each other and for models to load: threads that answer are not theirs.
        self._changes = futures.ThreadPoolExecutor(CHANGING_CALLS, thread_name_prefix="changes")
        self._loop = _loop()
        self._joining = _Joining(self._loop)
        self._health = _Health() if with_health else None
        self._server = self._await(self._made(arguments, changing))
        self._started = self._ended = False
        self._refuses = "The server does not answer yet; ask again later."

    def bind(self, address, credentials=None):
        """The port of an address; 0 = it cannot be had.

        Args:   credentials: grpc.ServerCredentials; None = nothing is encrypted.
        """

        async def bound():
            try:
                if credentials:
                    return self._server.add_secure_port(address, credentials)
                return self._server.add_insecure_port(address)
            except RuntimeError:
                return 0

        return self._await(bound())

    def start(self):
        self._started, self._refuses = True, None
        self._await(self._server.start())

    def stop(self):
        """New requests are refused; those under way go on until `close`."""
        self._refuses = "The server is stopping"
        if self._health:
            self._loop.call_soon_threadsafe(self._health.stop)

    def close(self):
        """Ends what is left; the ports are free afterwards."""
        if self._ended:  # gRPC's own server crashes where it is stopped twice at a time
            return
        self._ended = True
        self.stop()
        if not self._started:  # a server of gRPC that never ran would keep its ports; nobody is answered meanwhile
            self._await(self._server.start())
        self._await(self._server.stop(None))
        self._changes.shutdown(wait=False, cancel_futures=True)

    async def _made(self, arguments, changing):
        options = {
            "grpc.max_receive_message_length": LARGEST_MESSAGE,
            "grpc.max_send_message_length": LARGEST_MESSAGE,
            # Of calls that came faster than they are looked at, gRPC cancels some beyond 1,000: they are to be refused.
            "grpc.server.max_pending_requests": 2 * WAITING_CALLS,
            "grpc.server.max_pending_requests_hard_limit": 4 * WAITING_CALLS,
            "grpc.so_reuseport": 0,  # else a second server on the port starts and takes half the calls
            **dict(arguments),
        }
        server = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=WAITING_CALLS)
        calls, blocking, changing_call = self._calls, self._blocking, self._changing
        services = {
            PREDICTION: {
                "Predict": (predict_pb2.PredictRequest, self._predict),
                "Classify": (classification_pb2.ClassificationRequest, blocking(calls.classify, joins=True)),
                "Regress": (regression_pb2.RegressionRequest, blocking(calls.regress, joins=True)),
                "MultiInference": (inference_pb2.MultiInferenceRequest, blocking(calls.multi_inference, True)),
                "GetModelMetadata": (get_model_metadata_pb2.GetModelMetadataRequest, blocking(calls.metadata)),
            },
            MODELS: {
                "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, blocking(calls.status)),
                "HandleReloadConfigRequest": (
                    model_management_pb2.ReloadConfigRequest,
                    changing_call(calls.reload),
                ),
            },
        }
        if changing is not None:
            services[galleries.SERVICE] = {
                name: (predict_pb2.PredictRequest, changing_call(work)) for name, work in changing.calls().items()
            }
        for name, methods in services.items():
            handlers = {
                method: grpc.unary_unary_rpc_method_handler(self._handler(message, answer))
                for method, (message, answer) in methods.items()
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        if self._health:
            words = {"response_serializer": health_pb2.HealthCheckResponse.SerializeToString}
            check = grpc.unary_unary_rpc_method_handler(_parsing(self._health.check), **words)
            watch = grpc.unary_stream_rpc_method_handler(_parsing(self._health.watch), **words)
            handlers = {"Check": check, "Watch": watch}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers),))
        return server

    def _handler(self, message, answer):
        """gRPC's handler of a call.

        Args:   message: class of its request. It is parsed here: gRPC's own way leaks 16 KB and logs a traceback for
                each bad one.
                answer: async (parse, context, small) -> response message, or raises StatusError; `parse()` gives the
                request, `small` = it may be parsed on the loop.
        """

        async def handle(data, context):
            size = len(data)
            if self._refuses:
                await context.abort(Code.UNAVAILABLE, self._refuses)
            if self._bytes and self._bytes + size > self._most_bytes:
                await context.abort(
                    Code.RESOURCE_EXHAUSTED,
                    f"The server holds {self._bytes:,} bytes of requests and answers and takes at most "
                    f"{int(self._most_bytes):,}; ask again later.",
                )
            kept = _Kept(self, size)
            context.add_done_callback(kept.dropped)
            try:
                response = await answer(functools.partial(_parsed, message, data), context, size <= SMALL)
                if response.ByteSize() <= SMALL:
                    found = response.SerializeToString()
                else:
                    found = await self._loop.run_in_executor(self._requests, response.SerializeToString)
                kept.add(len(found))
                return found
            except StatusError as error:
                code, text = error.code, error.message  # the error itself would keep `data` until it is searched for
            except Exception:  # noqa: BLE001 - one bad request must not end the server
                logging.exception("A request failed in an unforeseen way.")
                code, text = Code.INTERNAL, "The server failed on this request; its log says where."
            await context.abort(code, text)

        return handle

    async def _predict(self, parse, context, small):
        """Predict: in a batch without a thread of its own, else in one of the threads."""
        if not small:
            return await self._blocking(self._calls.predict, joins=True)(parse, context, small)
        return await self._calls.predict_awaited(parse(), functools.partial(self._run, context), self._aside)

    async def _aside(self, outputs, build):
        """What `build()` makes of the outputs of a signature; large ones in a thread, as others wait meanwhile."""
        if sum(value.nbytes for value in outputs.values()) <= SMALL:
            return build()
        return await self._loop.run_in_executor(self._requests, build)

    async def _run(self, context, servable, key, inputs):
        queue = servable.queue(key, inputs)
        if queue is None:
            return await self._threaded(lambda left, gone: servable.run(key, inputs, left), context)
        return await self._joining.outputs(queue, inputs, context.time_remaining())

    def _blocking(self, work, joins=False):
        """The `answer` of a call that a thread works on.

        Args:   joins: it may join a batch.
        """

        async def answer(parse, context, small):
            def answered(left, gone):
                with self._requests.joining() if joins else contextlib.nullcontext():
                    return work(parse(), timeout=left)

            return await self._threaded(answered, context)

        return answer

    def _changing(self, work):
        """The `answer` of a call that changes what is served, which may take long: it gives up before its deadline so
        that its answer says why, and when its client has gone."""

        async def answer(parse, context, small):
            def answered(left, gone):
                return work(parse(), None if left is None else max(0.0, left - SPARED_SECONDS), gone)

            return await self._threaded(answered, context, self._changes)

        return answer

    async def _threaded(self, work, context, threads=None):
        """What `work(seconds left, gone)` answers in one of the threads; gone() = nobody waits for it any more.

        Args:   threads: executor; None = the one of requests.
        """
        left, over, works = context.time_remaining(), threading.Event(), [work]
        until = None if left is None else time.monotonic() + left
        del work  # what waits for a thread though its client has gone must not hold the request

        def worked():
            left = None if until is None else until - time.monotonic()
            if over.is_set() or left is not None and left <= 0:  # it waited for a thread longer than its client for it
                raise StatusError(Code.DEADLINE_EXCEEDED, "The request's deadline passed before its turn came.")
            return works.pop()(left, over.is_set)

        future = (threads or self._requests).submit(worked)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            over.set()
            works.clear()
            while not future.done():  # the version is in use until then
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await asyncio.wrap_future(future)
            raise

    def _await(self, work):
        """The result of a coroutine on the loop, for another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Kept:
    """The bytes of a request and its answer, counted until the answer has left."""

    __slots__ = ("_server", "_bytes")

    def __init__(self, server, size):
        self._server, self._bytes = server, 0
        server._requests.count(1)
        self.add(size)

    def add(self, size):
        self._bytes += size
        self._server._bytes += size

    def dropped(self, context):
        self._server._bytes -= self._bytes
        self._server._requests.count(-1)


class _Joining:
    """Requests of the loop that wait for their batches; many that come or are done together are one wake-up."""

    def __init__(self, loop):
        self._loop, self._waking = loop, set()
        self._done, self._called = collections.deque(), False

    async def outputs(self, queue, inputs, timeout):
        """{output: array} of inputs in a serving.batching.Queue.   Raises: StatusError."""
        task = queue.submit(inputs, self._tell, timeout)
        task.future = self._loop.create_future()
        if queue.scheduler not in self._waking:  # after the others that are ready now, so that they meet
            self._waking.add(queue.scheduler)
            self._loop.call_soon(self._wake, queue.scheduler)
        try:
            await task.future
        except asyncio.CancelledError:
            while not queue.leave(task) and task.future is not None:  # it runs: the version is in use until then
                task.future = self._loop.create_future()
                with contextlib.suppress(asyncio.CancelledError):
                    await task.future
            raise
        return task.outputs()

    def _wake(self, scheduler):
        self._waking.discard(scheduler)
        scheduler.wake()

    def _tell(self, tasks):
        """In a thread of the batches."""
        self._done.extend(tasks)
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self):
        self._called = False
        while self._done:
            task = self._done.popleft()
            future, task.future = task.future, None
            if not future.done():  # its client may have gone
                future.set_result(None)


class _Health:
    """grpc.health.v1 of the server's services, all of one status."""

    def __init__(self):
        self._stopping = asyncio.Event()

    def stop(self):
        self._stopping.set()

    async def check(self, request, context):
        status = self._status(request)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(Code.NOT_FOUND, f"There is no service {request.service}.")
        return health_pb2.HealthCheckResponse(status=status)

    async def watch(self, request, context):
        """Tells the status, and once more when the server goes down; the client or the server's end ends it."""
        await context.write(health_pb2.HealthCheckResponse(status=self._status(request)))
        was_stopping = self._stopping.is_set()
        await self._stopping.wait()
        if not was_stopping and request.service in SERVICES:
            await context.write(health_pb2.HealthCheckResponse(status=self._status(request)))
        await asyncio.Future()

    def _status(self, request):
        statuses = health_pb2.HealthCheckResponse
        if request.service not in SERVICES:
            return statuses.SERVICE_UNKNOWN
        return statuses.NOT_SERVING if self._stopping.is_set() else statuses.SERVING


def _parsing(behavior):
    """A handler of grpc.health.v1 whose request is parsed by us, see `GrpcServer._handler`."""

    async def handle(data, context):
        try:
            request = _parsed(health_pb2.HealthCheckRequest, data)
        except StatusError as error:
            await context.abort(error.code, error.message)
        return await behavior(request, context)

    return handle


def _parsed(message, data):
    try:
        return message.FromString(data)
    except protobuf_message.DecodeError:
        raise StatusError(Code.INTERNAL, "The request cannot be parsed as the message this call takes.") from None


def _memory(limit="/sys/fs/cgroup/memory.max"):
    """Bytes of memory of the machine, or of the container's share of it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError, ValueError):  # "max" where there is none
        with open(limit) as file:
            found.append(int(file.read()))
    return min(found)


_loops, _making = {}, threading.Lock()


def _loop():
    """The event loop of all servers of this process: gRPC has one queue of events, which is best read by one loop."""
    with _making:
        if os.getpid() not in _loops:  # a fork has no threads
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="grpc", daemon=True).start()
        return _loops[os.getpid()]
