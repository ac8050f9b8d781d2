"""Checkpoints: everything a run needs to go on as though nothing had happened."""

import glob
import io
import json
import os
import random
import re
import sys

import numpy as np
import tensorflow as tf

from keras_apps.config import changed

MAY_DIFFER = ("steps", "checkpoint_every", "log_every", "keep")     # a run may be made longer


class Checkpoints:
    """The newest `keep` checkpoints of a folder; one process writes, all read.

    Args:    directory: where they lie.  parts: {name: trackable}, all built.  host: a `Host`.  keep: how many.
             judged: names of the parts that an evaluation needs.
             locals: `LocalOptimizer`s, gathered before each save.  workers: a `Workers`.
    """

    def __init__(self, directory, parts, host, keep, judged, locals, workers):
        self.directory, self.host, self.locals, self.workers = directory, host, list(locals), workers
        self.checkpoint = tf.train.Checkpoint(**parts, host=host)
        self.judged = tf.train.Checkpoint(**{name: parts[name] for name in judged}, host=host)
        if set(directory) & set("[]*?\\"):
            raise ValueError(f"`workdir` is {os.path.dirname(directory)} but TensorFlow finds no checkpoint again "
                             "below a name with [, ], *, ? or \\; use another.")
        self.manager = None
        if workers.chief:
            _mend_list(directory)
            self.manager = tf.train.CheckpointManager(self.checkpoint, directory, keep)

    def paths(self):
        return checkpoints_in(self.directory)

    def restore(self, training=True):
        """Reads the newest that is sound, and says which were not; returns its path, None where there is none.

        Without `training` optimizers are left as they are: they may be dealt over other servers, or be others.

        Raises:  ValueError where none is sound, or the newest is of another network or config.
        """
        faults = []
        for path in self.paths():
            try:
                if training:
                    self.checkpoint.restore(path).assert_existing_objects_matched()
                else:
                    self.judged.read(path).assert_existing_objects_matched().expect_partial()
            except (tf.errors.OpError, IndexError) as error:     # a data file that ends too early is an IndexError
                faults.append((path, (str(error).splitlines() or ["no reason given"])[0]))
                continue
            except (LookupError, AssertionError, ValueError) as error:
                reason = (str(error).splitlines() or ["no reason given"])[0]
                raise ValueError(f"the checkpoint {path} is not of this network ({reason}); use another --workdir, or "
                                 "the config it was trained with.") from error
            self.host.require_config(path)
            if faults and self.workers.chief:
                for damaged, reason in faults:
                    print(f"warning: the checkpoint {damaged} is damaged ({reason}); going on from "
                          f"{os.path.basename(path)}.", file=sys.stderr)
            return path
        if faults:
            path, reason = faults[0]
            raise ValueError(f"the checkpoint {path} cannot be read ({reason}), nor any before it; remove "
                             f"{self.directory} to train anew, or use another --workdir.")
        return None

    def save(self, step):
        """Writes ckpt-<step>; of several workers all must call."""
        for local in self.locals:
            local.collect()
        if self.workers.chief:
            self.manager.save(checkpoint_number=step)
        self.workers.ask(step)      # nobody reads, or ends, before it is there


def checkpoints_in(directory):
    """Paths of those that are there whole, newest first; the index of one is written last."""
    found = [(int(match[1]), path[:-len(".index")]) for path in glob.glob(
        os.path.join(glob.escape(directory), "ckpt-*.index"))
        if (match := re.fullmatch(r"ckpt-(\d+)\.index", os.path.basename(path)))]
    return [path for _, path in sorted(found, reverse=True)]


def _mend_list(directory):
    """Writes TensorFlow's list of a folder's checkpoints anew where it is lost or damaged."""
    try:
        state = tf.train.get_checkpoint_state(directory)
    except ValueError:
        state = None
    path, found = os.path.join(directory, "checkpoint"), checkpoints_in(directory)
    if state is None and os.path.exists(path):
        os.remove(path)
    if state is None and found:
        # Without times the manager would not count them as its own.
        times = [os.path.getmtime(f"{path}.index") for path in found[::-1]]
        tf.compat.v1.train.update_checkpoint_state(directory, found[0], found[::-1],
                                                   all_model_checkpoint_timestamps=times)


class Host(tf.train.experimental.PythonState):
    """What is kept outside TensorFlow: the config, what `between` returned, the random generators, facts of the run.

    Args:    config: plain dict.
    State:   key: [stage, round] of the arrays.  arrays: {name: array by row}, of `between`.
             facts: JSON-able; `best` and `stopped` of early stopping, `averages` (paths in their order).
    """

    def __init__(self, config):
        self.config = json.loads(json.dumps(config, default=list))
        self.key, self.arrays, self.facts, self.stored_config = None, {}, {}, None

    def serialize(self):
        kind, keys, place, has_gauss, gauss = np.random.get_state()
        version, internal, following = random.getstate()
        words = {"key": self.key, "facts": self.facts, "config": self.config,
                 "numpy": [kind, place, has_gauss, gauss], "python": [version, following]}
        stream = io.BytesIO()
        np.savez(stream, words=np.array(json.dumps(words)), numpy=keys, python=np.array(internal, np.int64),
                 **{f"memo/{name}": values for name, values in self.arrays.items()})
        return stream.getvalue()

    def deserialize(self, text):
        words, stored = self.read(text)
        self.key, self.facts, self.stored_config = words["key"], words["facts"], words["config"]
        self.arrays = {name[len("memo/"):]: stored[name] for name in stored.files if name.startswith("memo/")}
        kind, place, has_gauss, gauss = words["numpy"]
        np.random.set_state((kind, stored["numpy"], place, has_gauss, gauss))
        random.setstate((words["python"][0], tuple(stored["python"].tolist()), words["python"][1]))

    @staticmethod
    def read(text):
        """(words, arrays) of what `serialize` made."""
        stored = np.load(io.BytesIO(text), allow_pickle=False)
        return json.loads(str(stored["words"])), stored

    def require_config(self, path):
        """Raises: ValueError where the checkpoint was trained with another config."""
        others = [key for key in changed(self.stored_config, self.config) if key not in MAY_DIFFER]
        if others:
            raise ValueError(f"the checkpoint {path} was trained with another `{'`, `'.join(others)}`; use another "
                             "--workdir, or the config it was trained with.")
