"""A sample of the requests as files: in come answered requests, out go TFRecords of PredictionLog.

What to log is a model's logging_config: type "tfrecord", the beginning of the file names and the share of requests.
`python -m tfrecords.write --source=prediction_log:FILES` reads the files back. Only requests that were answered are
logged, with their answers. A request never waits for its log: what the writing thread cannot keep up with is dropped
and counted.
"""

import collections
import contextlib
import fcntl
import os
import queue
import random
import re
import threading
import time

import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import prediction_log_pb2

from serving.status import Code

FILE_BYTES = 64 * 2**20  # a file is complete once it is as large
FILE_SECONDS = 600.0  # or as old
TOTAL_BYTES = 2**30  # of complete files of one prefix; the oldest go
WAITING_BYTES = 64 * 2**20  # of requests that wait to be written
WAITING_REQUESTS = 1000
PAUSE_SECONDS = 60.0  # without logging after a file could not be written
SUFFIX, UNFINISHED = ".tfrecord", ".part"
_FIELDS = {
    "Predict": "predict_log",
    "Classify": "classify_log",
    "Regress": "regress_log",
    "MultiInference": "multi_inference_log",
}


class RequestLog:
    """A watcher of serving.calls.Calls.

    Args:    config: (model name) -> serving.config.ModelConfig, or None for a model that is not served.
             tags: of the graphs that answer.
             file_bytes, file_seconds, total_bytes: see the constants above.
             draw: () -> number in [0, 1), against which the sampling rate is held.
             clock: seconds.
    """

    def __init__(self, config, tags=("serve",), file_bytes=FILE_BYTES, file_seconds=FILE_SECONDS,
                 total_bytes=TOTAL_BYTES, draw=random.random, clock=time.monotonic):  # fmt: skip
        self._config, self._tags, self._draw, self._clock = config, tuple(tags), draw, clock
        self._limits = file_bytes, file_seconds, total_bytes
        self._waiting, self._bytes = queue.Queue(WAITING_REQUESTS), 0
        self._counts, self._lock = collections.Counter(), threading.Lock()
        self._thread, self._files, self._faulty = None, {}, False

    def __call__(self, told):
        """A request was answered; see serving.calls.Answered. Never raises: the answer must go out."""
        try:
            if told.response is not None:
                self._sample(told)
        except Exception:  # noqa: BLE001
            if not self._faulty:
                self._faulty = True
                logging.exception("The request log failed on a request; requests are answered all the same.")

    def counts(self):
        """{(model name, "OK", "RESOURCE_EXHAUSTED" for what was dropped or "UNAVAILABLE" for what no file took): n}."""
        with self._lock:
            return dict(self._counts)

    def close(self, timeout=5.0):
        """Writes what waits and completes the files; what takes longer than `timeout` seconds is left."""
        thread = self._thread
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=timeout)
            thread.join(timeout)

    def _sample(self, told):
        request = told.request
        spec = (request.tasks[0] if told.api == "MultiInference" else request).model_spec
        config = self._config(spec.name)
        if config is None or config.logging is None or self._draw() >= config.logging.rate:
            return
        size = request.ByteSize() + told.response.ByteSize()
        with self._lock:
            taken = self._bytes + size <= WAITING_BYTES and not self._waiting.full()
            if taken:
                self._bytes += size
                # Not `told` itself: its version would stay in memory for as long as the disk is slow.
                asked = told.api, request, told.response
                self._waiting.put_nowait((config.logging, asked, spec.name, size, int(time.time())))
            else:
                self._counts[spec.name, Code.RESOURCE_EXHAUSTED.name] += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="request log", daemon=True)
                self._thread.start()

    # ---- in its own thread

    def _run(self):
        going = True
        while going:
            with contextlib.suppress(queue.Empty):
                waiting = self._waiting.get(timeout=min([1.0, self._limits[1]]))
                going = waiting is not None
                if going:
                    self._write(*waiting)
            for file in self._files.values():
                if self._waiting.empty():
                    self._keep(file.settle)
        for file in self._files.values():
            self._keep(file.complete)

    def _write(self, config, asked, name, size, seconds):
        try:
            file = self._files.get(config.prefix)
            if file is None:
                file = self._files[config.prefix] = _Files(config.prefix, *self._limits, self._clock)
            record = _record(config, *asked, self._tags, seconds)
            done = self._keep(lambda: file.write(record))
        finally:
            with self._lock:
                self._bytes -= size
        with self._lock:
            self._counts[name, (Code.OK if done else Code.UNAVAILABLE).name] += 1

    @staticmethod
    def _keep(work):
        """What `work` returns; the thread must outlive whatever a file system says."""
        try:
            return work()
        except Exception:  # noqa: BLE001
            logging.exception("The request log failed in an unforeseen way; it goes on.")
            return False


def _record(config, api, request, response, tags, seconds):
    """The PredictionLog of a request, serialised."""
    log = prediction_log_pb2.PredictionLog()
    specs = getattr(response, "results", None)
    log.log_metadata.model_spec.CopyFrom((specs[0] if specs else response).model_spec)
    log.log_metadata.sampling_config.sampling_rate = config.rate
    log.log_metadata.saved_model_tags.extend(tags)
    log.log_metadata.timestamp_secs = seconds
    part = getattr(log, _FIELDS[api])
    part.request.CopyFrom(request)
    part.response.CopyFrom(response)
    return log.SerializeToString()


class _Files:
    """The files of one prefix: `<prefix>-<UTC time>-<process>-<number>.tfrecord`, each hidden until it is complete."""

    def __init__(self, prefix, file_bytes, file_seconds, total_bytes, clock):
        self._folder, self._stem = os.path.split(prefix)
        self._file_bytes, self._file_seconds, self._total_bytes = file_bytes, file_seconds, total_bytes
        self._clock, self._number = clock, 0
        self._writer = self._hidden = self._final = self._lock = None
        self._size, self._until, self._unflushed = 0, 0.0, False
        self._paused, self._again = False, 0.0

    def write(self, record):
        """Whether the record is in a file."""
        if self._paused and self._clock() < self._again:
            return False
        try:
            if self._writer is None:
                self._begin()
            self._writer.write(record)
            self._size += len(record) + 16  # the frame of a TFRecord
            self._unflushed = True
            if self._paused:
                # Only what is on the disk says that there is room again.
                self._writer.flush()
                self._paused = False
                logging.info("The request log %s goes on.", os.path.join(self._folder, self._stem))
        except (OSError, tf.errors.OpError) as error:
            self._pause(error)
            return False
        self.settle(flush=False)
        return True

    def settle(self, flush=True):
        """Completes a file that is large or old enough; what it has so far is on the disk afterwards."""
        if self._writer is None:
            return
        try:
            if self._size >= self._file_bytes or self._clock() >= self._until:
                self._complete()
            elif flush and self._unflushed:
                self._writer.flush()
                self._unflushed = False
        except (OSError, tf.errors.OpError) as error:
            self._pause(error)

    def complete(self):
        """The end of the file, whatever its size."""
        if self._writer is not None:
            try:
                self._complete()
            except (OSError, tf.errors.OpError) as error:
                self._pause(error)

    def _begin(self):
        os.makedirs(self._folder, exist_ok=True)
        if not self._number:
            self._recover()
        self._number += 1
        name = f"{self._stem}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{self._number:06d}{SUFFIX}"
        self._final = os.path.join(self._folder, name)
        self._hidden = os.path.join(self._folder, f".{name}{UNFINISHED}")
        self._writer = tf.io.TFRecordWriter(self._hidden)
        self._lock = _locked(self._hidden)
        self._size, self._until = 0, self._clock() + self._file_seconds

    def _complete(self):
        writer, self._writer = self._writer, None
        try:
            writer.close()
            os.rename(self._hidden, self._final)
        finally:
            _unlock(self._lock)
        self._remove_oldest()

    def _pause(self, error):
        """The disk is full or the folder gone: no more is tried for a while, which is told once."""
        self._again = self._clock() + PAUSE_SECONDS
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError, tf.errors.OpError):
                writer.close()
            _unlock(self._lock)
        # Whole records stay; readers leave out what the last one lacks.
        with contextlib.suppress(OSError, TypeError):
            if os.path.getsize(self._hidden):
                os.rename(self._hidden, self._final)
            else:
                os.remove(self._hidden)
        if not self._paused:
            self._paused = True
            text = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
            logging.warning(
                "The request log %s cannot be written (%s) and pauses; requests are answered all the same, make room.",
                os.path.join(self._folder, self._stem), text,
            )  # fmt: skip

    def _recover(self):
        """Gives their names to files of processes that were killed."""
        for name in os.listdir(self._folder):
            final = name.removeprefix(".").removesuffix(UNFINISHED)
            if name != f".{final}{UNFINISHED}" or not self._is_own(final):
                continue
            path = os.path.join(self._folder, name)
            lock = _locked(path)
            if lock is not None:  # else another server writes it
                with contextlib.suppress(OSError):
                    os.rename(path, os.path.join(self._folder, final))
                _unlock(lock)

    def _remove_oldest(self):
        found = []
        for name in filter(self._is_own, os.listdir(self._folder)):
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(self._folder, name))
                found.append((status.st_mtime_ns, name, status.st_size))
        total = sum(size for _, _, size in found)
        for _, name, size in sorted(found):
            if total <= self._total_bytes:
                break
            with contextlib.suppress(OSError):
                os.remove(os.path.join(self._folder, name))
            total -= size

    def _is_own(self, name):
        return re.fullmatch(re.escape(self._stem) + r"-\d{8}T\d{6}-\d+-\d{6,}" + re.escape(SUFFIX), name)


def _locked(path):
    """A descriptor that holds the lock of a file; None where another process holds it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor):
    if descriptor is not None:
        os.close(descriptor)
