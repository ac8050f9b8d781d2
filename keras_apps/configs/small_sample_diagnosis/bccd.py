"""Blood cells of three kinds, most of them red: a long tail, whole microscope fields on one side.

    python -m tfrecords.write --source=voc:bccd.zip --out=build/data/bccd \\
        --splits=train:ImageSets/Main/train.txt,val:ImageSets/Main/val.txt,test:ImageSets/Main/test.txt
    python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/bccd.py --data=build/data/bccd \\
        --workdir=build/bccd

Of 2,804 training crops 2,398 are red cells, 203 white ones and 203 platelets: the loss takes the counts into account.
Figures are means over the classes.
"""

from ml_collections import ConfigDict

from keras_apps.configs.small_sample_diagnosis.sssnet_100 import get_config as sssnet


def get_config():
    config = sssnet()
    config.update({
        "steps": 600, "checkpoint_every": 600, "size": 48, "labels": 0, "classes": (),
        "positive": "", "backbone": "simple_densenet()", "classify": "balanced_softmax()",
        "schedule": "cosine(warmup=20)", "ema": 0.98, "tta": 2,
    })
    config.class_names = ConfigDict()       # an update would leave those of the X-rays
    config.data.update({
        "sampler": "pairs()",
        "augment": ("flip()", "affine(rotate=0.5, scale=0.1, shift=0.05)", "jitter(brightness=0.1, contrast=0.1)"),
    })
    return config
