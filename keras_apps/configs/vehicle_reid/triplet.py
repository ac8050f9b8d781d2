"""Batch-hard triplets alone on the network of the strong baseline.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/triplet.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_triplet

What learning distances gives by itself.
"""

from keras_apps.configs.vehicle_reid.strong_baseline import get_config as strong_baseline


def get_config():
    config = strong_baseline()
    config.update({
        "head": "", "norm": "none", "center": "", "weights": {"head": 0.0, "metric": 1.0, "center": 0.0},
    })
    del config.optimizers.center
    return config
