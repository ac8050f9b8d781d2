"""As pneumonia_100.py with 400 labelled images.

    python -m tfrecords.write --npz=pneumoniamnist.npz --out=build/data/pneumonia_mnist
    python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/pneumonia_400.py \\
        --data=build/data/pneumonia_mnist --workdir=build/pneumonia_400
"""

from keras_apps.configs.small_sample_diagnosis.pneumonia_100 import get_config as pneumonia


def get_config():
    config = pneumonia()
    config.update({"labels": 200})
    return config
