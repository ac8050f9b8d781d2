"""The generator of `sigan_resnet` with the L1 term alone: no critic, no pairs.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/l1_only.py \\
        --data=build/data/orl_faces --workdir=build/l1_only

The best PSNR there is to be had from it: after 300 steps, over three splits of persons, 24.40 dB (SiGAN 24.23, with a
perceptual term 24.17, bicubic 22.87), and as many of the faces are found among 40 as SiGAN's: top-1 .552 (.556, .756,
.344) and .544.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet


def get_config():
    config = sigan_resnet()
    config.weights.update({"identity": 0.0, "adversarial": 0.0, "pixel": 1.0})
    config.optimizers.update({"identity": "", "critic": ""})
    return config
