"""The stronger baseline without anti-aliasing.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/no_anti_aliasing.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_no_anti_aliasing

Strided convolutions and shortcuts as they are, without a blur.
"""

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config as stronger_baseline


def get_config():
    config = stronger_baseline()
    config.update({
        "backbone": "resnet(widths=(32, 64, 128, 256), blocks=(1, 1, 1, 1), stem_stride=2, last_stride=1, instance=3)",
    })
    return config
