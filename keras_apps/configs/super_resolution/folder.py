"""Your own photos, in colour, two to four times as large, as cameras spoil them: blur, noise, JPEG.

    python -m tfrecords.write --images=photos --tile=144 --out=build/data/photos
    python -m keras_apps.train --config=keras_apps/configs/super_resolution/folder.py --data=build/data/photos \\
        --workdir=build/photos_large

The photos need no labels: cut into tiles of 144 pixels; the tiles of about one photo in ten are held back to judge by.
Judged on plain reductions; `--config.before="()" --config.after="()"` trains for those alone. Larger scales:
`--config.scales="(2, 4, 8)" --config.judged="(2, 4, 8)"`. Grey photos give a model of grey images. Images that are no
tiles are stretched to `size`: give their own, `--config.size="(height, width)"`.
"""

from ml_collections import ConfigDict

from keras_apps.configs.super_resolution.orl_x4 import get_config as orl_x4


def get_config():
    config = orl_x4()
    config.update({
        "size": 144, "patch": 72, "scales": (2, 3, 4), "judged": (2, 3, 4), "aware": True, "ensemble": 1,
        "steps": 3200, "checkpoint_every": 800, "pixel": "charbonnier()", "recogniser_steps": 0,
        "before": ("blur(share=0.5, sigma=(0.2, 1.2))",),
        "after": ("degrade(factor=(1.0, 1.0), blur=(0.0, 0.0), noise=(0.0, 0.03), share=0.5)",
                  "jpeg(share=0.5, quality=(60, 95))"),
    })
    config.optimizers = ConfigDict({
        "restorer": "adam(rate=1e-3)",
        "recogniser": "adam(rate=1e-3, decay=1e-3)"})       # where recogniser_steps is set
    config.data.update({"train_identities": "", "holdout": 0.1, "augment": ("flip()",), "test_images": 200})
    return config
