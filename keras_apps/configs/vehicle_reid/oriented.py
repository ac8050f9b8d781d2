"""Two similarities: one for views alike, one for views that differ; on made-up figures turned left, front or right.

    python -m tfrecords.write --synthetic=identities:identities=160,images=12,cameras=3,size=48 --out=build/data/figures
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/oriented.py --data=build/data/figures \\
        --workdir=build/reid_oriented

Four stripes are pooled; the triplets of the two branches stand in place of the one of the baseline. The data need a
column `orientation`; a mirror image would show another one, so there is no flip. `map_turned` is of searches where
images of the query's identity and orientation are junk.
"""

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config as stronger_baseline


def get_config():
    config = stronger_baseline()
    config.update({
        "steps": 400, "batch": 48, "checkpoint_every": 400, "size": 48, "schedule": "cosine(warmup=40)",
        "neck": "last()", "pooling": "parts(parts=4)", "loss": "", "center": "", "mirror": False,
        "matcher": "oriented(branch=64)", "query_camera": "", "distractors": (),
    })
    del config.optimizers.center
    config.data.update({
        "train_split": "", "validation_split": "", "test_split": "", "holdout": 0.5, "sampler": "pk(images=6)",
        "augment": ("affine(rotate=0.1, scale=0.15, shift=0.08)", "jitter(brightness=0.3, contrast=0.5)",
                    "erase(share=0.5, area=0.2)"),
    })
    return config
