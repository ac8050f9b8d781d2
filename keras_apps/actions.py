"""What watches a run: progress line, history file, TensorBoard. Each is called with (loop, logs) by the loop."""

import json
import os
import sys
import time

import numpy as np
import tensorflow as tf
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from keras_apps import charts


class ShowProgress:
    """One line on a terminal (step, loss, images/s, time left); nothing elsewhere but the last line."""

    def __init__(self):
        self.bar = None
        self.start = time.perf_counter()

    def __call__(self, loop, logs):
        step = loop.step.numpy()
        losses = [value for name, value in logs.items()
                  if name.endswith("/loss") and name.count("/") == 1 and not name.startswith("rate/")]
        text = f"loss {losses[-1]:.4f}  {logs.get('images_per_second', 0):.0f} images/s"
        if sys.stderr.isatty():
            if self.bar is None:
                self.bar = Progress(TextColumn("training"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                                    TextColumn("{task.fields[text]}"), TimeRemainingColumn(), transient=False)
                self.task = self.bar.add_task("", total=loop.steps, text="")
                self.bar.start()
            self.bar.update(self.task, completed=int(step), text=text)
            if step == loop.steps:
                self.bar.stop()
        elif step == loop.steps:
            print(f"trained to step {step}: {text}, {time.perf_counter() - self.start:.0f} s", file=sys.stderr)


class WriteHistory:
    """`metrics.jsonl`: one line a log, with the CPU and wall minutes the run has cost over all its sessions."""

    def __init__(self, workdir):
        self.path = os.path.join(workdir, "metrics.jsonl")
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        last = (self.read(workdir) or [{}])[-1]
        self.minutes = [last.get("minutes", 0.0), last.get("minutes_wall", 0.0)]

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
        path = os.path.join(workdir, "metrics.jsonl")
        if not os.path.exists(path):
            return []
        rows = {}
        with open(path) as file:
            for line in file:
                try:
                    row = json.loads(line)
                    rows[row["step"]] = row
                except (json.JSONDecodeError, KeyError):
                    continue
        return [rows[step] for step in sorted(rows)]


class WriteTensorBoard:
    """Scalars of every log; `evaluation` adds metrics, pictures and the embedding projector."""

    def __init__(self, workdir):
        self.folder = os.path.join(workdir, "tensorboard")
        self.writer = tf.summary.create_file_writer(self.folder)

    def __call__(self, loop, logs):
        with self.writer.as_default(step=loop.step.numpy()):
            for name, value in logs.items():
                tf.summary.scalar(name, value)

    def evaluation(self, step, metrics, pictures, projection):
        """Writes what `evaluate` found.

        Args:    metrics: {name: float}.  pictures: {tag: uint8 [H,W,3]}.  projection: as `App.projection`.
        """
        with self.writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(f"evaluation/{name}", value)
            for tag, pixels in pictures.items():
                tf.summary.image(f"evaluation/{tag}", pixels[None])
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
