"""Your own few hundred images, one sub-folder a class, or a CSV with path, label and, of patients, case.

    python -m tfrecords.write --images=photos --out=build/data/photos
    python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/folder.py --data=build/data/photos \\
        --workdir=build/photos

or in one go, --data=photos or --data=photos.csv: the records are then written to the workdir first. Three networks of
SSSNet answer as one. Where the data name no splits they are dealt: 15 % of the images to calibrate by, 25 % to judge
by, whole cases, every class in its share on each side, drawn by --config.seed. Images without a label are seen only
where a stage without labels is asked for: --config.view_share=0.6 --config.probe=True --config.answer=validation, worth
trying with a thousand images or more.

Where classes are uneven: --config.classify="balanced_softmax()". Where left and right differ: take "flip()" out and set
--config.tta=1. From an encoder that is there, in two phases, the head first: --config.init=build/other
--config.head_share=0.3 --config.rates="('layers(path=\\'network/backbone\\', factor=0.1)',)" --config.members=1, with
the `backbone` of that run.
"""

from ml_collections import ConfigDict

from keras_apps.configs.small_sample_diagnosis.sssnet_100 import get_config as sssnet


def get_config():
    config = sssnet()
    config.update({
        "steps": 900, "checkpoint_every": 300, "size": 64, "labels": 0, "classes": (),
        "positive": "", "deal": (0, 0.15, 0.25), "members": 3, "schedule": "cosine(warmup=30)", "ema": 0.98, "tta": 2,
    })
    config.class_names = ConfigDict()       # an update would leave those of the X-rays
    config.data.update({
        "train_split": "", "validation_split": "", "test_split": "", "fit": "pad",
        "augment": ("flip()", "affine(rotate=0.15, scale=0.1, shift=0.05, keep=0.3)", "jitter()"),
    })
    return config
