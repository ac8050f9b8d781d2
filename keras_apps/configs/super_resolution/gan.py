"""Two stages: by pixels, then with a critic and an encoder's maps; what is served is a mean of both weights.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/super_resolution/gan.py --data=build/data/orl_faces \\
        --workdir=build/gan

psnr_fused_<p> and distance_fused_<p> are the figures with p percent of the weights of before the critic: fidelity
against what the maps of the recogniser, which no loss has known, find natural. `--config.fusion=1.0` serves the first
stage alone, 0.0 the last.

Over three splits of persons, cut down as the claim `fusion` says: PSNR is best between, 26.65 with 50 percent, 26.58
with 100 and 26.51 with 0 (bicubic 24.47); the distance falls from .374 with 100 to .356 and .336.
"""

from ml_collections import ConfigDict

from keras_apps.configs.super_resolution.orl_x4 import get_config as orl_x4


def get_config():
    config = orl_x4()
    config.update({
        "size": 48, "recogniser_size": 48, "recogniser_steps": 300, "steps": 1600, "checkpoint_every": 1600,
        "restorer": "edsr(width=24, blocks=6, rise=12)", "ensemble": 1, "gan_share": 0.4, "fusion": 0.5,
        "perceptual": "perceptual(levels=('map3', 'map4'))", "ema": 0.99,
    })
    config.weights.update({"adversarial": 0.005, "perceptual": 0.05, "ssim": 0.0})
    config.optimizers = ConfigDict({
        "restorer": "adam(rate=1e-3)", "critic": "adam(rate=5e-4, beta_1=0.5)",
        "recogniser": "adam(rate=1e-3, decay=1e-3)"})
    config.data.augment = ("flip()", "affine(rotate=0.1, scale=0.1, shift=0.05, keep=0.3)")
    return config
