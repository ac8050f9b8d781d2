"""A light net of many receptive fields (0.11 M parameters) under a margin softmax.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/osnet.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_osnet
"""

from keras_apps.configs.vehicle_reid.strong_baseline import get_config as strong_baseline


def get_config():
    config = strong_baseline()
    config.update({
        "backbone": "osnet(stem_stride=2)", "head": "cosface(scale=16.0, margin=0.35)", "loss": "", "center": "",
        "embedding": 128, "weights": {"head": 1.0, "metric": 0.0, "center": 0.0},
    })
    del config.optimizers.center
    return config
