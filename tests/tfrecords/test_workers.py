"""Several processes write the bytes that one would; one that is killed is told, and its work goes on."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from tfrecords import workers
from tfrecords.read import Records
from tfrecords.shards import Plan, Workplace, assemble
from tfrecords.sources.npz import NpzSource
from tfrecords.write import write


class Bar:
    def __init__(self):
        self.done = 0

    def at(self, done):
        self.done = done

    def tick(self, steps=1):
        self.done += steps


@pytest.fixture
def place(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (300, 6, 6)).astype(np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(300) % 7)
    return tmp_path


def work(place, processes, bar, monkeypatch, patience=0.0, worth=0.0):
    monkeypatch.setattr(workers, "PATIENCE", patience)
    monkeypatch.setattr(workers, "WORTH", worth)
    plan = Plan([NpzSource(place / "set.npz")], "set", shards=4)
    with Workplace(str(place / "two"), plan, False) as workplace:
        workers.write_shards(plan, workplace.folder, processes, bar)
        assemble(plan, workplace.folder)
        workplace.publish()


def test_two_processes_write_the_bytes_of_one(place, monkeypatch):
    write([NpzSource(place / "set.npz")], place / "one", shards=4, name="set")
    bar = Bar()
    work(place, 2, bar, monkeypatch)
    first, second = ({path.name: path.read_bytes() for path in (place / name).iterdir()} for name in ("one", "two"))
    assert first == second and bar.done == 300


def test_others_help_only_where_it_takes_long(place, monkeypatch):
    monkeypatch.setattr(workers, "_write_together", lambda *_: pytest.fail("others were started"))
    work(place, 2, Bar(), monkeypatch, patience=0.0, worth=1e6)
    assert Records(place / "two").count == 300


@pytest.mark.slow
def test_a_killed_process_is_told_and_the_work_goes_on(place, monkeypatch):
    def kill_one():
        for _ in range(600):
            time.sleep(0.05)
            for child in os.popen(f"ps -o pid= --ppid {os.getpid()}").read().split():
                try:
                    with open(f"/proc/{child}/cmdline") as file:
                        if "spawn_main" in file.read():
                            return os.kill(int(child), signal.SIGKILL)
                except OSError:
                    pass

    thread = threading.Thread(target=kill_one)
    thread.start()
    with pytest.raises(OSError, match="was ended from outside .* finished shards are kept"):
        work(place, 2, Bar(), monkeypatch)
    thread.join()
    work(place, 1, Bar(), monkeypatch)
    assert Records(place / "two").count == 300
    Records(place / "two").verify()
