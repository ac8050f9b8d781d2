"""What looks into a run: the collapse monitor and the profiler. Called like the actions of `keras_apps/actions.py`."""

import atexit
import os
import sys

import numpy as np
import tensorflow as tf

from keras_apps.actions import Every
from keras_apps.metrics.collapse import collapse

SAMPLE, CLASSES = 256, 64       # images, and classes they are of
BLOCK = 64                      # images embedded at once
PATIENCE = 3                    # looks in a row that must say so before a warning
IDLE, IDLE_LOGS = 0.01, 10      # share of active anchors, and logs in a row below it


class WatchCollapse:
    """Looks whether the embeddings still tell images apart, and says so once where they do not.

    A fixed sample of training images, not augmented, is embedded every `every` steps; what `metrics/collapse.py` makes
    of it is added to the logs as collapse/<name>, so this action comes before those that write logs. An app without
    `embed` has no such figures. A warning comes after three looks in a row with all embeddings in one place (`spread`
    below 0.1) or in fewer than two directions: K learnt classes fill K - 1, so for K < 5 fewer than 0.65 (K - 1).

    Of a term `active` (share of anchors whose loss is not zero) it warns after ten logs in a row below 0.01.

    Args:    run: a `keras_apps.run.Run`.  every: steps; 0 = the embeddings are not looked at.
    """

    def __init__(self, run, every):
        self.run, self.every = run, Every(every)
        self.sample = self.embed = None
        self.collapsed, self.idle = 0, {}
        self.told = set()

    def __call__(self, loop, logs):
        for name, value in logs.items():
            if name.endswith("/active"):
                self._watch_active(name, value)
        if hasattr(loop.app, "embed") and self.every.due(int(loop.step.numpy())):
            vectors, labels = self._look(loop.app)
            if not np.isfinite(vectors).all():
                self._tell("finite", f"the embeddings are not finite at step {loop.position()}; use a lower rate or "
                           "set `clip`, with another --workdir.")
                return
            found, dimensions, classes = collapse(vectors, labels), vectors.shape[1], len(np.unique(labels))
            logs.update({f"collapse/{name}": value for name, value in found.items()})
            self._watch_rank(found, dimensions, classes)

    def _look(self, app):
        if self.embed is None:
            self.rows = sample(self.run.rows, self.run.labels)
            self.images = self.run.images.load(self.rows)
            self.embed = tf.function(app.embed, input_signature=[tf.TensorSpec([None, *self.images.shape[1:]])],
                                     autograph=False)
        vectors = np.concatenate([self.embed(self.images[first:first + BLOCK]).numpy()
                                  for first in range(0, len(self.images), BLOCK)])
        return vectors, self.run.labels[self.rows]

    def _watch_rank(self, found, dimensions, classes):
        rank, least = found["effective_rank"], min(2.0, 0.65 * (classes - 1))
        self.collapsed = self.collapsed + 1 if rank < least or found["spread"] < 0.1 else 0
        if self.collapsed >= PATIENCE:
            self._tell("collapse", f"the {dimensions}-dimensional embeddings of {len(self.rows)} training images of "
                       f"{classes} classes fill {rank:.1f} dimensions, {found['spread']:.2f} apart on average: all "
                       "images look alike to the network; use a loss that pushes different images apart (negatives, or "
                       "a `head`), or a lower rate.")

    def _watch_active(self, name, value):
        self.idle[name] = self.idle.get(name, 0) + 1 if value < IDLE else 0
        if self.idle[name] >= IDLE_LOGS:
            self._tell(name, f"`{name}` is {value:.3f}, below {IDLE} for {IDLE_LOGS} logs: nothing is left to learn "
                       "from the mined pairs, or the batches hold none; use a larger margin or harder mining, check "
                       "`data.sampler`, or end the training here.")

    def _tell(self, key, text):
        if key not in self.told:
            self.told.add(key)
            print(f"warning: {text}", file=sys.stderr)


class Follow:
    """What an app wants watched while it trains, by its averaged weights: figures in the logs, pictures in TensorBoard.

    Args:    run: a `keras_apps.run.Run`.  every: steps; 0 = never.  board: a `WriteTensorBoard`.
    """

    def __init__(self, run, every, board):
        self.run, self.every, self.board = run, Every(every), board

    def __call__(self, loop, logs):
        step = int(loop.step.numpy())
        if self.every.due(step):
            with loop.averaged():
                figures, pictures = loop.app.follow(self.run.splits, step)
            logs.update({f"follow/{name}": value for name, value in figures.items()})
            self.board.pictures(step, pictures)


def sample(rows, labels):
    """Up to 256 of the rows, as many of each of up to 64 classes that lie evenly among all."""
    own = labels[rows]
    classes = np.unique(own)
    classes = classes[np.unique(np.linspace(0, len(classes) - 1, CLASSES).round().astype(int))]
    each = SAMPLE // len(classes)
    return np.concatenate([rows[own == label][:each] for label in classes])


class Profile:
    """A window of TensorFlow's profiler over the steps `first` to `last`; its files go below `<workdir>/tensorboard`.

    Args:    first, last: counted from 1. The first step of a session traces its graph: begin later.
    Raises:  ValueError for a window without a step.
    """

    def __init__(self, workdir, first, last):
        if not 1 <= first <= last:
            raise ValueError(f"the steps to profile are {first} to {last} but must lie in order, from 1 on; use "
                             "10 to 20.")
        self.folder, self.first, self.last = os.path.join(workdir, "tensorboard"), first, last
        self.running = self.done = False

    def at(self, step):
        """Called before every step; `step` = how many are done."""
        if self.running and step >= self.last:
            self._stop()
        elif not self.running and not self.done and self.first - 1 <= step < self.last:
            tf.profiler.experimental.start(self.folder)
            self.running = True
            atexit.register(self._stop)

    def __call__(self, loop, logs):
        step = int(loop.step.numpy())
        if step >= self.last:       # it may be the last of all
            self._stop()
        if step == loop.steps and not self.done:
            print(f"warning: nothing was profiled: steps {self.first} to {self.last} are not among those of this "
                  f"session, which ended at {step}.", file=sys.stderr)

    def _stop(self):
        if self.running:
            self.running, self.done = False, True
            tf.profiler.experimental.stop()
            print(f"profile of steps {self.first} to {self.last} in {os.path.join(self.folder, 'plugins', 'profile')}; "
                  "TensorBoard shows it once `pip install tensorboard-plugin-profile` is done beside it.",
                  file=sys.stderr)
