"""Puts load on a model server that speaks TF Serving's gRPC, and tells how long its answers take.

    python -m serving.loadtest --model=verification --signature=embed --images=PHOTOS [--clients=32] [--seconds=30]
    python -m serving.loadtest --model=verification --signature=embed --images=PHOTOS --rate=200 [--seconds=30]

--clients is a closed loop: so many clients, each of which asks again as soon as it is answered. --rate is an open loop:
requests come at random times, so many a second on average, whether answers come or not, and a time counts from when a
request was due, so that a server that falls behind is seen to. --images=PHOTOS sends the first images of a folder in
turn, --rows of them a request and at most 64 different requests, to a signature that takes `image_bytes`; without it
the signature's own inputs are filled with random numbers. --out=load.png draws the times, --json prints one line. The
exit code is 1 where a request failed. --tls and the flags beside it are those of serving.client; a failure under load
counts and is not sent again, whatever --retries says.
"""

import collections
import dataclasses
import itertools
import json
import os
import random
import sys
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow_serving.apis import predict_pb2

from saved_models.signatures import encoded_image
from serving import channel
from serving.channel import Endpoint
from serving.client import Client
from serving.errors import ServingError, error_of
from serving.files import require_place, write_whole
from serving.folders import find
from serving.values import to_proto
from tfrecords import command

METHOD = "/tensorflow.serving.PredictionService/Predict"
REQUESTS = 64  # different ones, sent in turn
WAITING = 10_000  # of an open loop; those that are due beyond it are not sent, and told
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
SIDE = 64  # of made-up inputs, where a signature leaves a size open


@dataclasses.dataclass
class Load:
    """What came of it: `latencies` in seconds and `times` of the answers since the start; errors {code: count}."""

    seconds: float
    latencies: np.ndarray
    times: np.ndarray
    errors: dict
    unsent: int
    rows: int

    @property
    def rate(self):
        """Answered requests a second."""
        return len(self.latencies) / self.seconds

    def figures(self):
        """What --json prints; times in milliseconds."""
        found = {"requests": len(self.latencies), "seconds": round(self.seconds, 3), "rate": round(self.rate, 2),
                 "rows": self.rows, "errors": self.errors, "unsent": self.unsent}  # fmt: skip
        if len(self.latencies):
            values = np.percentile(self.latencies, PERCENTILES) * 1e3
            found |= {f"p{q:g}_ms": round(float(value), 3) for q, value in zip(PERCENTILES, values)}
            found["max_ms"] = round(float(self.latencies.max()) * 1e3, 3)
        return found


class _Sender:
    """Sends requests without a thread for each, and keeps what came back after the warm-up."""

    def __init__(self, channel, requests, timeout, check):
        self._call = channel.unary_unary(METHOD)
        self._requests, self._timeout, self._check = itertools.cycle(requests), timeout, check
        self.lock = threading.Lock()
        self.done = threading.Condition(self.lock)
        self.latencies, self.times, self.errors = [], [], collections.Counter()
        self.outstanding, self.unsent = 0, 0
        self.begin = self.end = 0.0

    def send(self, due=None, afterwards=None):
        due = time.monotonic() if due is None else due
        with self.lock:
            self.outstanding += 1
            request = next(self._requests)
        future = self._call.future(request, timeout=self._timeout)
        future.add_done_callback(lambda answered: self._answered(answered, request, due, afterwards))

    def _answered(self, future, request, due, afterwards):
        now, error = time.monotonic(), future.exception()
        code = error.code().name if isinstance(error, grpc.RpcError) else type(error).__name__ if error else None
        if code is None and self._check is not None and not self._check(request, future.result()):
            code = "WRONG_ANSWER"
        with self.lock:
            self.outstanding -= 1
            if due >= self.begin:
                if code is None:
                    self.latencies.append(now - due)
                    self.times.append(now - self.begin)
                else:
                    self.errors[code] += 1
            self.done.notify_all()
        if afterwards is not None and now < self.end:
            afterwards()

    def wait(self, seconds):
        with self.done:
            self.done.wait_for(lambda: not self.outstanding, seconds)


def load(server, requests, clients=0, rate=0.0, seconds=10.0, warm_up=2.0, timeout=10.0, check=None, rows=1, seed=0):
    """Asks `server` for `seconds`, after `warm_up` seconds that do not count.

    Args:    server: "host:port" or "unix:/path"; or an Endpoint, such as a Connection.
             requests: [serialised PredictRequest], sent in turn.
             clients: of a closed loop, or 0.  rate: requests a second of an open loop, or 0; one of the two.
             timeout: seconds until a request is given up.  rows: images a request, told in the result.
             check: (request, answer), both bytes -> whether the answer is right; None = every answer is.
             seed: of the times of an open loop.
    Returns: Load.
    Raises:  ValueError where not exactly one of clients and rate is given; Unavailable where nobody answers.
    """
    if (clients > 0) == (rate > 0) or clients < 0 or rate < 0:
        raise ValueError(f"`clients` is {clients} and `rate` {rate} but exactly one of them must be above 0.")
    endpoint = server if isinstance(server, Endpoint) else Endpoint(server)
    with endpoint.open(grpc) as way:
        try:
            grpc.channel_ready_future(way).result(timeout)
        except grpc.FutureTimeoutError as error:
            said = f"nobody answers within {timeout:g} s"
            raise error_of("UNAVAILABLE", said, f"Server {endpoint.server}: ") from error
        sender = _Sender(way, requests, timeout, check)
        started = time.monotonic()
        sender.begin, sender.end = started + warm_up, started + warm_up + seconds
        if clients:
            _closed(sender, clients)
        else:
            _open(sender, rate, seed)
        sender.wait(timeout)
        took = max(time.monotonic() - sender.begin, seconds) if rate else seconds
        with sender.lock:
            latencies, times = np.array(sender.latencies), np.array(sender.times)
            return Load(took, latencies, times, dict(sender.errors), sender.unsent, rows)


def _closed(sender, clients):
    def again():
        sender.send(afterwards=again)

    for _ in range(clients):
        again()
    time.sleep(max(0.0, sender.end - time.monotonic()))


def _open(sender, rate, seed):
    draw, due = random.Random(seed), time.monotonic()
    while due < sender.end:
        time.sleep(max(0.0, due - time.monotonic()))
        if sender.outstanding < WAITING:
            sender.send(due)
        elif due >= sender.begin:
            sender.unsent += 1
        due += draw.expovariate(rate)


def requests_of_images(model, signature, paths, rows=1, version=None):
    """[serialised PredictRequest] with `rows` images each, in turn, of the first that REQUESTS of them hold."""
    encoded = [encoded_image(path) for path in paths[: REQUESTS * rows]]
    turns = itertools.cycle(encoded)
    count = min(REQUESTS, -(-len(encoded) // rows))
    inputs = [{"image_bytes": [next(turns) for _ in range(rows)]} for _ in range(count)]
    return [_request(model, signature, one, version) for one in inputs]


def requests_made_up(model, signature, declared, rows=1, version=None):
    """[serialised PredictRequest] of random numbers.

    Args:    declared: {input: (dtype, shape)} as Client.metadata() tells.
    Raises:  ValueError for an input of strings, which random numbers are not.
    """
    draw, found = np.random.default_rng(0), []
    for name, (dtype, _) in declared.items():
        if dtype == "string":
            raise ValueError(f"signature `{signature}` takes strings as `{name}`; give images to send, --images=DIR.")
    for _ in range(REQUESTS):
        inputs = {}
        for name, (dtype, shape) in declared.items():
            sizes = [rows, *(SIDE if size < 0 else size for size in shape[1:])]
            kind = tf.as_dtype(dtype)
            values = draw.random(sizes) if kind.is_floating else draw.integers(0, 2 if kind.is_bool else 256, sizes)
            inputs[name] = values.astype(kind.as_numpy_dtype)
        found.append(_request(model, signature, inputs, version))
    return found


def _request(model, signature, inputs, version):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(to_proto(name, value))
    return request.SerializeToString()


def chart(found, title):
    """A PNG: how many answers took how long, and answers a second over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    ordered = np.sort(found.latencies) * 1e3
    beyond = 1 - np.arange(len(ordered)) / max(1, len(ordered))
    left.step(ordered, beyond, where="post", color="#2b5c9e")
    for q in PERCENTILES if len(ordered) else ():
        value = np.percentile(ordered, q)
        left.plot(value, 1 - q / 100, "o", color="#c0392b", ms=4)
        left.annotate(f"p{q:g}  {value:.3g} ms", (value, 1 - q / 100), (6, 3), textcoords="offset points", fontsize=8)
    left.set(yscale="log", xlabel="milliseconds", ylabel="share of answers that took longer", ylim=(None, 1.1))
    left.set_xlim(0, None if not len(ordered) else np.percentile(ordered, 99.9) * 1.35)
    left.grid(alpha=0.3)
    width = max(found.seconds / 60, 0.1)
    counts, edges = np.histogram(found.times, np.arange(0, found.seconds + width, width))
    right.step(edges[:-1], counts / width, where="post", color="#2b5c9e")
    right.set(xlabel="seconds", ylabel="answers a second", ylim=(0, None), xlim=(0, found.seconds))
    right.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    return figure


# ---- Command ----


def define_flags():
    flags.DEFINE_string("server", "localhost:8500", "host:port or unix:/path of the server.")
    channel.define_flags()
    flags.DEFINE_string("model", "verification", "Name of the model on the server.")
    flags.DEFINE_string("signature", "embed", "What to ask.")
    flags.DEFINE_integer("version", None, "Version of the model instead of the newest.", lower_bound=0)
    flags.DEFINE_string("images", None, "Folder whose first images are sent; without it random numbers.")
    flags.DEFINE_integer("rows", 1, "Images a request.", lower_bound=1)
    flags.DEFINE_integer("clients", None, "Closed loop of so many clients; 8 where there is no --rate.", lower_bound=1)
    flags.DEFINE_float("rate", None, "Open loop of so many requests a second.", lower_bound=0.001)
    flags.DEFINE_float("seconds", 10.0, "How long to measure.", lower_bound=0.1)
    flags.DEFINE_float("warm_up", 2.0, "Seconds before, which do not count.", lower_bound=0)
    flags.DEFINE_float("timeout", 10.0, "Seconds until a request is given up.", lower_bound=0.001)
    flags.DEFINE_string("out", None, ".png that gets the chart.")
    flags.DEFINE_bool("json", False, "One JSON line instead of a table.")


def main(argv):
    values = flags.FLAGS
    if values.clients and values.rate:
        raise ValueError("`clients` and `rate` are both set but a load is a closed or an open loop; leave one away.")
    if values.out:
        if not values.out.endswith(".png"):
            raise ValueError(f"`out` is `{values.out}` but must end in .png.")
        require_place("out", values.out)
    paths = find([values.images], "send").images if values.images else ()
    with channel.connection(values) as way:
        with Client(way, values.model, version=values.version) as client:
            client.wait_ready(30.0)
            client.require(values.signature)
            declared = client.metadata()[values.signature]["inputs"]
        if paths:
            requests = requests_of_images(values.model, values.signature, paths, values.rows, values.version)
        else:
            requests = requests_made_up(values.model, values.signature, declared, values.rows, values.version)
        clients = 0 if values.rate else values.clients or 8
        how = f"{values.rate:g} requests a second" if values.rate else f"{clients} client{'s' if clients > 1 else ''}"
        sent = min(len(paths), REQUESTS * values.rows)
        beside = f", the first {sent:,} of {len(paths):,} images" if sent < len(paths) else ""
        print(f"{how} for {values.seconds:g} s at {values.server}{beside} ...", file=sys.stderr)
        found = load(way, requests, clients, values.rate or 0.0, values.seconds, values.warm_up, values.timeout,
                     rows=values.rows)  # fmt: skip
    figures = found.figures()
    if values.out:
        what = f"{values.model} {values.signature}, {values.rows} image(s) a request"
        title = f"{what}, {how}: {found.rate:.0f} answers a second"
        figure = chart(found, title)
        write_whole("out", values.out, lambda stream: figure.savefig(stream, format="png"))
    print(json.dumps(figures) if values.json else _table(figures, how, values.out))
    if found.errors or found.unsent:
        sys.stdout.flush()
        sys.exit(1)


def _table(figures, how, out):
    lines = [f"{how}: {figures['requests']:,} answers in {figures['seconds']:g} s, {figures['rate']:g} a second, "
             f"{figures['rate'] * figures['rows']:.4g} images a second"]  # fmt: skip
    if "max_ms" in figures:
        lines.append("  ".join(f"{name[:-3]} {figures[name]:g} ms" for name in figures if name.endswith("_ms")))
    lines += [f"failed: {count:,} x {code}" for code, count in sorted(figures["errors"].items())]
    if figures["unsent"]:
        lines.append(f"not sent: {figures['unsent']:,} that were due while {WAITING:,} waited")
    if out:
        lines.append(f"chart written to {os.fspath(out)}")
    return "\n".join(lines)


def start():
    command.run(main, define_flags, errors=(ServingError,))


if __name__ == "__main__":
    start()
