"""LSGAN on Fashion-MNIST: DCGAN's networks with the least-squares loss.

    python -m tfrecords.write --npz=$SUITE_DATA/fashion_mnist/fashion_mnist.npz --out=build/data/fashion_mnist
    python -m keras_apps.train --config=keras_apps/configs/image_generation/lsgan.py \\
        --data=build/data/fashion_mnist --workdir=build/zoo/fashion_mnist/lsgan
"""

from keras_apps.configs.image_generation.dcgan import get_config as dcgan


def get_config():
    config = dcgan()
    config.update({"family": "lsgan", "loss": "least_squares()"})
    return config
