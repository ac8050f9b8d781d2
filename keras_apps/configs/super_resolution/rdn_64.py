"""RDN at its published size, 16 dense blocks of 8 layers, on patches of 192 pixels: DIV2K or the like. Never run here.

    python -m tfrecords.write --images=DIV2K_train_HR --tile=384 --shards=64 --out=build/data/div2k
    python -m keras_apps.train --config=keras_apps/configs/super_resolution/rdn_64.py --data=build/data/div2k \\
        --workdir=build/rdn_64 --strategy=mirrored

As `edsr_64` but for the network; in small, `--config.restorer="rdn()"` stands in for any `edsr(...)`.
"""

from keras_apps.configs.super_resolution.edsr_64 import get_config as edsr_64


def get_config():
    config = edsr_64()
    config.restorer = "rdn(width=64, blocks=16, layers=8, growth=64, rise=64)"
    return config
