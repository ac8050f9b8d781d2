"""Requests to one signature joined into batches: in come inputs of single requests, out go their rows of one answer."""

import collections
import dataclasses
import math
import os
import threading
import time

import numpy as np
from absl import logging

from serving.parameters import value_of
from serving.status import Code, StatusError, invalid


@dataclasses.dataclass(frozen=True)
class Batching:
    """TF Serving's BatchingParameters, checked.

    A batch holds at most `max_batch_size` rows. It runs once one of `num_batch_threads` is free and it is full, or its
    oldest request is `batch_timeout` seconds old, or no other request is under way that could join it. At most
    `max_enqueued_batches` wait, a queue; what comes then is refused. A batch is filled up to the next of the
    `allowed_batch_sizes` with copies of its first row. A request of more than `max_batch_size` rows is refused, or with
    `enable_large_batch_splitting` cut into batches of at most `max_execution_batch_size` (0 = max_batch_size).

    Raises: ValueError for values that cannot be.
    """

    max_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    allowed_batch_sizes: tuple = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self):
        for name, least in (("max_batch_size", 1), ("batch_timeout", 0), ("max_enqueued_batches", 1),
                            ("num_batch_threads", 0), ("max_execution_batch_size", 0)):  # fmt: skip
            if not getattr(self, name) >= least:
                told = "batch_timeout_micros" if name == "batch_timeout" else name
                raise ValueError(f"`{told}` is {getattr(self, name)} but must be at least {least}.")
        if self.max_execution_batch_size > self.max_batch_size:
            raise ValueError(
                f"`max_execution_batch_size` is {self.max_execution_batch_size} but must be at most max_batch_size, "
                f"{self.max_batch_size}."
            )
        sizes = self.allowed_batch_sizes
        if any(one >= other for one, other in zip(sizes, sizes[1:])) or any(size < 1 for size in sizes):
            raise ValueError(
                f"allowed_batch_sizes entries must be monotonically increasing; they are {', '.join(map(str, sizes))}"
            )
        if sizes and sizes[-1] != self.rows:
            which = "max_execution_batch_size" if self.enable_large_batch_splitting else "max_batch_size"
            raise ValueError(
                f"Last entry in allowed_batch_sizes must match {which}; last entry was {sizes[-1]}; expected "
                f"{self.rows}"
            )

    @property
    def rows(self):
        """Of the largest batch that runs."""
        return (self.enable_large_batch_splitting and self.max_execution_batch_size) or self.max_batch_size

    @classmethod
    def of(cls, parameters):
        """From a BatchingParameters message."""
        default = cls()
        return cls(
            max_batch_size=value_of(parameters, "max_batch_size", default.max_batch_size),
            batch_timeout=value_of(parameters, "batch_timeout_micros", 0) / 1e6,
            max_enqueued_batches=value_of(parameters, "max_enqueued_batches", default.max_enqueued_batches),
            num_batch_threads=value_of(parameters, "num_batch_threads", 0),
            allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
            pad_variable_length_inputs=parameters.pad_variable_length_inputs,
            enable_large_batch_splitting=value_of(parameters, "enable_large_batch_splitting", False),
            max_execution_batch_size=value_of(parameters, "max_execution_batch_size", 0),
        )


class Scheduler:
    """The threads that run the batches of all queues, queues in turn.

    Args:    threads: batches that run at a time; 0 = one a CPU.
             arriving: () -> requests under way in the server that may still join some queue; while there are any, a
             batch that is not full waits for them as long as `batch_timeout` allows.
    """

    def __init__(self, threads=0, arriving=lambda: 0):
        self.lock = threading.Lock()
        self.arriving = arriving
        self.watch = None  # (seconds that the oldest request waited, rows, rows with those filled up) -> None
        self._changed = threading.Condition(self.lock)
        self._most, self._threads, self._idle, self._closed = threads or os.cpu_count() or 1, [], 0, False
        self._queues = collections.OrderedDict()  # those with waiting batches, whose turn is next first

    def wake(self):
        """Some thread looks at what waits now; to be called after `Queue.submit`, once for several."""
        with self.lock:
            self._rouse()

    def waiting_batches(self):
        """Batches that wait in all queues."""
        with self.lock:
            return sum(len(queue.waiting) for queue in self._queues)

    def close(self):
        """Takes no more requests; the threads end once nothing waits."""
        with self.lock:
            self._closed = True
            self._changed.notify_all()

    def require_open(self):
        """Raises: StatusError after `close`. Under the lock."""
        if self._closed:
            raise StatusError(Code.UNAVAILABLE, "The server is stopping")

    def add(self, queue):
        """A queue has waiting batches. Under the lock."""
        self._queues.setdefault(queue)

    def _work(self):
        while True:
            with self.lock:
                while (found := self._next()) is None:
                    if self._closed and not self._queues:
                        return
                    self._idle += 1
                    self._changed.wait(self._pause())
                    self._idle -= 1
            queue, batch = found
            queue.run(batch)
            del queue, batch, found  # nothing of an unloaded version stays with a thread that waits

    def _rouse(self):
        """Under the lock."""
        if self._queues and self._idle:
            self._changed.notify()
        elif self._queues and len(self._threads) < self._most and not self._closed:
            self._threads.append(threading.Thread(target=self._work, name="batches", daemon=True))
            self._threads[-1].start()

    def _next(self):
        """(Queue, batch) that may run now; None = there is none."""
        now = time.monotonic()
        for queue in list(self._queues):
            batch = queue.begin(now)
            if not queue.waiting:
                del self._queues[queue]
            if batch is not None:
                if queue.waiting:
                    self._queues.move_to_end(queue)
                self._rouse()  # somebody looks after what is left while this batch runs
                return queue, batch
        return None

    def _pause(self):
        """Seconds until the first batch has waited long enough; None = nothing waits."""
        due = min((queue.due() for queue in self._queues), default=None)
        return None if due is None else max(0.0, due - time.monotonic())


class _Task:
    """A request in a queue: its inputs, whom to tell, and its parts of the answer as they come."""

    __slots__ = ("inputs", "rows", "deadline", "tell", "begun", "left", "parts", "error", "future")

    def __init__(self, inputs, rows, deadline, tell):
        self.inputs, self.rows, self.deadline, self.tell = inputs, rows, deadline, tell
        self.begun = False  # whether a batch with rows of it runs or ran
        self.left, self.parts, self.error = rows, [], None
        self.future = None  # whoever is told may keep here what waits for it

    def outputs(self):
        """{output: array [n, ...]} of a finished task.   Raises: its error."""
        if isinstance(self.error, StatusError):  # a copy, as several tasks may have the same
            raise StatusError(self.error.code, self.error.message)
        if self.error is not None:
            raise self.error
        return _joined(self.parts)


class _Batch:
    """Slices of tasks that run together: [(task, from row, to row)]."""

    def __init__(self):
        self.slices, self.rows, self.since, self.waited = [], 0, time.monotonic(), 0.0

    def add(self, task, first, last):
        self.slices.append((task, first, last))
        self.rows += last - first

    def remove(self, task):
        self.rows -= sum(last - first for own, first, last in self.slices if own is task)
        self.slices = [one for one in self.slices if one[0] is not task]


class Queue:
    """The batches of one signature of one version.

    Args:    run: ({input: array [n, ...]}) -> {output: array [n, ...]}, or raises StatusError.
             batching: Batching.  scheduler: shared by all queues.
             arrived: called by the thread of a request that waits here itself, so that nobody waits for it any more.
    """

    def __init__(self, run, batching, scheduler, arrived=lambda: None):
        self._run, self._batching, self.scheduler, self._arrived = run, batching, scheduler, arrived
        self.waiting = collections.deque()

    def __call__(self, inputs, timeout=None):
        """The answer to one request, {output: array [n, ...]}, waited for in this thread.

        Args, raises: see `submit`.
        """
        told = threading.Lock()
        told.acquire()
        task = self.submit(inputs, lambda tasks: told.release(), timeout)
        self._arrived()
        self.scheduler.wake()
        if not told.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            if self.leave(task):
                raise _late()
            told.acquire()
        return task.outputs()

    def submit(self, inputs, tell, timeout=None):
        """Puts a request into the queue; `Scheduler.wake` is to follow.

        Args:   inputs: {input: array [n, ...]} of one n > 0.
                tell: called with a list of finished tasks, whose `outputs()` are the answers; once for all those of a
                batch that have the same. It must neither wait nor ask the queue.
                timeout: seconds the request may wait in the queue; None = as long as it takes.
        Raises: StatusError with TF Serving's code and text: INVALID_ARGUMENT for more rows than a batch holds,
                UNAVAILABLE where the queue is full. A task's are RESOURCE_EXHAUSTED where the time passed before its
                turn, or those of the model.
        """
        rows = len(next(iter(inputs.values())))
        task = _Task(inputs, rows, math.inf if timeout is None else time.monotonic() + timeout, tell)
        with self.scheduler.lock:
            self._enqueue(task)
        return task

    def leave(self, task):
        """Whether a task was taken out of the queue; False = it runs or has run."""
        with self.scheduler.lock:
            if task.begun:
                return False
            self._remove(task)
            return True

    def run(self, batch):
        """Runs what `begin` gave and tells everyone whose last rows these were."""
        outcome, told = self._outcome(batch), {}
        with self.scheduler.lock:
            for (task, first, last), found in zip(batch.slices, outcome):
                task.left -= last - first
                if isinstance(found, Exception):
                    task.error = task.error or found
                    task.left -= self._remove(task)  # what waits of it need not run any more
                elif task.error is None:
                    outputs, start = found
                    rows = slice(start, start + last - first)
                    task.parts.append((first, {name: value[rows] for name, value in outputs.items()}))
                if task.left == 0:
                    told.setdefault(task.tell, []).append(task)
        for tell, tasks in told.items():
            try:
                tell(tasks)
            except Exception:  # noqa: BLE001 - the thread has others to answer
                logging.exception("Somebody could not be told that a batch has run.")

    # ---- under the scheduler's lock

    def due(self):
        """When the first batch has waited long enough, or a request in it too long."""
        batch = self.waiting[0]
        deadlines = (task.deadline for task, _, _ in batch.slices if not task.begun)
        return min((batch.since + self._batching.batch_timeout, *deadlines))

    def begin(self, now):
        """The first batch, taken out of the queue, where it may run now; else None."""
        batch = self._first(now)
        if batch is None:
            return None
        full = len(self.waiting) > 1 or batch.rows >= self._batching.rows
        if not full and now - batch.since < self._batching.batch_timeout and self.scheduler.arriving():
            return None
        self.waiting.popleft()
        batch.waited = now - batch.since
        for task, _, _ in batch.slices:
            task.begun = True
        return batch

    def _first(self, now):
        """The first waiting batch without requests whose time has passed; None = nothing waits."""
        while self.waiting:
            batch = self.waiting[0]
            late = [task for task, _, _ in batch.slices if task.deadline <= now and not task.begun]
            if not late:
                return batch
            for task in late:
                task.error, task.begun = _late(), True
                self._remove(task)
                task.tell([task])
        return None

    def _enqueue(self, task):
        self.scheduler.require_open()
        own, limit = self._batching, self._batching.rows
        if task.rows > own.max_batch_size and not own.enable_large_batch_splitting:
            raise invalid(f"Task size {task.rows} is larger than maximum input batch size {own.max_batch_size}")
        room = limit - self.waiting[-1].rows if self.waiting else 0
        if not own.enable_large_batch_splitting and task.rows > room:
            room = 0
        more = -(-max(0, task.rows - room) // limit)
        if len(self.waiting) + more > own.max_enqueued_batches:
            raise StatusError(
                Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
            )
        first = 0
        while first < task.rows:
            if room <= 0:
                self.waiting.append(_Batch())
                room = limit
            last = min(task.rows, first + room)
            self.waiting[-1].add(task, first, last)
            first, room = last, 0
        self.scheduler.add(self)

    def _remove(self, task):
        """Takes what waits of a task out of the queue; its rows."""
        before = sum(batch.rows for batch in self.waiting)
        for batch in list(self.waiting):
            batch.remove(task)
            if not batch.slices:
                self.waiting.remove(batch)
        return before - sum(batch.rows for batch in self.waiting)

    # ---- without the lock

    def _outcome(self, batch):
        """For each slice of a batch: ({output: array}, the slice's first row in it), or its own error."""
        try:
            inputs = self._inputs(batch.slices)
        except StatusError as error:
            return [error] * len(batch.slices)
        try:
            if self.scheduler.watch:
                self.scheduler.watch(batch.waited, batch.rows, len(next(iter(inputs.values()))))
            outputs = self._run(inputs)
            _require_rows(inputs, outputs)
            return [(outputs, start) for start in _starts(batch.slices)]
        except _OtherRows as error:
            return [error] * len(batch.slices)
        except StatusError as error:
            return [error] if len(batch.slices) == 1 else [self._alone(one) for one in batch.slices]
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever happened
            return [error] * len(batch.slices)

    def _alone(self, one):
        """One request's fault, such as bytes that are no image, is not that of the others in its batch."""
        try:
            inputs = self._inputs([one])
            outputs = self._run(inputs)
            _require_rows(inputs, outputs)
            return outputs, 0
        except Exception as error:  # noqa: BLE001
            return error

    def _inputs(self, slices):
        """{input: array} of all rows, filled up to an allowed size."""
        rows = sum(last - first for _, first, last in slices)
        short = next((size for size in self._batching.allowed_batch_sizes if size >= rows), rows) - rows
        joined = {}
        for name in slices[0][0].inputs:
            parts = [task.inputs[name][first:last] for task, first, last in slices]
            if len({part.shape[1:] for part in parts}) > 1:
                parts = self._padded(name, parts)
            if short:
                parts.append(np.repeat(parts[0][:1], short, axis=0))
            joined[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined

    def _padded(self, name, parts):
        if not self._batching.pad_variable_length_inputs or len({part.ndim for part in parts}) > 1:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. Set "
                "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                "dimensions starting with the first dim.",
            )
        largest = np.max([part.shape[1:] for part in parts], axis=0)
        fill = b"" if parts[0].dtype == object else 0
        widths = [[(0, 0), *((0, int(most - has)) for most, has in zip(largest, part.shape[1:]))] for part in parts]
        return [np.pad(part, width, constant_values=fill) for part, width in zip(parts, widths)]


def _late():
    return StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")


class _OtherRows(StatusError):
    """Nobody can tell whose rows are whose."""


def _require_rows(inputs, outputs):
    rows = len(next(iter(inputs.values())))
    if any(value.ndim == 0 or len(value) != rows for value in outputs.values()):
        raise _OtherRows(
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        )


def _starts(slices):
    """The row of the batch at which each slice begins."""
    start = 0
    for _, first, last in slices:
        yield start
        start += last - first


def _joined(parts):
    """The rows of a request in their order."""
    if len(parts) == 1:
        return parts[0][1]
    ordered = [outputs for _, outputs in sorted(parts, key=lambda part: part[0])]
    return {name: np.concatenate([outputs[name] for outputs in ordered]) for name in ordered[0]}
