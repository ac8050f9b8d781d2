"""A plain GAN: neither the L1 nor the identity term of `sigan_resnet`.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/no_l1.py \\
        --data=build/data/orl_faces --workdir=build/no_l1

Pretty, but is it the person? The critic alone says what a face is. It is not: after 300 steps, over three splits of
persons, top-1 among 40 is .204 (.233, .167, .211) where bicubic enlargements have .463, and PSNR 16.06 under their
22.87.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet


def get_config():
    config = sigan_resnet()
    config.weights.update({"identity": 0.0, "pixel": 0.0, "adversarial": 1.0})
    config.optimizers.identity = ""
    return config
