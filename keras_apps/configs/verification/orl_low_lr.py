"""ORL faces at low resolution: every training image is made as low as those that `orl_low_hr` is judged on.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/verification/orl_low_lr.py --data=build/data/orl_faces \\
        --workdir=build/orl_low_lr

"""

from keras_apps.configs.verification.orl_low_hr import get_config as orl_low_hr


def get_config():
    config = orl_low_hr()
    config.data.augment = (*config.data.augment, config.low)        # last: nothing is sharper than the image
    return config
