"""The stronger baseline without multi-layer fusion.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/no_mffm.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_no_mffm

The last map alone is pooled.
"""

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config as stronger_baseline


def get_config():
    config = stronger_baseline()
    config.update({"neck": "last()"})
    return config
