"""Smooth little faces of persons, with cameras if wanted, and small configs for apps that restore."""

import numpy as np
import tensorflow as tf

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan
from keras_apps.configs.super_resolution.orl_x4 import get_config as orl_x4
from tests.keras_apps.fakes import changed
from tests.tfrecords.drawn import Drawn
from tfrecords.write import write

RECOGNISER = {"recogniser_size": 16, "recogniser_steps": 2, "recogniser_batch": 8, "recogniser_augment": (),
              "backbone": "small_cnn(widths=(4, 4, 8))", "pooling": "flatten()", "embedding": 8, "dropout": 0.0}


def faces(persons=6, each=5, size=(24, 16), channels=1, seed=0):
    """uint8 [persons * each, H, W, C]: the images of a person are of one pattern, each shifted and lit otherwise."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(persons):
        coarse = random.random((size[0] // 4 + 2, size[1] // 4 + 2, channels)).astype(np.float32)
        for _ in range(each):
            own = np.clip(coarse + 0.1 * random.normal(size=coarse.shape), 0, 1)
            large = tf.image.resize(own, (size[0] + 8, size[1] + 8), "bicubic").numpy()
            y, x = random.integers(0, 5, 2)
            found.append(large[y:y + size[0], x:x + size[1]] * random.uniform(0.8, 1.0))
    return np.uint8(np.clip(found, 0, 1) * 255)


def write_faces(folder, persons=6, each=5, size=(24, 16), channels=1, identities=True, cameras=False):
    """Them as a data folder; person p has the identity str(p + 1)."""
    images = faces(persons, each, size, channels)
    columns = [{**({"identity": str(place // each + 1)} if identities else {}),
                **({"camera": str(place % each % 2 + 1)} if cameras else {})} for place in range(len(images))]
    write([Drawn(images, columns)], folder, shards=2)
    return str(folder)


def small_resolution(**changes):
    """orl_x4 cut down to the faces above: 3 steps of 8."""
    config = orl_x4()
    config.update({"steps": 3, "batch": 8, "checkpoint_every": 3, "log_every": 1, "size": (24, 16),
                   "restorer": "edsr(width=8, blocks=1, rise=8, code=4)", "scale": 2, "scales": (2,), "judged": (2,),
                   "critic": "sigan(widths=(4, 4))", "schedule": "constant()", "ema": 0.5, **RECOGNISER})
    config.weights.ssim = 0.0
    config.data.update({"train_identities": "1-4", "augment": ()})
    return _changed(config, changes)


def small_hallucination(**changes):
    """sigan_resnet cut down to the faces above: 3 steps of 8."""
    config = sigan()
    config.update({"steps": 3, "batch": 8, "checkpoint_every": 3, "log_every": 1, "size": 16, "scale": 2,
                   "restorer": "sigan(widths=(8,), counts=(1,), tail=8, code=4, on_bicubic=True)",
                   "critic": "sigan(widths=(4, 4))", "schedule": "constant()", "ema": 0.5, **RECOGNISER})
    config.data.update({"train_identities": "1-4", "augment": ()})
    return _changed(config, changes)


def _changed(config, changes):
    config.weights.update(changes.pop("weights", {}))
    return changed(config, changes)
