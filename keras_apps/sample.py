"""Writes images of a trained generator as a data folder: a pool of fakes.

    python -m keras_apps.sample --workdir=DIR --out=DIR --count=4000 [--first=0] [--overwrite]

--workdir is that of a `keras_apps.train` of an `image_generation` config; its data are not needed. Image i is that of
seed `first` + i, the same however many there are. Every image has its generator's family as `source`, those of
conditional generators their class as `label`; the manifest names the checkpoint they came from. The same command goes
on where an interrupted one stopped.
"""

import functools
import os
import sys

import numpy as np
from absl import flags

from keras_apps.build import method_class
from keras_apps.config import explain
from keras_apps.run import commit, stored_app, stored_config
from keras_apps.strategy import make_strategy
from tfrecords import command, schema
from tfrecords.read import file_sha256
from tfrecords.write import report, write

FLAGS = flags.FLAGS
MOST = 10_000_000
BLOCK = 1024        # images that are made together


class _Drawn:
    """A source (see `schema.Item`) of a generator's images, made in blocks as they are read.

    Args:    app: an image_generation app.  facts: what the manifest is to say of it.  first, count: seeds.
    """

    def __init__(self, app, facts, first, count):
        self.app, self.first, self.count, self.description = app, first, count, facts
        self._block = (None, None)

    def __len__(self):
        return self.count

    def __iter__(self):
        return self.between(0, self.count)

    def between(self, start, stop):
        family, names = self.description["family"], self.app.info.names
        for place in range(start, stop):
            columns = {"source": family}
            if self.app.conditions:
                columns["label"] = names[(self.first + place) % self.app.conditions]
            yield schema.Item(f"{family}/{self.first + place:07d}.png", functools.partial(self._image, place), columns,
                              stamp=self.description["checkpoint_sha256"])

    def _image(self, place):
        number = place // BLOCK
        if self._block[0] != number:
            start = number * BLOCK
            images, _ = self.app.drawn(self.first + start, min(BLOCK, self.count - start))
            self._block = number, images
        image = self._block[1][place % BLOCK]
        decoder = self.app.info.decoder
        if decoder.raw:
            return (image * (decoder.high - decoder.low) + decoder.low).astype(np.float32)
        return np.uint8(np.round(image * 255))


def facts_of(loop, config, data):
    """What a pool's manifest says of the generator."""
    # Not the newest: where that is damaged the one before was read.
    path = os.path.join(loop.checkpoints.directory, f"ckpt-{loop.position()}")
    size = loop.app.info.shape[:2]
    return {"source": "generator", "location": config.family, "family": config.family, "generated": True,
            "checkpoint": os.path.basename(path), "checkpoint_sha256": file_sha256(f"{path}.index"),
            "weights_sha256": file_sha256(f"{path}.data-00000-of-00001"), "step": loop.position(),
            "seed": config.seed, "loss": config.loss, "generator": config.generator, "commit": commit(),
            "size": list(size), "fit": config.data.fit, "trained_on": data["name"],
            "trained_on_sha256": data["sha256"]}


def define_flags():
    flags.DEFINE_string("workdir", None, "folder of a `keras_apps.train` of an image_generation config", required=True)
    flags.DEFINE_string("out", None, "data folder to make", required=True)
    flags.DEFINE_integer("count", None, "images", lower_bound=1, upper_bound=MOST, required=True)
    flags.DEFINE_integer("first", 0, "seed of the first image", lower_bound=0)
    flags.DEFINE_integer("shards", 0, "shards; 0 = 8, or one for 20,000 images", lower_bound=0)
    flags.DEFINE_boolean("overwrite", False, "replace the data folder that lies there")


def main(_):
    name = stored_config(FLAGS.workdir).app
    if not hasattr(method_class("apps", name), "drawn"):
        raise ValueError(f"{FLAGS.workdir} holds a run of the app `{name}`, which makes no images; give the --workdir "
                         "of an image_generation config.")
    app, loop, config, data = stored_app(FLAGS.workdir, make_strategy("one"))
    if not loop.finished():
        print(f"warning: the generator stands at step {loop.position()} of {loop.steps}.", file=sys.stderr)
    with loop.averaged():
        source = _Drawn(app, facts_of(loop, config, data), FLAGS.first, FLAGS.count)
        manifest = write([source], FLAGS.out, FLAGS.shards, overwrite=FLAGS.overwrite)
    print("\n".join(line for line in report(manifest, FLAGS.out) if not line.startswith(("warning: the images are "
                                                                                         "not", "next:", "  python"))))
    print(f"  made by          {config.family}, {source.description['checkpoint']} of {FLAGS.workdir}")


if __name__ == "__main__":
    command.run(main, define_flags, explain=explain)
