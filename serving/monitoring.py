"""What the server does, as a page of Prometheus' text format: in come requests and loads, out go TF Serving's metrics
and those of the answers themselves.

TF Serving's names begin with `:tensorflow:`, ours with `few_label_images_`. Labels are bounded: names that no model
has are counted together, and what belongs to a version goes with it.
"""

import collections
import math
import os
import threading
import time
import weakref

import prometheus_client
from absl import logging
from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from saved_models.baseline import FILE, read_baseline
from serving.drift import Figures, Flag
from serving.histogram import Histogram
from serving.parameters import read_parameters

PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
OF_SERVING = ":tensorflow:serving:"
BATCH_SIZES = "input_batch_size", "processed_batch_size", "padding_size"
UNKNOWN = "(unknown)"  # of requests that name no model there is
MOST_NAMES = 1000  # of models that ever were, which get metrics of their own
MOST_PATHS = 100  # of versions whose loading is told
LATENCY_EDGES = tuple(10 * 1.8**power for power in range(33))  # microseconds
QUEUING_EDGES = tuple(100 * 1.2**power for power in range(52))
ROWS_EDGES = tuple(2.0**power for power in range(15))


def page_path(file):
    """Where the page lies by a MonitoringConfig file; "" = there is none.   Raises: ValueError; OSError."""
    if not file:
        return ""
    config = read_parameters("MonitoringConfig", file, "monitoring_config_file").prometheus_config
    path = config.path or PATH
    if not path.startswith("/") or path.lower().startswith("/v1/"):
        raise ValueError(
            f"`monitoring_config_file` {file} has the path {path!r} but it must begin with / and lie outside of /v1/; "
            f"use {PATH}."
        )
    return path if config.enable else ""


class Monitor:
    """A watcher of serving.calls.Calls and of what a serving.models.Manager loads.

    Args:    manager: Manager; it is asked for the names of models and the loaded versions.
             requests: serving.rpc.Requests, or None.  scheduler: serving.batching.Scheduler; None = no batching.
             log: serving.request_log.RequestLog, or None.
             clock: seconds.
    """

    def __init__(self, manager, requests=None, scheduler=None, log=None, clock=time.monotonic):
        self._manager, self._requests, self._scheduler, self._log = manager, requests, scheduler, log
        self._clock = clock
        self._lock, self._versions = threading.Lock(), {}  # {(name, number): (weak Servable, Figures)}
        self._loads = collections.OrderedDict()  # {path: [successes, failures, microseconds]}
        self._counts = {}  # {(model, status): requests}
        self._latency, self._runtime = {}, {}  # {(model, API, entrypoint)}, {(model, API)}: Histogram
        self._batches = [Histogram(ROWS_EDGES) for _ in BATCH_SIZES]
        self._queuing = Histogram(QUEUING_EDGES)
        self._names, self._faulty = set(), False
        self._registry = prometheus_client.CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        manager.watch = self.loaded
        if scheduler:
            scheduler.watch = self._batch_ran

    # ---- what happens

    def __call__(self, told):
        """A request was answered; see serving.calls.Answered. Never raises: the answer must go out."""
        try:
            self._answered(told)
        except Exception:  # noqa: BLE001
            if not self._faulty:
                self._faulty = True
                logging.exception("The monitoring failed on a request; requests are answered all the same.")

    def loaded(self, name, number, path, servable, seconds):
        """A version was loaded, or was not: then `servable` is None. Called before it answers anything."""
        with self._lock:
            counts = self._loads.setdefault(path, [0, 0, 0.0])
            self._loads.move_to_end(path)
            counts[servable is None] += 1
            if servable is not None:
                counts[2] += seconds * 1e6
            while len(self._loads) > MOST_PATHS:
                self._loads.popitem(last=False)
        if servable is None:
            return
        stored = {}
        try:
            stored = read_baseline(os.path.join(path, "assets", FILE))
        except Exception as error:  # noqa: BLE001 - a version serves without it
            logging.warning("Model %s version %d is not compared with its export: %s", name, number, error)
        figures = Figures(name, number, stored, self._clock)
        with self._lock:
            self._drop_unloaded()
            self._versions[name, number] = weakref.ref(servable), figures

    def _batch_ran(self, seconds, rows, processed):
        with self._lock:
            self._queuing.add(seconds * 1e6)
            for histogram, value in zip(self._batches, (rows, processed, processed - rows)):
                histogram.add(value)

    def _answered(self, told):
        request = told.request
        if told.api == "MultiInference":
            request = request.tasks[0] if request.tasks else None
        name = request.model_spec.name if request is not None else ""
        if told.response is None:
            self._failed(name if self._manager.config(name) is not None else UNKNOWN, told.error)
            return
        figures = self._versions.get((name, told.version))
        with self._lock:
            label = name if name in self._names else self._bounded(name)
            self._counts[label, "OK"] = self._counts.get((label, "OK"), 0) + 1
            self._of(self._latency, label, told.api, told.entrypoint).add(told.seconds * 1e6)
            for _, _, seconds in told.runs:
                self._of(self._runtime, label, told.api).add(seconds * 1e6)
        if figures is not None:
            for signature, outputs, _ in told.runs:
                figures[1].see(signature, outputs)

    def _failed(self, name, error):
        with self._lock:
            key = self._bounded(name), error.code.name if error else "INTERNAL"
            self._counts[key] = self._counts.get(key, 0) + 1

    def _bounded(self, name):
        if name not in self._names and len(self._names) >= MOST_NAMES:
            return UNKNOWN
        self._names.add(name)
        return name

    @staticmethod
    def _of(histograms, *labels):
        found = histograms.get(labels)
        if found is None:
            found = histograms[labels] = Histogram(LATENCY_EDGES)
        return found

    # ---- the page

    def page(self):
        """(content type, bytes) of the page."""
        return CONTENT_TYPE, _text(self._registry)

    def collect(self):
        """What is not counted but looked up, for the registry."""
        yield from self._request_metrics()
        yield from self._load_metrics()
        loaded = self._manager.loaded()
        yield _metric("loaded_versions", "gauge", "Versions that answer.", (
            ("", {"model_name": name, "version": str(number)}, 1) for name, number in loaded))  # fmt: skip
        if self._requests:
            yield _metric("open_requests", "gauge", "Requests whose answers have not left yet.",
                          [("", {}, self._requests.at_work())])  # fmt: skip
        if self._scheduler:
            yield from self._batch_metrics()
            yield _metric("queue_depth", "gauge", "Batches that wait to run.",
                          [("", {}, self._scheduler.waiting_batches())])  # fmt: skip
        if self._log:
            yield _metric(":tensorflow:serving:request_log_count", "counter", "Requests sampled for the request log.", (
                ("", {"model_name": name, "status_code": status}, count)
                for (name, status), count in self._log.counts().items()))  # fmt: skip
        yield from self._figure_metrics()

    def _request_metrics(self):
        counts = _metric(f"{OF_SERVING}request_count", "counter", "The total number of requests.")
        latency = _metric(f"{OF_SERVING}request_latency", "histogram",
                          "Wall time in microseconds of requests that were answered.")  # fmt: skip
        runtime = _metric(f"{OF_SERVING}runtime_latency", "histogram",
                          "Wall time in microseconds for the runtime, waiting for a batch included.")  # fmt: skip
        with self._lock:  # copies, as requests wait for it
            statuses = list(self._counts.items())
            latencies, runtimes = (
                [(labels, histogram.copy()) for labels, histogram in found.items()]
                for found in (self._latency, self._runtime)
            )
        for (name, status), count in statuses:
            _add(counts, "", {"model_name": name, "status": status}, count)
        for (name, api, entrypoint), histogram in latencies:
            _add_histogram(latency, {"model_name": name, "API": api, "entrypoint": entrypoint}, histogram)
        for (name, api), histogram in runtimes:
            _add_histogram(runtime, {"model_name": name, "API": api, "runtime": "TF2"}, histogram)
        yield from (counts, latency, runtime)

    def _batch_metrics(self):
        waited = _metric(f"{OF_SERVING}batching_session:queuing_latency", "histogram",
                         "Wall time in microseconds that the oldest request of a batch waited.")  # fmt: skip
        sizes = [_metric(f"{OF_SERVING}batching_session:{name}", "histogram", f"Rows: {name.replace('_', ' ')}.")
                 for name in BATCH_SIZES]  # fmt: skip
        with self._lock:
            _add_histogram(waited, {"thread_pool_name": "batch_threads"}, self._queuing)
            for metric, histogram in zip(sizes, self._batches):
                _add_histogram(metric, {}, histogram)
        yield from (waited, *sizes)

    def _load_metrics(self):
        with self._lock:
            loads = {path: tuple(counts) for path, counts in self._loads.items()}
        yield _metric(":tensorflow:cc:saved_model:load_attempt_count", "counter", "How often versions were loaded.", (
            ("", {"model_path": path, "status": status}, counts[place]) for path, counts in loads.items()
            for place, status in enumerate(("success", "fail")) if counts[place]))  # fmt: skip
        yield _metric(":tensorflow:cc:saved_model:load_latency", "counter",
                      "Microseconds that versions took to load and warm up.", (
            ("", {"model_path": path}, counts[2]) for path, counts in loads.items() if counts[0]))  # fmt: skip

    def _figure_metrics(self):
        numbers = _metric("answers", "histogram", "Score, largest probability, or distance to the training centre.")
        rows = _metric("flag_rows", "counter", "Rows that had a flag to be set.")
        flagged = _metric("flagged_rows", "counter", "Rows with a flag: abstain, unknown or decision.")
        share = _metric("share", "gauge", "Share of the last rows.")
        stored = _metric("stored_share", "gauge", "The same share of the held-out images at export.")
        drift = _metric("drift", "gauge", "1 = the share has left the band of what was stored at export.")
        with self._lock:
            self._drop_unloaded()
            versions = list(self._versions.items())
        for (name, number), (_, figures) in versions:
            for signature, kind, figure in figures.all():
                labels = {"model_name": name, "version": str(number), "signature": signature, "figure": kind}
                with figures.lock():
                    if isinstance(figure, Flag):
                        _add(rows, "", labels, figure.rows)
                        _add(flagged, "", labels, figure.hits)
                    else:
                        _add_histogram(numbers, labels, figure.histogram)
                    for what, one in figure.shares.items():
                        own = {**labels, "share": what}
                        if one.share is not None:
                            _add(share, "", own, one.share)
                        if one.expected is not None:
                            _add(stored, "", own, one.expected)
                            _add(drift, "", own, int(one.out))
        yield from (numbers, rows, flagged, share, stored, drift)

    def _drop_unloaded(self):
        for key in [key for key, (servable, _) in self._versions.items() if servable() is None]:
            del self._versions[key]


def _metric(name, kind, text, samples=()):
    metric = Metric(name if name.startswith(":") else f"few_label_images_{name}", text, kind)
    for suffix, labels, value in samples:
        _add(metric, suffix, labels, value)
    return metric


def _add(metric, suffix, labels, value):
    metric.add_sample(metric.name + suffix, labels, value)


def _add_histogram(metric, labels, histogram):
    total = 0
    for edge, count in zip((*histogram.edges, math.inf), histogram.buckets):
        total += count
        _add(metric, "_bucket", {**labels, "le": floatToGoString(edge)}, total)
    _add(metric, "_sum", labels, histogram.sum)
    _add(metric, "_count", labels, total)


def _text(registry):
    """Prometheus' text format. Not the library's own: it would call counters `_total`, as TF Serving does not."""
    lines = []
    for metric in registry.collect():
        lines += [f"# HELP {metric.name} {metric.documentation}", f"# TYPE {metric.name} {metric.type}"]
        for sample in metric.samples:
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
            lines.append(f"{sample.name}{{{labels}}} {floatToGoString(sample.value)}" if labels
                         else f"{sample.name} {floatToGoString(sample.value)}")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _escaped(value):
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
