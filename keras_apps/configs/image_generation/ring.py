"""Eight clouds of points around a circle: does a loss find all of them? Half a minute, with nets of dense layers.

    python -m tfrecords.write --source=ring --out=build/data/ring
    python -m keras_apps.train --config=keras_apps/configs/image_generation/ring.py --data=build/data/ring \\
        --workdir=build/ring --models=

A point counts for a cloud where it lies within three deviations of its mean; a cloud is found where it has 3 % of all
points or more. No judge is trained: points are compared as they are.
"""

from ml_collections import ConfigDict

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "image_generation", "family": "ring", "steps": 6000, "batch": 256, "checkpoint_every": 6000, "size": 1,
        "latent": 16, "generator": "mlp(width=128, depth=3)", "critic": "mlp(width=128, depth=3)",
        "loss": "logistic()", "critic_steps": 1, "r1": 0.0, "diff_augment": (), "conditional": False, "fade": 0.0,
        "samples": 2000, "embedding": 1, "encoder_steps": 0, "encoder_batch": 1, "ema": 0.99, "follow_every": 500,
        "schedule": "cosine()",     # towards the end the players no longer circle around each other
    })
    config.optimizers = ConfigDict({group: "adam(rate=1e-3, beta_1=0.5)" for group in ("generator", "critic")})
    config.data.update({"holdout": 0.25, "sampler": "shuffle()"})
    return config
