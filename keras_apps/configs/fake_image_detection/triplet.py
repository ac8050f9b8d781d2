"""As contrastive.py, the pairs taught by batch-hard triplets of codes.

    python -m tfrecords.write --out=build/data/fashion_mnist_fakes \\
        --source="fakes(reals='build/data/fashion_mnist', pools='build/zoo/fashion_mnist/pools')"
    python -m keras_apps.train --config=keras_apps/configs/fake_image_detection/triplet.py \\
        --config.held_out=wgan --data=build/data/fashion_mnist_fakes --workdir=build/fakes/wgan_triplet
"""

from keras_apps.configs.fake_image_detection.contrastive import get_config as contrastive


def get_config():
    config = contrastive()
    config.loss = "triplet(margin=0.8, mining='batch_hard', normalise=False)"
    return config
