"""The strong baseline: neither anti-aliasing nor multi-layer fusion.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/strong_baseline.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_strong_baseline

Last stride 1, BNNeck, label smoothing, batch-hard triplets, center loss, random erasing, warm-up; what all arms share
beside these: instance norm in half the channels of three stages, GeM, averaged weights, the mirror image's embedding.
"""

from keras_apps.configs.vehicle_reid.no_anti_aliasing import get_config as no_anti_aliasing


def get_config():
    config = no_anti_aliasing()
    config.update({"neck": "last()"})
    return config
