"""Kills trainings at random moments and checks that the weights in the end are those of an undisturbed one, bit by bit.

    python -m tools.train_kills --times=50 --log=docs/train_kills.md

The handwritten digits' config with everything that draws numbers switched on (augmentation, turned classes, dropout,
Adam, averaged weights), cut down to 300 steps of a small net with a checkpoint every 10, under --strategy=one, mirrored
(2 replicas) and multi_worker (2 processes of `keras_apps.launch`, of which one is killed, or the launcher with both).
A run is killed about every 75 steps, now and then while it starts, and the same command given again until it ends; one
kill in five is a SIGTERM, which must save the step it was at, say so, and leave with exit code 143. Then everything in
the last checkpoint is compared: weights, averages, optimizer slots, step, random state, facts and config.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import flags

from keras_apps.checkpoints import Host
from keras_apps.initial import HOST
from tfrecords import command
from tfrecords.sources.digits import DigitsSource
from tfrecords.write import write
from tools.kills import conclude

ROOT = pathlib.Path(__file__).resolve().parents[1]
STRATEGIES = ("one", "mirrored", "multi_worker")
STEPS, SAVED_EVERY = 300, 10
CHANGES = {"steps": STEPS, "checkpoint_every": SAVED_EVERY, "log_every": 20, "batch": 32,
           "schedule": "cosine(warmup=5)", "backbone": "small_cnn(widths=(8, 16, 16))", "embedding": 32,
           "data.test_images": 100}


def words(strategy, data, workdir):
    """The command that is killed and given again."""
    train = [f"--config={ROOT}/keras_apps/configs/verification/digits.py", f"--data={data}", f"--workdir={workdir}",
             "--models=", *(f"--config.{key}={value}" for key, value in CHANGES.items())]
    if strategy == "multi_worker":
        return [sys.executable, "-m", "keras_apps.launch", "--workers=2", "--", *train]
    return [sys.executable, "-m", "keras_apps.train", *train, f"--strategy={strategy}",
            f"--replicas={2 if strategy == 'mirrored' else 0}"]


class Training:
    """One call of the command, its messages in a file."""

    def __init__(self, strategy, data, workdir, log):
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(words(strategy, data, workdir), cwd=ROOT, stdout=file, stderr=file,
                                            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})

    def children(self):
        """Processes that a launcher has started."""
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def wait(self, seconds):
        """The exit code, None where it still runs after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def says(self, words):
        return words in self.log.read_text()

    def fail(self, what):
        raise AssertionError(f"{what}; its last words: {self.log.read_text()[-1500:]}")


def tensors(workdir):
    """{key: array} of the last checkpoint; what holds a clock or a path is not among them."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(workdir / "checkpoints")))
    found = {key: reader.get_tensor(key) for key in sorted(reader.get_variable_to_shape_map())
             if not key.startswith(("_CHECKPOINTABLE", "save_counter"))}
    words, arrays = Host.read(found.pop(HOST))      # a zip, which holds the time it was made
    return {**found, "host": json.dumps(words, sort_keys=True).encode(), **{
        f"host/{name}": arrays[name] for name in arrays.files}}


def step_of(workdir):
    found = re.search(r"ckpt-(\d+)", tf.train.latest_checkpoint(str(workdir / "checkpoints")) or "")
    return int(found[1]) if found else 0


def undisturbed(strategy, data, place):
    """The tensors and the seconds of a run that nobody kills."""
    training, begin = Training(strategy, data, place / "whole", place / "log"), time.monotonic()
    if training.wait(900) != 0:
        training.fail(f"the undisturbed run under {strategy} did not end well")
    return tensors(place / "whole"), time.monotonic() - begin


def until(training, workdir, draw, seconds):
    """Waits for a random moment: while it starts, or some time after a checkpoint within the next half of the steps.

    Returns: "starting", "training", or None where the run has ended, or is so near to it that it shall.
    """
    if draw.random() < 0.15:
        return "starting" if training.wait(draw.uniform(0.0, 0.4) * seconds) is None and step_of(workdir) == 0 else None
    wanted = step_of(workdir) + draw.randint(1, STEPS // 2)
    if wanted > STEPS - 3 * SAVED_EVERY:
        return None
    while step_of(workdir) < wanted:
        if training.wait(0.02) is not None:
            return None
    return "training" if training.wait(draw.uniform(0.0, 0.2)) is None else None


def kill(training, strategy, draw, gently):
    """One signal; returns whom it hit, None where the run was over."""
    number, target, whom = signal.SIGTERM if gently else signal.SIGKILL, training.process.pid, "the process"
    children = training.children() if strategy == "multi_worker" else []
    if children and (gently or draw.random() < 0.7):
        target = draw.choice(children)
        whom = f"worker {children.index(target)} of {len(children)}"
    elif strategy == "multi_worker":
        whom = "the launcher"
    if training.process.poll() is not None:
        return None
    os.kill(target, number)
    return whom


def kill_training(strategy, data, place, times, draw, tell):
    """Raises: AssertionError where the weights differ in a single bit, or a signal is not obeyed."""
    wanted, seconds = undisturbed(strategy, data, place)
    kills, runs = 0, 0
    while kills < times:
        workdir, runs = place / f"run{runs}", runs + 1
        while True:
            training, gently = Training(strategy, data, workdir, place / "log"), draw.random() < 0.2
            when, whom = kills < times and until(training, workdir, draw, seconds), None
            if when:
                before = step_of(workdir)
                whom = kill(training, strategy, draw, gently)
            code = training.wait(900)
            if whom is None:
                if code != 0:
                    training.fail(f"a run under {strategy} ended by itself with {code}")
                break
            kills += 1
            after = step_of(workdir)
            obeyed = code == 143 and training.says(f"step {after} of {STEPS} is saved")
            if gently and when == "training" and not obeyed:
                training.fail(f"SIGTERM at step {before} was answered with {code}, saved was {after}")
            name = "SIGTERM" if gently else "SIGKILL"
            tell(f"| {strategy} | {kills} | {name} to {whom}, {when} | {before} | {after} | {code} |")
        found = tensors(workdir)
        assert list(found) == list(wanted), f"other tensors under {strategy}"
        for key, value in wanted.items():
            same = value == found[key] if isinstance(value, bytes) else np.array_equal(value, found[key])
            assert same, f"{key} differs under {strategy}"
        tell(f"| {strategy} | - | ended; {len(found)} tensors identical | | {step_of(workdir)} | 0 |")
        shutil.rmtree(workdir)
    return runs


def define_flags():
    flags.DEFINE_integer("times", 50, "Kills in all, dealt over the strategies.", lower_bound=3)
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    flags.DEFINE_string("log", "", "File for the log; default: only the terminal.")


def main(_):
    given = flags.FLAGS
    lines = ["# Trainings killed at random moments", "", *__doc__.strip().splitlines()[2:], "",
             "| strategy | kill | signal | saved step before | after | exit code |", "|---|---|---|---|---|---|"]
    draw, total, runs = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        write([DigitsSource()], place / "digits", shards=8)

        def tell(line):
            lines.append(line)
            print(line, flush=True)
        for number, strategy in enumerate(STRATEGIES):
            times = given.times // 3 + (number < given.times % 3)
            (place / strategy).mkdir()
            runs += kill_training(strategy, place / "digits", place / strategy, times, draw, tell)
            total += times
    lines += ["", f"{total} kills in {runs} runs, seed {given.seed}: identical tensors each time."]
    conclude(lines, given.log)


if __name__ == "__main__":
    command.run(main, define_flags)
