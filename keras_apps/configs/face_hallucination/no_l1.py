"""A plain GAN: neither the L1 nor the identity term of `sigan_resnet`.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/no_l1.py \\
        --data=build/data/orl_faces --workdir=build/no_l1

Pretty, but is it the person? The critic alone says what a face is.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet


def get_config():
    config = sigan_resnet()
    config.weights.update({"identity": 0.0, "pixel": 0.0, "adversarial": 1.0})
    config.optimizers.identity = ""
    return config
