"""Everything between a config and a loop: data, splits, app, batches. Shared by the commands."""

import json
import os
import subprocess
import types

import tensorflow as tf
from ml_collections import ConfigDict

from keras_apps import splits as dealing
from keras_apps.build import build
from keras_apps.config import differences, settle, to_json
from keras_apps.loop import Loop
from tfrecords.batch import Batches, Images, Table
from tfrecords.decode import Decoder
from tfrecords.read import Records


class Run:
    """A config on data under a strategy.

    Args:    config: as read from its file.  data: folder of `tfrecords.write`.  strategy: of `make_strategy`.
    Raises:  ValueError naming what does not fit.
    """

    def __init__(self, config, data, strategy):
        self.config, self.strategy = settle(config), strategy
        config = self.config
        tf.keras.utils.set_random_seed(config.seed)
        self.records = Records(data)
        self.decoder = Decoder(config.size, self.records.channels, config.data.fit)
        self.images = Images(self.records, self.decoder, config.data.cache_mb)
        self.labels, self.splits, self.names = dealing.select(self.images, config)
        self.rows = (self.labels >= 0).nonzero()[0]
        self.mixing = [build("tfrecords/mixing", text) for text in config.data.mixing]
        self.augment = [build("tfrecords/augment", text) for text in config.data.augment]
        classes = len(self.names)
        for method in self.mixing:
            classes *= getattr(method, "times", 1)
        info = types.SimpleNamespace(classes=classes, names=self.names, channels=self.records.channels,
                                     shape=(*self.decoder.size, self.records.channels))
        with strategy.scope():
            self.app = build("apps", config.app, config=config, info=info)

    def batches(self, stage):
        """The training batches of a stage."""
        sampler = build("tfrecords/samplers", self.config.data.sampler, batch=stage["batch"])
        return Batches(self.images, Table(self.rows, self.labels), sampler, self.augment, self.mixing,
                       self.config.seed)

    def loop(self, workdir, actions=()):
        """The loop; data that cannot be read or sampled are refused here, before the first step."""
        if len(self.rows) <= self.images.limit:
            self.images.load(self.rows, "decoding")
        for stage in self.app.stages():
            self.batches(stage).dataset(0, self.strategy.num_replicas_in_sync)
        return Loop(self.app, self.config, self.batches, self.strategy, workdir, actions)


def claim(workdir, config):
    """Makes the workdir this config's own, or checks that it is.

    Raises:  ValueError where another config trained here.
    """
    path = os.path.join(workdir, "config.json")
    text = to_json(settle(config))
    if os.path.exists(path):
        with open(path) as file:
            changed = differences(json.load(file), json.loads(text))
        if changed:
            raise ValueError(f"{workdir} holds a run whose {', '.join(f'`{key}`' for key in changed)} differ from this "
                             "config; use another --workdir or the same config.")
        return
    os.makedirs(workdir, exist_ok=True)
    write_file(path, text)


def stored_config(workdir):
    """The config a workdir was trained with."""
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        raise ValueError(f"{workdir} holds no config.json, so no run; give the --workdir of a `keras_apps.train`.")
    with open(path) as file:
        return ConfigDict(json.load(file))


def write_file(path, content):
    """Text or bytes to a temporary name, then renamed."""
    temporary = f"{path}.writing-{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.replace(temporary, path)


def commit():
    """The checkout's commit, "" outside one."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                          cwd=os.path.dirname(os.path.abspath(__file__)))
    return done.stdout.strip() if done.returncode == 0 else ""
