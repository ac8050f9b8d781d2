"""Requests that share batches: whose rows are whose, which of them wait for which, and what they are refused."""

import threading
import time

import numpy as np
import pytest

from serving.batching import Batching, Queue, Scheduler
from serving.parameters import parse_parameters
from serving.status import Code, StatusError, invalid


def double(inputs):
    return {"y": 2 * inputs["x"]}


class Held:
    """`double`, but each batch waits until it is let go; the sizes of the batches are kept."""

    def __init__(self):
        self.sizes, self.begun, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, inputs):
        self.sizes.append(len(inputs["x"]))
        self.begun.release()
        assert self.go.acquire(timeout=10)
        return double(inputs)


def asked(queue, *requests, timeout=None):
    """The answers to requests in threads of their own, each sent once the one before waits; errors as they are."""
    answers = [None] * len(requests)

    def ask(place):
        try:
            answers[place] = queue({"x": np.array(requests[place])}, timeout)["y"].tolist()
        except StatusError as error:
            answers[place] = error
    threads = []
    for place in range(len(requests)):
        threads.append(threading.Thread(target=ask, args=[place], daemon=True))
        entered = queue.entered
        threads[-1].start()
        until(lambda entered=entered, place=place: queue.entered > entered and queue.is_settled() or
              answers[place] is not None)
    return threads, answers


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited for 10 s"
        time.sleep(0.001)


class Watched(Queue):
    """A queue that counts what it takes and what runs."""

    entered = begun = ended = 0

    def is_settled(self):
        """Whether what waits stays where it is until something happens."""
        return not self.waiting or self.begun - self.ended == self.scheduler._most or self.scheduler.arriving()

    def run(self, batch):
        super().run(batch)
        self.ended += 1

    def begin(self, now):
        batch = super().begin(now)
        self.begun += batch is not None
        return batch

    def _enqueue(self, task):
        super()._enqueue(task)
        self.entered += 1


def queue_of(run, arriving=lambda: 0, **words):
    words = {"num_batch_threads": 1, **words}
    return Watched(run, Batching(**words), Scheduler(words["num_batch_threads"], arriving))


def finish(threads):
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_lone_request_runs_at_once():
    queue = queue_of(double, batch_timeout=60.0)
    started = time.monotonic()
    assert queue({"x": np.arange(3)})["y"].tolist() == [0, 2, 4]
    assert time.monotonic() - started < 30


def test_what_comes_while_a_batch_runs_is_joined_and_each_gets_its_rows():
    run = Held()
    queue = queue_of(run, max_batch_size=4)
    threads, answers = asked(queue, [1], [2, 3], [4], [5, 6], [7, 8])
    for _ in range(4):
        run.go.release()
    finish(threads)
    assert answers == [[2], [4, 6], [8], [10, 12], [14, 16]]
    assert run.sizes == [1, 3, 4]       # [2, 3], [4]; a request is not cut, so [5, 6] begins the next


def test_several_batches_run_at_a_time_and_no_more():
    run = Held()
    queue = queue_of(run, max_batch_size=1, num_batch_threads=2)
    threads, answers = asked(queue, [1], [2], [3])
    assert run.begun.acquire(timeout=10) and run.begun.acquire(timeout=10)
    assert not run.begun.acquire(timeout=0.05)
    for _ in range(3):
        run.go.release()
    finish(threads)
    assert answers == [[2], [4], [6]]


def test_others_on_their_way_are_waited_for_until_the_batch_is_full_or_old():
    run, coming = Held(), [1]
    queue = queue_of(run, lambda: coming[0], max_batch_size=2, batch_timeout=60.0)
    threads, answers = asked(queue, [1], [2])
    run.go.release()
    finish(threads)
    assert run.sizes == [2] and answers == [[2], [4]]
    queue = queue_of(run, lambda: coming[0], max_batch_size=2, batch_timeout=0.02)
    threads, answers = asked(queue, [5])
    run.go.release()
    finish(threads)
    assert run.sizes == [2, 1] and answers == [[10]]


def test_queues_take_turns():
    scheduler, order = Scheduler(1), []
    gate = threading.Event()

    def run(name):
        def one(inputs):
            gate.wait(10)
            order.append(name)
            return double(inputs)
        return one
    queues = {name: Queue(run(name), Batching(max_batch_size=1), scheduler) for name in "ab"}
    told = threading.Semaphore(0)
    for name in "aaabbb":
        queues[name].submit({"x": np.array([1])}, lambda tasks: told.release())
    scheduler.wake()
    gate.set()
    assert all(told.acquire(timeout=10) for _ in range(6))
    assert "".join(order) == "ababab"


def test_a_full_queue_and_a_large_request_are_refused_at_once():
    run = Held()
    queue = queue_of(run, max_batch_size=2, max_enqueued_batches=1)
    threads, answers = asked(queue, [1, 1], [2], [3, 3], [4])
    assert (answers[2].code, answers[2].message) == (
        Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
    for _ in range(2):
        run.go.release()
    finish(threads)
    assert answers[0] == [2, 2] and answers[1] == [4] and answers[3] == [8] and run.sizes == [2, 2]
    with pytest.raises(StatusError, match="Task size 3 is larger than maximum input batch size 2"):
        queue({"x": np.arange(3)})


def test_a_large_request_is_split_and_put_together():
    run = Held()
    queue = queue_of(run, max_batch_size=4, max_execution_batch_size=3, enable_large_batch_splitting=True)
    threads, answers = asked(queue, [0], [1, 2, 3, 4, 5, 6, 7, 8], [9])
    for _ in range(4):
        run.go.release()
    finish(threads)
    assert answers == [[0], [2, 4, 6, 8, 10, 12, 14, 16], [18]] and run.sizes == [1, 3, 3, 3]


def test_allowed_sizes_are_filled_with_the_first_row():
    seen = []
    queue = queue_of(lambda inputs: seen.append(inputs["x"].tolist()) or double(inputs), max_batch_size=4,
                     allowed_batch_sizes=(2, 4))
    assert queue({"x": np.array([5])})["y"].tolist() == [10]
    assert queue({"x": np.array([5, 6, 7])})["y"].tolist() == [10, 12, 14]
    assert seen == [[5, 5], [5, 6, 7, 5]]


def test_a_deadline_that_passes_in_the_queue_ends_one_request_only():
    run = Held()
    queue = queue_of(run, max_batch_size=2)
    first, one = asked(queue, [1])
    late, two = asked(queue, [2], timeout=0.02)
    other, three = asked(queue, [3])
    finish(late)
    assert two[0].code == Code.RESOURCE_EXHAUSTED
    assert two[0].message == "Run() timeout exceeded while waiting in batching queue"
    for _ in range(2):
        run.go.release()
    finish(first + other)
    assert one == [[2]] and three == [[6]] and run.sizes == [1, 1] and not queue.waiting


def test_one_bad_request_does_not_spoil_its_batch():
    gate = threading.Event()

    def run(inputs):
        gate.wait(10)
        if (inputs["x"] < 0).any():
            raise invalid("x is below 0")
        return double(inputs)
    queue = queue_of(run, max_batch_size=8)
    threads, answers = asked(queue, [1], [2], [-3], [4])
    gate.set()
    finish(threads)
    assert answers[0] == [2] and answers[1] == [4] and answers[3] == [8]
    assert answers[2].code == Code.INVALID_ARGUMENT and answers[2].message == "x is below 0"


def test_an_unforeseen_failure_reaches_everyone_and_the_queue_goes_on():
    faults = [True]

    def run(inputs):
        if faults.pop() if faults else False:
            raise RuntimeError("broken")
        return double(inputs)
    queue = queue_of(run)
    with pytest.raises(RuntimeError, match="broken"):
        queue({"x": np.arange(2)})
    assert queue({"x": np.arange(2)})["y"].tolist() == [0, 2]


def test_outputs_that_are_no_row_an_input_are_nobodys():
    gate = threading.Event()

    def run(inputs):
        gate.wait(10)
        return {"y": np.unique(inputs["x"])}
    queue = queue_of(run, max_batch_size=8)
    threads, answers = asked(queue, [1], [2], [2])
    gate.set()
    finish(threads)
    assert answers[0] == [1]
    for error in answers[1:]:
        assert error.code == Code.FAILED_PRECONDITION and "0th dimension does not equal the sum" in error.message


def test_what_leaves_the_queue_does_not_run():
    run = Held()
    queue = queue_of(run, max_batch_size=8)
    threads, answers = asked(queue, [1])
    task = queue.submit({"x": np.array([2])}, lambda tasks: None)
    queue.scheduler.wake()
    assert queue.leave(task) and not queue.waiting
    run.go.release()
    finish(threads)
    assert answers == [[2]] and run.sizes == [1]


def test_threads_end_once_nothing_waits():
    scheduler = Scheduler(2)
    queue = Queue(double, Batching(), scheduler)
    assert queue({"x": np.arange(2)})["y"].tolist() == [0, 2]
    scheduler.close()
    finish(scheduler._threads)
    with pytest.raises(StatusError, match="The server is stopping"):
        queue({"x": np.arange(2)})


def test_a_batch_does_not_wait_for_somebody_who_comes_no_more():
    coming = [1]
    queue = queue_of(double, lambda: coming[0], batch_timeout=60.0, max_batch_size=2)
    threads, answers = asked(queue, [1])
    assert answers == [None]
    coming[0] = 0
    queue.scheduler.wake()
    finish(threads)
    assert answers == [[2]]


@pytest.mark.parametrize("pad", [False, True])
def test_unequal_shapes_meet_in_a_batch(pad):
    gate, seen = threading.Event(), []

    def run(inputs):
        gate.wait(10)
        seen.append(inputs["x"].shape)
        return {"y": inputs["x"].sum((1, 2))}
    queue = queue_of(run, max_batch_size=8, pad_variable_length_inputs=pad)
    threads, answers = asked(queue, np.ones([1, 1, 1]), np.ones([1, 2, 3]), np.ones([1, 3, 2]))
    gate.set()
    finish(threads)
    assert answers[0] == [1]
    if pad:
        assert answers[1:] == [[6], [6]] and seen[1] == (2, 3, 3)
    else:
        for error in answers[1:]:
            assert error.code == Code.FAILED_PRECONDITION
            assert "different shapes and padding is turned off" in error.message


def test_many_threads_get_their_own_rows_whatever_meets():
    random, wrong = np.random.default_rng(0), []
    scheduler = Scheduler(2)

    def run(inputs):
        time.sleep(random.choice([0, 0.0005]))
        if (inputs["x"] == 13).any():
            raise invalid("thirteen")
        return double(inputs)
    queues = [Queue(run, Batching(max_batch_size=4, max_enqueued_batches=1000, enable_large_batch_splitting=True,
                                  allowed_batch_sizes=(1, 3, 4)), scheduler) for _ in range(3)]

    def ask(seed):
        own = np.random.default_rng(seed)
        for _ in range(40):
            x = own.integers(0, 200, own.integers(1, 9))
            try:
                answer = queues[own.integers(3)]({"x": x}, own.choice([None, 5.0]))["y"]
                if 13 in x or not np.array_equal(answer, 2 * x):
                    wrong.append((x, answer))
            except StatusError as error:
                if 13 not in x:
                    wrong.append((x, error))
    threads = [threading.Thread(target=ask, args=[seed], daemon=True) for seed in range(16)]
    for thread in threads:
        thread.start()
    finish(threads)
    assert not wrong and not any(queue.waiting for queue in queues)


@pytest.mark.parametrize("words, told", [
    ({"max_batch_size": 0}, "`max_batch_size` is 0"),
    ({"batch_timeout": -1e-6}, "`batch_timeout_micros`"),
    ({"allowed_batch_sizes": (2, 2), "max_batch_size": 2}, "monotonically increasing"),
    ({"allowed_batch_sizes": (2, 4), "max_batch_size": 8},
     "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8"),
    ({"max_execution_batch_size": 9, "max_batch_size": 8}, "at most max_batch_size, 8"),
])
def test_refused_parameters(words, told):
    with pytest.raises(ValueError, match=told):
        Batching(**words)


def test_parameters_are_read_as_tf_serving_writes_them():
    assert Batching.of(parse_parameters("BatchingParameters", "")) == Batching()
    text = """max_batch_size { value: 8 } batch_timeout_micros { value: 1500 } num_batch_threads { value: 3 }
        max_enqueued_batches { value: 7 } allowed_batch_sizes: 2 allowed_batch_sizes: 4
        pad_variable_length_inputs: true enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 4 } thread_pool_name { value: "pool" }"""
    assert Batching.of(parse_parameters("BatchingParameters", text)) == Batching(8, 0.0015, 7, 3, (2, 4), True, True, 4)
    with pytest.raises(ValueError, match="^here: Error parsing text-format tensorflow.serving.BatchingParameters"):
        parse_parameters("BatchingParameters", "max_batch_size: 8", "here: ")
