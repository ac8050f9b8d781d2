"""SiGAN with dense blocks at its published size, 16 x 16 to 64 x 64. Never run here.

    python -m tfrecords.write --images=casia_webface --pattern='(?P<identity>\\d+)/\\d+\\.jpg' --shards=128 \\
        --out=build/data/casia_webface
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/sigan_densenet_casia_64.py \\
        --data=build/data/casia_webface --workdir=build/sigan_densenet_casia_64 --strategy=mirrored

As `sigan_resnet_casia_64` but for the blocks.
"""

from keras_apps.configs.face_hallucination.sigan_resnet_casia_64 import get_config as sigan_resnet_casia_64


def get_config():
    config = sigan_resnet_casia_64()
    config.restorer = "sigan(widths=(416, 240), counts=(2, 3), blocks='dense', growth=16, tail=256, code=128)"
    return config
