"""Handwritten digits, fakes of them that leave a trace, and small configs for generators and detectors."""

import functools

import numpy as np
from sklearn.datasets import load_digits

from keras_apps.configs.fake_image_detection.contrastive import get_config as contrastive
from keras_apps.configs.image_generation.dcgan import get_config as dcgan
from tests.tfrecords.drawn import Drawn
from tfrecords.write import write


@functools.lru_cache
def digits():
    """(uint8 [1797,8,8], labels [1797])"""
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target


def write_digits(folder, count=300, labels=True, size=8):
    """The first digits as a data folder."""
    images, target = digits()
    images = images[:count].repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    columns = [{"label": int(label)} for label in target[:count]] if labels else None
    write([Drawn(images, columns)], folder, shards=2)
    return str(folder)


def small_generation(**changes):
    """DCGAN's config cut down to the digits above and to 4 steps of 16 images, 2 of them the judge's."""
    config = dcgan()
    config.update({
        "steps": 6, "batch": 16, "checkpoint_every": 6, "log_every": 1, "size": 8, "latent": 8, "samples": 100,
        "generator": "dcgan(width=8)", "critic": "dcgan(width=8)", "backbone": "small_cnn(widths=(4, 4, 8))",
        "embedding": 8, "encoder_steps": 2, "encoder_batch": 16, "ema": 0.5, "follow_every": 0})
    config.data.update({"train_split": "", "test_split": "", "holdout": 0.2})
    return changed(config, changes)


def small_detection(**changes):
    """The contrastive config cut down to images of 16 pixels and to 8 steps of 16, half of them with pairs."""
    config = contrastive()
    config.update({
        "steps": 8, "batch": 16, "checkpoint_every": 8, "log_every": 1, "size": 16, "code": 8, "pair_share": 0.5,
        "backbone": "deepfd_res(widths=(8, 8, 16), blocks=(1, 1, 1), stem=3, stem_stride=1)", "robustness": (),
        "loss": "contrastive(margin=0.5, distance='euclidean', normalise=False)", "schedule": "constant()", "ema": 0.5,
        "follow_every": 0})
    config.optimizers.network = "adam(rate=3e-3)"
    config.data.augment = ()
    return changed(config, changes)


def changed(config, changes):
    """The config with other values; "data" and "optimizers" are dictionaries of some of theirs."""
    for key in ("data", "optimizers"):
        config[key].update(changes.pop(key, {}))
    config.update(changes)
    return config


# ---- fakes: each kind leaves a trace that is as plain as day

def reals(count, seed=0):
    """Digits of 16 pixels, smoothly enlarged, with a little noise: uint8 [n,16,16]."""
    random = np.random.default_rng([seed, 1])
    images = digits()[0][random.permutation(1797)[:count]].astype(float)
    ramp = np.linspace(0, 7, 16)
    low = np.floor(ramp).astype(int).clip(0, 6)
    share = ramp - low
    for axis in (1, 2):
        first, second = (np.take(images, low + step, axis=axis) for step in (0, 1))
        weight = share.reshape([1, -1, 1] if axis == 1 else [1, 1, -1])
        images = first * (1 - weight) + second * weight
    return np.clip(images + random.normal(0, 6, images.shape), 0, 255).astype(np.uint8)


def checkered(images, strength=60):
    """Every other pixel is brighter, its neighbours darker."""
    board = np.indices(images.shape[1:3]).sum(axis=0) % 2 * 2 - 1
    return np.clip(images.astype(float) + strength * board, 0, 255).astype(np.uint8)


def blocky(images):
    """Each two by two pixels are one."""
    return images[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)


def faint(images):
    """A checkerboard that is fainter: of another generator, but akin."""
    return checkered(images, 45)


TRACES = {"checkered": checkered, "blocky": blocky, "faint": faint}


def write_fakes(folder, count=64, traces=TRACES, tracks=False):
    """Real digits and as many fakes of each kind, dealt to train, val and test as `FakesSource` does."""
    parts, columns = [], []
    for number, (name, trace) in enumerate([("real", None), *traces.items()]):
        own = count * len(traces) if trace is None else count
        images = reals(own, seed=number)
        parts.append(images if trace is None else trace(images))
        for place in range(own):
            share = place / own
            column = {"label": "fake" if trace else "real", "source": name,
                      "split": "train" if share < 0.6 else "val" if share < 0.75 else "test"}
            columns.append({**column, "track": f"{name}{place // 4}"} if tracks else column)
    write([Drawn(np.concatenate(parts), columns)], folder, shards=2)
    return str(folder)
