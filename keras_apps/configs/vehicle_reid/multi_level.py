"""The last two maps side by side under a ranked-list loss.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/multi_level.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_multi_level

Each level is pooled and projected by itself; the loss ranks on unit vectors, the names of the vehicles are learned
beside it.
"""

from keras_apps.configs.vehicle_reid.no_mffm import get_config as no_mffm


def get_config():
    config = no_mffm()
    config.update({
        "neck": "multi_level(levels=2, dimension=128)", "loss": "ranked_list(alpha=1.2, margin=0.4)", "center": "",
        "weights": {"head": 1.0, "metric": 0.4, "center": 0.0},
    })
    del config.optimizers.center
    return config
