"""One network for scales of 2, 4 and 8 that is told the scale, judged at 2, 3, 4, 6 and 8; ORL at 48 pixels.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/super_resolution/resolution_aware.py \\
        --data=build/data/orl_faces --workdir=build/resolution_aware

psnr and ssim are means over the five scales, two of which it was never trained on; 48 can be divided by all of them.
`--config.aware=False` is the same network that has to guess the scale.

Measured, mean of three splits of persons: 26.47 dB (bicubic 24.61), 26.43 for the network that has to guess. 1.9 CPU
minutes on an AMD EPYC.
"""

from ml_collections import ConfigDict

from keras_apps.configs.super_resolution.orl_x4 import get_config as orl_x4


def get_config():
    config = orl_x4()
    config.update({
        "size": 48, "scales": (2, 4, 8), "judged": (2, 3, 4, 6, 8), "aware": True, "ensemble": 1,
        "steps": 1000, "checkpoint_every": 1000, "restorer": "edsr(width=24, blocks=6, rise=12)",
        "recogniser_steps": 0, "ema": 0.99,
    })
    config.weights.ssim = 0.0
    config.optimizers = ConfigDict({"restorer": "adam(rate=1e-3)"})
    config.data.augment = ("flip()", "affine(rotate=0.1, scale=0.1, shift=0.05, keep=0.3)")
    return config
