"""As sssnet_100.py with 400 labelled images.

    python -m tfrecords.write --npz=pneumoniamnist.npz --out=build/data/pneumonia_mnist
    python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/sssnet_400.py \\
        --data=build/data/pneumonia_mnist --workdir=build/sssnet_400
"""

from keras_apps.configs.small_sample_diagnosis.sssnet_100 import get_config as sssnet


def get_config():
    config = sssnet()
    config.update({"labels": 200, "steps": 1500, "checkpoint_every": 1500})
    return config
