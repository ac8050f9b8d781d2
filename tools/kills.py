"""Kills writing and reading at random moments and checks that nothing is lost, repeated or half there.

    python -m tools.kills --times=50 --log=docs/kills.md

Writing: `tfrecords.write` by one process or, each fourth time, by two more (which a kill leaves behind), killed and
called again until it ends. After every kill there is no data folder, or the old one; shards that were finished keep
their inode; in the end every byte is that of an undisturbed call.
Reading: batches of a sampler with augmentation, whose pixels, rows and labels go into a running digest that is saved
with the next draw's number after every third batch, as a checkpoint would; killed and started again until 60 batches
are read. In the end the digest is that of an undisturbed run: a batch that was left out or taken twice would change it.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import flags

from tfrecords import command, workers
from tfrecords.augment.affine import AffineAugment
from tfrecords.batch import Batches, Images, Table
from tfrecords.decode import Decoder
from tfrecords.read import Records
from tfrecords.samplers.pk import PkSampler
from tfrecords.shards import write_file
from tfrecords.sources.synthetic import SyntheticSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEEN = "image", "label", "index"
BATCHES, SAVED_EVERY = 60, 3


def write_data(out, overwrite, processes):
    """What is killed while it writes: 1,500 images in 30 shards; several processes from the start."""
    workers.PATIENCE = workers.WORTH = 0.0
    print("ready", flush=True)
    write([SyntheticSource("identities", identities=50, images=30, size=32)], out, shards=30, name="set",
          overwrite=overwrite, processes=processes)


def read_data(data, state, cache_mb):
    """What is killed while it reads; `state` is the file that holds the next draw and the digest."""
    records = Records(data)
    images = Images(records, Decoder.of(records.manifest, 24), cache_mb)
    batches = Batches(images, Table(np.arange(records.count), records.column("identity")), PkSampler(32, 4),
                      [AffineAugment(rotate=0.3)], seed=3)
    stored = json.loads(pathlib.Path(state).read_text()) if os.path.exists(state) else {"draw": 0, "digest": ""}
    draw, digest = stored["draw"], stored["digest"]
    print("ready", flush=True)
    for batch in batches.dataset(draw).take(BATCHES - draw).as_numpy_iterator():
        content = b"".join(np.ascontiguousarray(batch[name]).tobytes() for name in SEEN)
        digest, draw = hashlib.sha256(digest.encode() + content).hexdigest(), draw + 1
        if draw % SAVED_EVERY == 0:
            write_file(state, json.dumps({"draw": draw, "digest": digest}))
        time.sleep(0.02)        # a step of training


def start(*words):
    """A process of this file, past its imports."""
    process = subprocess.Popen([sys.executable, "-m", "tools.kills", *map(str, words)], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if process.stdout.readline() != "ready\n":
        raise OSError(f"the process that was to be killed did not start: {process.stderr.read()[-500:]}")
    return process


def killed_or_done(process, seconds):
    """Whether it was killed after so many seconds; an error of its own ends everything."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if code:
        raise OSError(f"the process failed by itself: {process.stderr.read()[-500:]}")
    return False


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def kill_writing(place, times, draw, tell):
    """Raises: AssertionError where anything is lost or half there."""
    spent = {}
    for processes in (1, 2):
        process, begin = start("--write", place / "whole", f"--processes={processes}", "--overwrite"), time.monotonic()
        killed_or_done(process, 1000)
        spent[processes] = time.monotonic() - begin
    whole = contents(place / "whole")
    kills, data, finished, calls = 0, place / "set", {}, 0
    while kills < times:
        calls += 1
        processes = 2 if calls % 4 == 0 else 1
        if killed_or_done(start("--write", data, f"--overwrite={data.exists()}", f"--processes={processes}"),
                          draw.uniform(0.0, spent[processes])):
            kills += 1
            parts = place / "set.writing" / "parts"
            done = [path.stem for path in parts.glob("*.npz")] if parts.exists() else []
            shards = {name: place / "set.writing" / "data" / f"set-{name}-of-00030.tfrecord" for name in done}
            now = {name: shard.stat().st_ino for name, shard in shards.items() if shard.exists()}
            if not (place / "set.writing" / "plan").exists() or not (place / "set.writing" / "data").exists():
                finished = {}                           # it was killed while it took the folder or gave it away
            assert all(now.get(name) == inode for name, inode in finished.items()), "a finished shard was written again"
            # A data folder is the whole one, or the one before it, or there is none.
            assert not data.exists() or contents(data) == whole, "half a data folder"
            tell(f"| writing, processes: {processes} | {kills} | {len(done)} of 30 shards finished |")
            finished = now
        else:
            assert contents(data) == whole, "the bytes differ from those of an undisturbed call"
            assert sorted(path.name for path in place.iterdir()) == ["set", "whole"], "something was left behind"
            if draw.random() < 0.5:
                shutil.rmtree(data)                     # the next call makes it, or replaces it
            finished = {}
    while killed_or_done(start("--write", data, f"--overwrite={data.exists()}"), 1000):
        pass
    assert contents(data) == whole
    return calls


def kill_reading(place, times, draw, tell):
    """Raises: AssertionError where a batch was lost or repeated."""
    process, begin = start("--read", place / "whole", f"--state={place}/undisturbed"), time.monotonic()
    killed_or_done(process, 1000)
    spent = time.monotonic() - begin
    wanted, kills, runs = json.loads((place / "undisturbed").read_text()), 0, 0
    while kills < times:
        state, cache = place / f"state-{runs}", draw.choice([0, 100])
        while killed_or_done(start("--read", place / "whole", f"--state={state}", f"--cache_mb={cache}"),
                             draw.uniform(0.0, spent / 2) if kills < times else 1000):
            kills += 1
            at = json.loads(state.read_text())["draw"] if state.exists() else 0
            tell(f"| reading | {kills} | batch {at} of {BATCHES} saved |")
        assert json.loads(state.read_text()) == wanted, "the batches differ from those of an undisturbed run"
        runs += 1
    return runs


def conclude(lines, log):
    """Prints the last line and writes all to the file `log`, "" = none."""
    print(lines[-1])
    if log:
        os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
        write_file(log, "\n".join(lines) + "\n")


def define_flags():
    flags.DEFINE_integer("times", 50, "Kills of writing, and again of reading.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    flags.DEFINE_string("log", "", "File for the log; default: only the terminal.")
    flags.DEFINE_string("write", "", "Used by this command itself.")
    flags.DEFINE_boolean("overwrite", False, "Used by this command itself.")
    flags.DEFINE_integer("processes", 1, "Used by this command itself.")
    flags.DEFINE_string("read", "", "Used by this command itself.")
    flags.DEFINE_string("state", "", "Used by this command itself.")
    flags.DEFINE_integer("cache_mb", 0, "Used by this command itself.")


def main(_):
    given = flags.FLAGS
    if given.write:
        return write_data(given.write, given.overwrite, given.processes)
    if given.read:
        return read_data(given.read, given.state, given.cache_mb)
    lines = ["# Killed at random moments", "", *__doc__.strip().splitlines()[2:], "", "| what | kill | found |",
             "|---|---|---|"]
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        def tell(line):
            lines.append(line)
            print(line, flush=True)
        calls = kill_writing(pathlib.Path(folder), given.times, draw, tell)
        runs = kill_reading(pathlib.Path(folder), given.times, draw, tell)
    lines += ["", f"{given.times} kills of writing in {calls} calls, {given.times} of reading in {runs} runs, seed "
              f"{given.seed}: nothing lost, nothing repeated, nothing half there."]
    conclude(lines, given.log)


if __name__ == "__main__":
    command.run(main, define_flags)
