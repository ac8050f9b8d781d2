"""As sssnet_100.py with 200 labelled images.

    python -m tfrecords.write --npz=pneumoniamnist.npz --out=build/data/pneumonia_mnist
    python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/sssnet_200.py \\
        --data=build/data/pneumonia_mnist --workdir=build/sssnet_200
"""

from keras_apps.configs.small_sample_diagnosis.sssnet_100 import get_config as sssnet


def get_config():
    config = sssnet()
    config.update({"labels": 100, "steps": 720, "checkpoint_every": 720})
    return config
