"""The shards of a plan, written by this process or by several."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import tensorflow as tf

from tfrecords.shards import is_finished, working, write_shard

PATIENCE = 3.0      # seconds after which it is judged whether other processes would help
WORTH = 20.0        # seconds of work left for which they would: starting them takes some


class _Stopped(Exception):
    """No more is wanted of this process."""


_mine = {}          # of a worker process: its plan, folder, counter and sign to stop


def write_shards(plan, folder, processes, bar):
    """Writes all shards that are not finished yet.

    Args:    plan, folder: as `write_shard` takes them.
             bar: its `tick(steps)` is called while images are written, and `at(images)` where that starts anew.
    Raises:  ValueError or OSError of the first shard that failed.
    """
    try:
        _write_alone(plan, folder, bar, processes > 1)
    except _Stopped:
        _write_together(plan, folder, processes, bar)


def _todo(plan, folder, bar):
    todo = [number for number in range(plan.shards) if not is_finished(plan, number, folder)]
    bar.at(plan.count * (plan.shards - len(todo)) // plan.shards)
    return todo


def _write_alone(plan, folder, bar, may_stop):
    """Writes all shards here; _Stopped where others may help and it takes long."""
    todo = _todo(plan, folder, bar)
    begin, count, done = time.monotonic(), plan.count * len(todo) // plan.shards, 0

    def tick():
        nonlocal done
        bar.tick()
        done += 1
        spent = time.monotonic() - begin
        if may_stop and spent > PATIENCE and spent / done * (count - done) > WORTH:
            raise _Stopped

    for number in todo:
        write_shard(plan, number, folder, tick)


def _write_together(plan, folder, processes, bar):
    todo = _todo(plan, folder, bar)
    processes = min(processes, len(todo))
    context = multiprocessing.get_context("spawn")          # TensorFlow does not survive a fork
    counter, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(processes, context, _start, (plan, folder, counter, stop, os.getpid()))
    try:
        pending, seen = {pool.submit(_write, number) for number in todo}, 0
        while pending:
            done, pending = wait(pending, 0.5, FIRST_EXCEPTION)
            now = counter.value
            bar.tick(now - seen)
            seen = now
            for shard in done:
                shard.result()
    except BrokenProcessPool:
        raise OSError("a process that wrote shards was ended from outside (is memory short?); start again, with fewer "
                      "--processes: finished shards are kept.") from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _start(plan, folder, counter, stop, owner):
    signal.signal(signal.SIGINT, signal.SIG_IGN)            # the owner is interrupted too and stops this process
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    _mine.update(plan=plan, folder=folder, counter=counter, stop=stop)


def _end_with(owner):
    """Ends this process soon after its owner has ended, however that happened."""
    while os.getppid() == owner:
        time.sleep(0.2)
    os._exit(1)


def _write(number):
    def tick():
        if _mine["stop"].is_set():
            raise _Stopped
        with _mine["counter"].get_lock():
            _mine["counter"].value += 1

    with working(_mine["folder"]):
        write_shard(_mine["plan"], number, _mine["folder"], tick)
