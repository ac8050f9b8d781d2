"""As contrastive.py without pairs: the classifier alone has all steps.

    python -m tfrecords.write --out=build/data/fashion_mnist_fakes \\
        --source="fakes(reals='build/data/fashion_mnist', pools='build/zoo/fashion_mnist/pools')"
    python -m keras_apps.train --config=keras_apps/configs/fake_image_detection/cross_entropy.py \\
        --config.held_out=wgan --data=build/data/fashion_mnist_fakes --workdir=build/fakes/wgan_cross_entropy

Measured as contrastive.py: AUC .986 held out, .996 seen, F .917 and .972.
"""

from keras_apps.configs.fake_image_detection.contrastive import get_config as contrastive


def get_config():
    config = contrastive()
    config.loss = ""
    return config
