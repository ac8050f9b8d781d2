"""Any folder of images, one sub-folder a class or identity; four in ten identities (by hash) are held out.

    python -m tfrecords.write --images=photos --out=build/data/photos
    python -m keras_apps.train --config=keras_apps/configs/verification/folder.py --data=build/data/photos \\
        --workdir=build/photos

A start that trains in minutes on two cores. With more images raise `steps`, `size` and the widths; take "flip()" out
where left and right differ, and set `mirror` to False with it.
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "verification", "steps": 600, "batch": 32, "checkpoint_every": 200, "size": 48,
        "backbone": "small_cnn(widths=(32, 64, 96, 128))", "pooling": "flatten()",
        "head": "cosface(scale=16.0, margin=0.2)", "embedding": 128, "dropout": 0.2, "mirror": True, "norm": "batch",
        "weights": {"head": 1.0, "metric": 1.0}, "schedule": "cosine(warmup=50)", "ema": 0.99,
    })
    config.optimizers.network = "adam(rate=1e-3, decay=1e-3)"
    config.data.update({
        "holdout": 0.4, "fit": "pad", "sampler": "pk(images=4)",
        "augment": ("flip()", "affine(rotate=0.15, scale=0.15, shift=0.08)", "jitter()", "erase(share=0.3)"),
    })
    return config
