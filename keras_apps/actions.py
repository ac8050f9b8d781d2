"""What watches a run: progress line, history file, TensorBoard. Each is called with (loop, logs) by the loop."""

import atexit
import collections
import contextlib
import json
import os
import sys
import time

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.pr_curve import summary as pr_curve

from keras_apps import charts
from keras_apps.local import LocalVariable
from keras_apps.paths import paths_of

THRESHOLDS = 201    # of a PR curve
QUIET_SECONDS = 60  # between two lines where nobody watches a terminal


class ShowProgress:
    """One line on a terminal (step, loss of each phase, images/s, time left); elsewhere a line a minute and the last.

    The time left is that of the last ten logs' steps, so neither tracing nor an earlier session counts.
    """

    def __init__(self):
        self.bar = None
        self.start = time.perf_counter()
        self.told = self.start
        self.marks = collections.deque(maxlen=11)       # (step, clock)

    def __call__(self, loop, logs):
        step = int(loop.step.numpy())
        self.marks.append((step, time.perf_counter()))
        text = "  ".join(self._parts(logs))
        if sys.stderr.isatty():
            if self.bar is None:
                self._open(loop.steps)
            self.bar.update(self.task, completed=step, text=text + self._left(loop.steps - step))
            if step == loop.steps:
                self.close()
        elif step == loop.steps:
            print(f"trained to step {step}: {text}, {time.perf_counter() - self.start:.0f} s", file=sys.stderr)
        elif time.perf_counter() - self.told >= QUIET_SECONDS:
            self.told = time.perf_counter()
            print(f"step {step} of {loop.steps}: {text}{self._left(loop.steps - step)}", file=sys.stderr)

    def close(self):
        """Leaves the line as it stands; for a run that ends before its last step."""
        if self.bar is not None:
            self.bar.stop()

    def _open(self, steps):
        # On stderr, beside warnings, which rich then prints above the line; stdout is for results.
        self.bar = Progress(TextColumn("training"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                            TextColumn("{task.fields[text]}"), console=Console(stderr=True))
        self.task = self.bar.add_task("", total=steps, text="")
        self.bar.start()
        self.bar.console.show_cursor()                  # rich hides it; a killed run would leave it so
        atexit.register(self.bar.stop)

    def _parts(self, logs):
        losses = {name[:-len("/loss")]: value for name, value in logs.items()
                  if name.endswith("/loss") and name.count("/") == 1 and not name.startswith("rate/")}
        for phase, value in losses.items():
            yield f"loss {value:.4f}" if len(losses) == 1 else f"{phase} {value:.4f}"
        if "images_per_second" in logs:
            yield f"{logs['images_per_second']:.0f} images/s"

    def _left(self, steps):
        (first, begun), (last, now) = self.marks[0], self.marks[-1]
        if last == first or not steps:
            return ""
        minutes, seconds = divmod(round(steps * (now - begun) / (last - first)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"  {hours}:{minutes:02}:{seconds:02} left" if hours else f"  {minutes}:{seconds:02} left"


class WriteHistory:
    """`metrics.jsonl`: one line a log, with the CPU and wall minutes the run has cost over all its sessions."""

    def __init__(self, workdir):
        self.path = os.path.join(workdir, "metrics.jsonl")
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        # The largest, not the last step's: that one may be of a session before the latest.
        self.minutes = [max((row.get(name, 0.0) for row in self._rows(workdir)), default=0.0)
                        for name in ("minutes", "minutes_wall")]

    def __call__(self, loop, logs):
        minutes, wall = self.spent()
        row = {"step": int(loop.step.numpy()), **{name: float(f"{value:.6g}") for name, value in logs.items()},
               "minutes": round(minutes, 4), "minutes_wall": round(wall, 4)}
        with open(self.path, "a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            cut = file.read() not in (b"", b"\n")       # by a kill; the row must not be glued to it
            file.write((b"\n" if cut else b"") + json.dumps(row).encode() + b"\n")

    def spent(self):
        """CPU and wall minutes so far."""
        return (self.minutes[0] + (time.process_time() - self.cpu) / 60,
                self.minutes[1] + (time.perf_counter() - self.wall) / 60)

    @staticmethod
    def read(workdir):
        """The rows of a run; a line cut off by a kill is left out, and of steps run twice the later row counts."""
        rows = {row["step"]: row for row in WriteHistory._rows(workdir)}
        return [rows[step] for step in sorted(rows)]

    @staticmethod
    def _rows(workdir):
        """Every whole row in the order of writing."""
        path = os.path.join(workdir, "metrics.jsonl")
        if not os.path.exists(path):
            return
        with open(path) as file:
            for line in file:
                with contextlib.suppress(json.JSONDecodeError):
                    row = json.loads(line)
                    if isinstance(row, dict) and "step" in row:
                        yield row


class WriteTensorBoard:
    """Scalars of every log, grouped by phase; `evaluation` adds metrics, curves, pictures and the projector.

    Args:    histograms: steps between two looks at the distribution of every variable; 0 = never.
    """

    def __init__(self, workdir, histograms=0):
        self.folder = os.path.join(workdir, "tensorboard")
        self.writer = tf.summary.create_file_writer(self.folder)
        self.histograms = Every(histograms)

    def __call__(self, loop, logs):
        step = int(loop.step.numpy())
        with self.writer.as_default(step=step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            if self.histograms.due(step):
                for path, variable in paths_of(loop.app).items():
                    # Of several workers only one writes, so it shows the shares it has itself.
                    values = tf.concat(variable.shards, 0) if isinstance(variable, LocalVariable) else variable
                    tf.summary.histogram(path, tf.cast(values, tf.float32))
        self.writer.flush()         # else a look at a running training would be up to two minutes behind

    def batch(self, step, images, names):
        """The first images of a training batch as the network sees them; `names` as `charts.batch_sheet`."""
        with self.writer.as_default(step=step):
            tf.summary.image("train/batch", charts.batch_sheet(images, names)[None])
        self.writer.flush()

    def pictures(self, step, pictures):
        """Pictures {tag: uint8 [H,W,3]} of a step on the way."""
        with self.writer.as_default(step=step):
            for tag, pixels in pictures.items():
                tf.summary.image(f"follow/{tag}", pixels[None])
        self.writer.flush()

    def evaluation(self, step, metrics, pictures, projection, scored=None):
        """Writes what `evaluate` found.

        Args:    metrics: {name: float}.  pictures: {tag: uint8 [H,W,3]}.  projection: as `App.projection`.
                 scored: {tag: (scores [m] in [0, 1], truth [m] bool)}, as `App.scored`, for PR curves.
        """
        with self.writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(f"evaluation/{name}", value)
            for tag, pixels in pictures.items():
                tf.summary.image(f"evaluation/{tag}", pixels[None])
            for tag, (scores, truth) in (scored or {}).items():
                curve = pr_curve.raw_data_pb(f"evaluation/{tag}", *_counts(scores, truth), num_thresholds=THRESHOLDS)
                tf.summary.experimental.write_raw_pb(curve.SerializeToString(), step)
        self.writer.flush()
        if projection is not None:
            self._project(*projection)

    def _project(self, vectors, labels, images):
        # Files that TensorBoard's projector reads by itself, no checkpoint needed.
        vectors, labels, images = vectors[:4096], labels[:4096], images[:4096]
        np.savetxt(os.path.join(self.folder, "vectors.tsv"), vectors, fmt="%.5f", delimiter="\t")
        with open(os.path.join(self.folder, "labels.tsv"), "w") as file:
            file.writelines(str(label).replace("\t", " ").replace("\n", " ") + "\n" for label in labels)
        sheet, side = charts.sprite(images)
        with open(os.path.join(self.folder, "sprite.png"), "wb") as file:
            file.write(charts.png(sheet))
        with open(os.path.join(self.folder, "projector_config.pbtxt"), "w") as file:
            file.write('embeddings {\n  tensor_name: "held-out images"\n  tensor_path: "vectors.tsv"\n'
                       '  metadata_path: "labels.tsv"\n'
                       f'  sprite {{\n    image_path: "sprite.png"\n    single_image_dim: {side}\n'
                       f'    single_image_dim: {side}\n  }}\n}}\n')


class Every:
    """Whether something that is due every `steps` steps is due: at the first log, then at the first one after each.

    Logs come when they come: with `log_every` 20, what is due every 50 steps is done at 60, 100, 160 and so on.
    """

    def __init__(self, steps):
        if steps < 0:
            raise ValueError(f"`steps` is {steps} but must not be negative; 0 = never.")
        self.steps, self.last = steps, None

    def due(self, step):
        """Asks, and takes note of, a step."""
        if not self.steps or self.last is not None and step // self.steps <= self.last // self.steps:
            return False
        self.last = step
        return True


def write_hyper(folder, hyper, metrics):
    """One row of TensorBoard's HParams table: a finished run with what it was told and what it reached.

    Args:    folder: of this run alone; its name is the row's.  hyper: {name: bool, number or str}; others as text.
             metrics: {name: float}.
    """
    told = {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in hyper.items()}
    with tf.summary.create_file_writer(folder).as_default(step=0):
        hparams.hparams(told, trial_id=os.path.basename(os.path.abspath(folder)))
        for name, value in metrics.items():
            tf.summary.scalar(name, value)
        end = hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        tf.summary.experimental.write_raw_pb(end.SerializeToString(), 0)
        tf.summary.flush()


def _counts(scores, truth):
    """True and false positives, true and false negatives, precision and recall at thresholds 0, ..., 1."""
    steps = np.floor(np.clip(scores, 0, 1) * (THRESHOLDS - 1)).astype(int)
    right, wrong = (np.bincount(steps[kind], minlength=THRESHOLDS)[::-1].cumsum()[::-1] for kind in (truth, ~truth))
    # Nothing accepted is nothing wrong: without this the curve would end at (0, 0).
    precision = np.where(right + wrong > 0, right / np.maximum(right + wrong, 1), 1.0)
    return right, wrong, wrong[0] - wrong, right[0] - right, precision, right / max(1, right[0])
