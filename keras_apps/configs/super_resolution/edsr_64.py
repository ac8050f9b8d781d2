"""EDSR at its published size, 32 blocks of 256 channels, on patches of 192 pixels: DIV2K or the like. Never run here.

    python -m tfrecords.write --images=DIV2K_train_HR --tile=384 --shards=64 --out=build/data/div2k
    python -m keras_apps.train --config=keras_apps/configs/super_resolution/edsr_64.py --data=build/data/div2k \\
        --workdir=build/edsr_64 --strategy=mirrored

300,000 steps of 16 patches, the rate halved after 200,000; all eight mirrored forms are averaged when judged.
"""

from keras_apps.configs.super_resolution.folder import get_config as folder


def get_config():
    config = folder()
    config.update({
        "size": 384, "patch": 192, "scales": (2, 4), "judged": (2, 3, 4), "steps": 300_000, "checkpoint_every": 5000,
        "restorer": "edsr(width=256, blocks=32, rise=256, share=0.1)", "pixel": "l1()", "ensemble": 8,
        "before": (), "after": (), "schedule": "step(at=(200000,), factor=0.5)",
    })
    config.weights.ssim = 0.0
    config.optimizers.restorer = "adam(rate=1e-4)"
    return config
