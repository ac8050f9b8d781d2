"""An embedding that stands still while others learn: it says who somebody is, or how an image looks."""

import os

import numpy as np
import tensorflow as tf

from keras_apps import turns
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.initial import start_from
from keras_apps.run import read_json, stored_config
from tfrecords.decode import Decoder, height_and_width


class Recogniser(tf.Module):
    """The network of the app `verification`, trained with a head in a stage of its own or taken from a run of that app.

    Where there are no two identities it learns by how many quarter turns an image was turned: then it says nothing of
    persons, but has maps to compare images by.

    Args:    settings: with the keys of a verification config: backbone, pooling, embedding, head, dropout, mirror,
             norm.  size: images are brought to it, bilinear with antialias, as the decoder does.
             channels: of the images.  classes: of the training, 0 = it has learnt already and needs no head.
             seed: of the head's weights.
    Call:    `.loss(images, labels, seed, step)` -> [b]; `.look(images [n,h,w,C])` -> unit vectors [n,D];
             `.maps(images)` -> {"map3", "map4", "map5"} at the images' own size.
    State:   trainable: its variables while it learns.
    """

    def __init__(self, settings, size, channels, classes, seed):
        super().__init__()
        self.size, self.mirror = height_and_width(size), settings.mirror
        self.network = EmbeddingNetwork(settings.backbone, settings.pooling, settings.embedding,
                                        (*self.size, channels), settings.dropout, settings.get("norm", "batch"))
        self.turns = classes == 1
        self.head = build("heads", settings.head, classes=turns.TURNS if self.turns else classes,
                          dimension=settings.embedding, seed=seed) if classes else None

    @property
    def trainable(self):
        return [*self.network.trainable_variables, *self.head.trainable_variables]

    def loss(self, images, labels, seed, step):
        images = self._sized(images)
        if self.turns:
            images, labels = turns.drawn(images, tf.random.experimental.stateless_fold_in(seed, 1))
        return self.head.loss(self.network(images, training=True, seed=seed), labels, step)

    def look(self, images):
        return self.network.look(self._sized(images), self.mirror)[1]

    def maps(self, images):
        return self.network.backbone(images, training=False)

    def _sized(self, images):
        fits = self.size == tuple(images.shape[1:3])
        return images if fits else tf.image.resize(images, self.size, antialias=True)


def of_run(workdir, decoder):
    """The recogniser that a run of `verification` has trained, and the identities it was trained on.

    Args:    workdir: of the run, which must stay where it is.  decoder: of the images that it is to judge.
    Raises:  ValueError where the run is none, has no checkpoint, or is of images that were made in another way.
    """
    config = stored_config(workdir)
    facts, data = (read_json(os.path.join(workdir, f"{name}.json")) for name in ("images", "data"))
    if config.app != "verification" or facts is None or data is None:
        raise ValueError(f"`recogniser` is {workdir} but that is a run of `{config.app}`; name the --workdir of a "
                         "`verification` training.")
    facts["aligned"] = facts["aligned"] or 0
    theirs = Decoder.of(facts, config.size, config.data.fit)
    for name in ("channels", "dtype", "raw", "low", "high", "aligned", "fit"):
        one, other = (np.asarray(getattr(each, name)).tolist() for each in (theirs, decoder))
        if one != other:
            remedy = "train both with the same --config.data.fit" if name == "fit" else "train one on these data"
            raise ValueError(f"`recogniser` is {workdir}, trained on images whose `{name}` is {one}, but of the images "
                             f"here it is {other}; {remedy}.")
    found = Recogniser(config, config.size, decoder.channels, 0, config.seed)
    start_from(found, workdir, "recogniser")
    return found, data.get("trained", [])
