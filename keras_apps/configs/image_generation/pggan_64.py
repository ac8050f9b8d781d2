"""PGGAN at the published size: see dcgan_64.py. Never run here.

    python -m tfrecords.write --images=celeba.zip --out=build/data/faces
    python -m keras_apps.train --config=keras_apps/configs/image_generation/pggan_64.py --data=build/data/faces \\
        --workdir=build/zoo/faces/pggan
"""

from keras_apps.configs.image_generation.dcgan_64 import published
from keras_apps.configs.image_generation.pggan import get_config as small


def get_config():
    config = published(small())
    config.update({"generator": "progressive(width=64, most=512)", "critic": "progressive(width=64, most=512)"})
    return config
