"""WGAN at the published size: see dcgan_64.py. Never run here.

    python -m tfrecords.write --images=celeba.zip --out=build/data/faces
    python -m keras_apps.train --config=keras_apps/configs/image_generation/wgan_64.py --data=build/data/faces \\
        --workdir=build/zoo/faces/wgan
"""

from keras_apps.configs.image_generation.dcgan_64 import published
from keras_apps.configs.image_generation.wgan import get_config as small


def get_config():
    config = published(small())
    config.update({"generator": "dcgan(width=64)", "critic": "dcgan(width=64)", "critic_steps": 5})
    for group in ("generator", "critic"):
        config.optimizers[group] = "rmsprop(rate=2e-4)"
    return config
