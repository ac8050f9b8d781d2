"""For probes that show a part: crops in training, and a gallery cropped to what the probe shows.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/part_aware.py \\
        --data=build/data/vehicle_reid --workdir=build/reid_part_aware

The last map is pooled behind bottleneck attention. `*_partial` is of queries of which a part is shown, drawn anew for
each; `*_partial_whole` of the same queries searched among whole images; `kind_accuracy` the share of parts told right.
"""

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config as stronger_baseline


def get_config():
    config = stronger_baseline()
    config.update({"neck": "bam()", "matcher": "part_aware()"})
    return config
