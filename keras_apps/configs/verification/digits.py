"""Handwritten digits 0-4 with 20 images each; digits 5-9 are never trained on.

    python -m tfrecords.write --digits --out=build/data/digits
    python -m keras_apps.train --config=keras_apps/configs/verification/digits.py --data=build/data/digits \
        --workdir=build/digits
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "verification", "steps": 1000, "batch": 40, "checkpoint_every": 250, "size": 16, "labels": 20,
        "backbone": "small_cnn(widths=(32, 64, 128))", "pooling": "flatten()", "head": "cosface(scale=8.0, margin=0.1)",
        "embedding": 64, "dropout": 0.2, "mirror": False, "weights": {"head": 1.0, "loss": 1.0},
        "schedule": "cosine(warmup=20)", "ema": 0.99,
    })
    config.optimizers.network = "adam(rate=1e-3, decay=1e-3)"
    config.data.update({
        "train_identities": "0-4", "sampler": "pk(images=8)",
        # 5 classes teach little; turned and mirrored they are 40.
        "mixing": ("turned_classes(turns=4, mirror=True)",),
        "augment": ("affine(rotate=0.2, scale=0.15, shear=0.2, shift=0.1)", "jitter()"),
    })
    return config
