"""Cells of a grid of trainings, for claims and sweeps: each a `keras_apps.train` in a process of its own.

A cell goes on where it was stopped, and its result is read from its workdir. The training itself holds a lock: where it
outlives its caller, the next call waits for it instead of training beside it.
"""

import contextlib
import dataclasses
import fcntl
import itertools
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys

from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from keras_apps.build import ROOT
from keras_apps.config import changed, explain, to_json
from keras_apps.run import read_json


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training.

    Args:    name: shown while it runs.  config: file.  data: folder of `tfrecords.write`.  workdir: as `train` has it.
             words: further flags of `keras_apps.train`, each `--name=value`.
    """

    name: str
    config: str
    data: str
    workdir: str
    words: tuple = ()


def config_of(config, words):
    """The plain config that `train` makes of a file and the words `--config.key=value`; other words are left alone.

    Raises:  ValueError for a key or a value that the config does not take.
    """
    if not os.path.isfile(config):
        raise ValueError(f"`--config` is `{config}` but there is no such file; give one of keras_apps/configs/<app>/.")
    typed = ["train", f"--config={config}", *(word for word in words if word.startswith("--config."))]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=typed)
    try:
        values(typed)
        return json.loads(to_json(values.config))
    except Exception as error:
        sentence = explain(error, typed) or (isinstance(error, flags.Error) and str(error))
        if not sentence:
            raise
        raise ValueError(sentence) from error


def train(cell, show=lambda text: None):
    """Trains a cell, from its checkpoint where it has one.

    Args:    show: takes "step of steps" now and then.
    Returns: evaluation.json, and of the last logged step `loss`, as one dictionary.
    Raises:  OSError with the training's own sentence where it fails or is cut off.
    """
    workdir = pathlib.Path(cell.workdir).absolute()
    workdir.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "keras_apps.train", f"--config={os.path.abspath(cell.config)}",
               f"--data={os.path.abspath(cell.data)}", f"--workdir={workdir}", "--models=", *cell.words]
    said = workdir.with_name(f"{workdir.name}.log")
    with _lock(workdir) as lock, open(said, "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   pass_fds=(lock,))
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                show(_position(workdir))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        lines = said.read_text(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
        raise OSError(f"the training of {cell.name} failed: {lines[-1].removeprefix('error: ')}")
    found = result(workdir)
    if found is None:
        raise OSError(f"the training of {cell.name} was cut off by --max_minutes; the same command goes on with it.")
    return found


def result(workdir):
    """What a finished training found; None where it has not ended."""
    found = read_json(os.path.join(workdir, "evaluation.json"))
    last = _last_row(workdir)
    losses = [value for name, value in last.items() if re.fullmatch(r"(?!rate/)[^/]+/loss", name)]
    if found and found.get("ended") == "time":
        return None         # --max_minutes cut it off: the same command goes on
    if found and losses:
        found["loss"] = losses[-1]
    return found


def finished(cell, data_sha256):
    """`result` of a cell; None where it has not ended.

    Raises:  ValueError where it is one of another config, or of other data than those of that hash.
    """
    found = result(cell.workdir)
    if found:
        stored = read_json(os.path.join(cell.workdir, "config.json")) or {}
        others = [f"`{key}`" for key in changed(stored, config_of(cell.config, cell.words))]
        if found["data_sha256"] != data_sha256:
            others.append("data set")
        if others:
            raise ValueError(f"{cell.workdir} holds a training with another {', '.join(others)}; use another --out, or "
                             "remove that folder.")
    return found


def require_words(words):
    """Refuses words behind `--` that `keras_apps.train` does not take.   Raises: ValueError."""
    for word in words:
        if not word.startswith("--") or "=" not in word:
            raise ValueError(f"`{word}` is not a flag of `keras_apps.train`; every setting is written --name=value.")


def explain_words(error, argv):
    """A better sentence for a flag of the trainings that was typed as one of the command's own."""
    if isinstance(error, flags.UnrecognizedFlagError):
        name = error.flagname
        word = next((word for word in argv if word.lstrip("-").partition("=")[0] == name), "")
        return (f"`--{name}` is not a flag of this command; flags of `keras_apps.train` come last, after two dashes "
                f"that stand alone: -- {word}")
    return explain(error, argv)


def data_sha(data):
    """The hash of the data in a folder.   Raises: ValueError where it holds none."""
    manifest = read_json(os.path.join(data, "manifest.json"))
    if manifest is None:
        raise ValueError(f"`--data` is `{data}` but holds no manifest.json; write it by `python -m tfrecords.write`.")
    return manifest["data_sha256"]


def call(module, *words):
    """Runs another command of the project.   Raises: OSError with its last line where it fails."""
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        raise OSError(lines[-1].removeprefix("error: "))


@contextlib.contextmanager
def watching(count):
    """Yields (name) -> show for `train`: a bar over the cells on a terminal, a line a cell elsewhere."""
    console = Console(stderr=True)
    numbers = itertools.count()
    with Progress(TextColumn("trainings"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
                  console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count, text="")

        def begin(name):
            number = next(numbers)
            if bar.disable:
                print(f"{number + 1} of {count}: {name}", file=sys.stderr, flush=True)
            bar.update(task, completed=number, text=name)
            return lambda text: bar.update(task, text=f"{name}  {text}")
        yield begin


def machine():
    """The machine's kind, such as "2 cores of an AMD EPYC"."""
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
        model = re.sub(r"\((R|TM)\)|\s+(CPU|Processor|\d+-Core).*", "", model)
        cores = len(os.sched_getaffinity(0))
        article = "an" if model[:1] in "AEIOUaeiou" else "a"
        return f"{cores} core{'s' if cores > 1 else ''} of {article} {model}"
    return f"{os.cpu_count()} cores"


def spread(values):
    """Standard deviation over seeds (n - 1); 0 of a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def figure(values):
    """Mean and spread as text: ".912 +- .004"; "-" of none."""
    values = [value for value in values if value is not None and math.isfinite(value)]
    if not values:
        return "-"
    return f"{_short(statistics.fmean(values))} ± {_short(spread(values))}" if len(values) > 1 else _short(values[0])


def table(header, rows):
    """Lines of a Markdown table, its columns aligned so that it can be read as it is."""
    rows = [[str(entry) for entry in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["| " + " | ".join(entry.ljust(width) for entry, width in zip(row, widths)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _short(value):
    if 0 < abs(value) < 5e-4:
        return f"{value:.0e}"
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _position(workdir):
    config = read_json(os.path.join(workdir, "config.json")) or {}
    return f"step {_last_row(workdir).get('step', 0)} of {config.get('steps', '?')}"


def _last_row(workdir):
    """The last whole line of metrics.jsonl; {} where there is none."""
    with contextlib.suppress(OSError):
        with open(os.path.join(workdir, "metrics.jsonl"), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
            lines = file.read().splitlines()
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    return row
    return {}


@contextlib.contextmanager
def _lock(workdir):
    """A lock file's descriptor; the training inherits it and so holds the lock should its caller die."""
    with open(workdir.with_name(f"{workdir.name}.lock"), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"waiting for the training that still runs in {workdir.name}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
