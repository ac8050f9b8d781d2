"""Requests to one signature joined into batches: in come inputs of single requests, out go their rows of one answer.

There is no thread of its own and no hand-over for a lone request: the thread of a request whose batch may run runs it,
and then gives the next batch to a thread that waits for it.
"""

import collections
import dataclasses
import math
import os
import threading
import time

import numpy as np

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
    """The places in which batches of all queues run, queues in turn.

    Args:    threads: batches that run at a time; 0 = one a CPU.
             arriving: () -> requests under way in the server that may still join some queue; while there are any, a
             batch that is not full waits for them as long as `batch_timeout` allows.
    """

    def __init__(self, threads=0, arriving=lambda: 0):
        self.lock = threading.Lock()
        self.arriving = arriving
        self.watch = None  # (seconds that the oldest request waited, rows, rows with those filled up) -> None
        self._free = threads or os.cpu_count() or 1
        self._queues = collections.OrderedDict()  # those with waiting batches, whose turn is next first

    def add(self, queue):
        self._queues.setdefault(queue)

    def dispatch(self):
        """Gives every batch that may run now to a thread that waits for it. Under the lock."""
        for queue in list(self._queues):
            while self._free and (batch := queue.ready()) is not None:
                runner = next((task for task in batch.tasks if task.idle), None)
                if runner is None:  # all of them run other batches, and look again afterwards
                    break
                queue.begin(batch)
                self._free -= 1
                self._queues.move_to_end(queue)
                runner.idle, runner.duty = False, batch
                runner.wake.set()
            if not queue.waiting:
                del self._queues[queue]

    def waiting_batches(self):
        """Batches that wait in all queues."""
        with self.lock:
            return sum(len(queue.waiting) for queue in self._queues)

    def release(self):
        """A batch has run. Under the lock."""
        self._free += 1


class _Task:
    """A request in a queue: its inputs, what its thread is to do, and its parts of the answer as they come."""

    def __init__(self, inputs, rows, deadline):
        self.inputs, self.rows, self.deadline = inputs, rows, deadline
        self.begun = False  # whether a batch with rows of it runs or ran
        self.idle, self.duty, self.wake = True, None, threading.Event()
        self.left, self.parts, self.error = rows, [], None

    @property
    def done(self):
        return self.left == 0 or self.error is not None


class _Batch:
    """Slices of tasks that run together: [(task, from row, to row)]."""

    def __init__(self):
        self.slices, self.rows, self.since, self.waited = [], 0, time.monotonic(), 0.0

    @property
    def tasks(self):
        return [task for task, _, _ in self.slices]

    def add(self, task, first, last):
        self.slices.append((task, first, last))
        self.rows += last - first


class Queue:
    """The batches of one signature of one version.

    Args:    run: ({input: array [n, ...]}) -> {output: array [n, ...]}, or raises StatusError.
             batching: Batching.  scheduler: shared by all queues.
             arrived: called by a request's thread once the request waits here, no longer on its way.
    """

    def __init__(self, run, batching, scheduler, arrived=lambda: None):
        self._run, self._batching, self._scheduler, self._arrived = run, batching, scheduler, arrived
        self.waiting = collections.deque()

    def __call__(self, inputs, timeout=None):
        """The answer to one request, {output: array [n, ...]}.

        Args:   inputs: {input: array [n, ...]} of one n.  timeout: seconds the request may wait in the
                queue; None = as long as it takes.
        Raises: StatusError with TF Serving's code and text: INVALID_ARGUMENT for more rows than a batch holds,
                UNAVAILABLE where the queue is full, RESOURCE_EXHAUSTED where the time passed before its turn.
        """
        rows = len(next(iter(inputs.values())))
        if not rows:
            return self._run(inputs)
        task = _Task(inputs, rows, math.inf if timeout is None else time.monotonic() + timeout)
        with self._scheduler.lock:
            self._enqueue(task)
            self._arrived()
            self._scheduler.dispatch()
            pause = self._pause(task)
        while True:
            task.wake.wait(pause)
            with self._scheduler.lock:
                task.wake.clear()
                batch, task.duty = task.duty, None
                if batch is None:
                    if not task.done and not task.begun and time.monotonic() >= task.deadline:
                        task.error = StatusError(
                            Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"
                        )
                    if task.done:
                        self._leave(task)
                        break
                    self._scheduler.dispatch()  # its batch may have waited long enough
                    pause = self._pause(task)
                    continue
            outcome = self._outcome(batch)
            with self._scheduler.lock:
                self._scheduler.release()
                self._tell(batch, outcome)
                task.idle = not task.done
                if task.done:
                    self._leave(task)
                self._scheduler.dispatch()
                if task.done:
                    break
                pause = self._pause(task)
        if task.error is not None:
            raise task.error
        return _joined(task.parts)

    # ---- under the scheduler's lock

    def ready(self):
        """The first batch where it may run now, else None."""
        batch = self.waiting[0] if self.waiting else None
        if batch is None:
            return None
        full = len(self.waiting) > 1 or batch.rows >= self._batching.rows
        if full or time.monotonic() - batch.since >= self._batching.batch_timeout or not self._scheduler.arriving():
            return batch
        return None

    def begin(self, batch):
        self.waiting.remove(batch)
        batch.waited = time.monotonic() - batch.since
        for task in batch.tasks:
            task.begun = True

    def _enqueue(self, task):
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
        self._scheduler.add(self)

    def _leave(self, task):
        """Nothing of a task waits any more."""
        task.idle = False
        if not task.left:  # all of its rows ran, as those of nearly every task
            return
        for batch in [batch for batch in self.waiting if task in batch.tasks]:
            batch.rows -= sum(last - first for own, first, last in batch.slices if own is task)
            batch.slices = [one for one in batch.slices if one[0] is not task]
            if not batch.slices:
                self.waiting.remove(batch)
            else:
                batch.tasks[0].wake.set()  # the first task of a batch is the one that looks after its time

    def _pause(self, task):
        """Seconds until this thread must look again by itself; None = it is woken."""
        now, until = time.monotonic(), math.inf if task.begun else task.deadline
        for batch in self.waiting:
            due = batch.since + self._batching.batch_timeout
            if batch.tasks[0] is task and due > now:
                until = min(until, due)
        return None if until == math.inf else max(0.0, until - now)

    def _tell(self, batch, outcome):
        for (task, first, last), found in zip(batch.slices, outcome):
            if isinstance(found, Exception):
                task.error = task.error or found
            else:
                outputs, start = found
                rows = slice(start, start + last - first)
                task.parts.append((first, {name: value[rows] for name, value in outputs.items()}))
                task.left -= last - first
            if task.done:
                task.wake.set()

    # ---- without the lock

    def _outcome(self, batch):
        """For each slice of a batch: ({output: array}, the slice's first row in it), or its own error."""
        try:
            inputs = self._inputs(batch.slices)
        except StatusError as error:
            return [error] * len(batch.slices)
        try:
            if self._scheduler.watch:
                self._scheduler.watch(batch.waited, batch.rows, len(next(iter(inputs.values()))))
            outputs = self._run(inputs)
            return [(outputs, start) for start in _starts(batch.slices)]
        except StatusError as error:
            return [error] if len(batch.slices) == 1 else [self._alone(one) for one in batch.slices]
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever happened
            return [error] * len(batch.slices)

    def _alone(self, one):
        """One request's fault, such as bytes that are no image, is not that of the others in its batch."""
        try:
            return self._run(self._inputs([one])), 0
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
