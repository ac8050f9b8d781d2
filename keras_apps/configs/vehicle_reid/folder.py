"""Your own images of vehicles or persons: four in ten identities (by hash) are held out, each image asks all others.

    python -m tfrecords.write --images=photos \\
        --pattern='(?P<identity>\\w+)_cam(?P<camera>\\d+)' --out=build/data/photos
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/folder.py --data=build/data/photos \\
        --workdir=build/photos_reid

Answers of the query's own camera do not count. Without cameras in the names add --config.protocol=all; with
--config.query_camera=1 the images of camera 1 ask those of all others. Persons: --config.size="(128, 64)". Data that
come in splits: --config.data.train_split=train --config.data.test_split=test.
"""

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config as stronger_baseline


def get_config():
    config = stronger_baseline()
    config.update({"query_camera": "", "distractors": ("train",)})
    config.data.update({"train_split": "", "validation_split": "", "test_split": "", "holdout": 0.4, "fit": "pad"})
    return config
