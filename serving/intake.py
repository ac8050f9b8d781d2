"""HTTP requests on their way to an application: in come sockets, out go whole requests, as many as it can bear.

What is too much is refused at once, as {"error": text}, before its turn among those that wait: more requests than
WAITING_REQUESTS, bodies that together take more than BODIES_BYTES. A request whose client has left while it waited is
not answered any more.
"""

import json
import logging
import threading
import time

from waitress import channel, parser, server, task, utilities

CONNECTIONS = 2000
HEAD_BYTES = 64 * 2**10
IDLE_SECONDS = 60  # a client that sends nothing for so long loses its connection
WAITING_REQUESTS = 1024  # each has a socket of its own
BODIES_BYTES = 512 * 2**20  # of all requests that come, wait or are answered
ARRIVED = "serving.arrived"  # in the environment of a request: time.monotonic() when it was whole


def create(application, listening, threads, body_bytes):
    """The waitress server of a WSGI application behind a bound socket; `run` answers.

    Args:    threads: requests answered at a time.  body_bytes: of the largest request that is read.
    """
    made = server.create_server(
        application, sockets=[listening], _dispatcher=_Dispatcher(threads), ident=None,
        max_request_body_size=body_bytes, max_request_header_size=HEAD_BYTES, connection_limit=CONNECTIONS,
        channel_timeout=IDLE_SECONDS, channel_request_lookahead=1,  # so that it is seen when a client leaves
        backlog=1024, clear_untrusted_proxy_headers=True, asyncore_use_poll=True,
    )  # fmt: skip
    made.channel_class, made.bodies = _Channel, _Bodies()
    return made


class _Bodies:
    """How many bytes of bodies are in memory or on the disk."""

    def __init__(self):
        self.total, self._lock = 0, threading.Lock()

    def hold(self, request, size):
        with self._lock:
            self.total += size - request.held
            request.held = size


class _Request(parser.HTTPRequestParser):
    """What a client has sent of a request so far."""

    arrived = None
    held = 0  # bytes of its body
    _closed = False

    def __init__(self, adj, bodies):
        super().__init__(adj)
        self._bodies = bodies

    def received(self, data):
        if self._closed:
            return len(data)
        taken = super().received(data)
        if self.body_bytes_received != self.held:
            self._bodies.hold(self, self.body_bytes_received)
        coming = max(0, self.content_length - self.held)  # as far as it says so
        if isinstance(self.error, utilities.RequestEntityTooLarge):
            self.error.body = f"A body must have less than {self.adj.max_request_body_size} bytes; send fewer rows."
        elif not self.error and coming + self.held and self._bodies.total + coming > BODIES_BYTES:
            self.refuse("The bodies of all requests are too large together; ask again later.")
        if self.error:
            self.completed, self.expect_continue = True, False
        if self.completed:
            self.arrived = time.monotonic()
        return taken

    def refuse(self, reason):
        self.error = _Unavailable(reason)

    def close(self):
        super().close()
        self._closed = True
        self._bodies.hold(self, 0)


class _Unavailable(utilities.Error):
    code, reason = 503, "Service Unavailable"


class _Task(task.WSGITask):
    def get_environment(self):
        environ = super().get_environment()
        environ[ARRIVED] = self.request.arrived
        return environ


class _Refusal(task.ErrorTask):
    """The answer to a request that the application does not see."""

    def execute(self):
        error = self.request.error
        body = json.dumps({"error": error.body}).encode()
        self.status, self.content_length = f"{error.code} {error.reason}", len(body)
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.write(body)


class _Channel(channel.HTTPChannel):
    """The connection of a client. Who does not read the answers to several questions loses it: no thread waits."""

    task_class, error_task_class = _Task, _Refusal

    def parser_class(self, adj):
        return _Request(adj, self.server.bodies)

    def handle_close(self):
        super().handle_close()
        if self.request is not None:  # what came of it goes at once, though a thread may remember the connection
            self.request.close()

    def _flush_outbufs_below_high_watermark(self):
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self.server.trigger.pull_trigger(self.handle_close)
        super()._flush_outbufs_below_high_watermark()  # until it is closed


class _Dispatcher(task.ThreadedTaskDispatcher):
    """The threads that answer, and one that refuses."""

    queue_logger = logging.Logger("queue", logging.ERROR)  # waitress warns of each request that waits

    def __init__(self, threads):
        super().__init__()
        self._refusing = task.ThreadedTaskDispatcher()
        self.set_thread_count(threads)

    def set_thread_count(self, count):
        super().set_thread_count(count)
        self._refusing.set_thread_count(min(count, 1))

    def add_task(self, connection):
        request = connection.requests[0]
        if not request.error and len(self.queue) >= WAITING_REQUESTS:
            request.refuse(f"{WAITING_REQUESTS} requests wait already; ask again later.")
        if request.error:
            self._refusing.add_task(connection)
        else:
            super().add_task(connection)
