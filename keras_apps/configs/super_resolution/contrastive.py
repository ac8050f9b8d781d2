"""The resolution-aware network whose codes of one image agree between resolutions.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/super_resolution/contrastive.py \\
        --data=build/data/orl_faces --workdir=build/contrastive

cross_rank1: of how many test images the code at scale 8 finds the code of the same image at scale 2.
Measured, mean of three splits of persons: .511, and 26.26 dB; without the term .015 (chance .011) by the mean of the
maps, and 26.47 dB. 1.9 CPU minutes on an AMD EPYC.
`--config.weights.guess=0.005` adds a head that tells the scale from the maps (guessed_scale).
"""

from keras_apps.configs.super_resolution.resolution_aware import get_config as resolution_aware


def get_config():
    config = resolution_aware()
    config.contrastive = "contrastive(margin=0.5, distance='cosine')"
    config.weights.contrastive = 0.05
    return config
