"""A small data folder, a config for it, and the commands `train` and `evaluate` in this process."""

import types

import numpy as np
import pytest
from PIL import Image

from keras_apps import evaluate, train
from keras_apps.configs.verification.digits import get_config
from tfrecords.sources.folder import FolderSource
from tfrecords.write import write


def write_data(folder, identities=6, images=6):
    """Noisy images about a mean image of each identity, as shards below `folder`/data."""
    random = np.random.default_rng(0)
    for identity in range(identities):
        mean = random.integers(0, 200, (12, 12))
        for number in range(images):
            path = folder / "images" / f"id{identity}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((mean + random.integers(0, 56, (12, 12))).astype(np.uint8)).save(path)
    write([FolderSource(folder / "images")], folder / "data", shards=2)
    return folder / "data"


def small_config(**changes):
    """The digits' config, cut down to the data above and to 4 steps of 8 images."""
    config = get_config()
    config.update({"steps": 4, "batch": 8, "checkpoint_every": 2, "log_every": 2, "size": 12, "labels": 0,
                   "embedding": 8, "backbone": "small_cnn(widths=(4, 4, 4))", "schedule": "constant()", "ema": 0.5})
    config.data.update({"train_identities": "", "holdout": 0.5, "sampler": "pk(images=4)", "mixing": (),
                        "augment": ()})
    config.update(changes)
    return config


def run_train(data, workdir, config=None, models="", **words):
    """`python -m keras_apps.train` behind its flags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "FLAGS", types.SimpleNamespace(**{
            "data": str(data), "workdir": str(workdir), "models": str(models), "strategy": "one", "replicas": 0,
            "tpu": "", "deterministic": False, "max_minutes": 0.0, "doctor": False, "profile_steps": "",
            "histograms_every": 0, "config": config or small_config(), **words}))
        train.main(None)


def run_evaluate(data, workdir):
    """`python -m keras_apps.evaluate` behind its flags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "FLAGS", types.SimpleNamespace(data=str(data), workdir=str(workdir)))
        evaluate.main(None)


def contents(folder):
    """{path below the folder: bytes} of all files."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
