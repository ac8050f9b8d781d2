"""SiGAN with dense blocks on ORL, 8 x 8 to 32 x 32.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/sigan_densenet.py \\
        --data=build/data/orl_faces --workdir=build/sigan_densenet

As `sigan_resnet` but for the blocks. After 350 steps, over three splits of persons, top-1 among 40 is .563 (.622, .678,
.389), bicubic .463, the lost images .830; without the identity term .570: with dense blocks three splits do not show
what the pairs add.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet


def get_config():
    config = sigan_resnet()
    config.restorer = ("sigan(widths=(32, 24), counts=(2, 3), blocks='dense', growth=6, tail=24, code=32, "
                       "on_bicubic=True)")
    return config
