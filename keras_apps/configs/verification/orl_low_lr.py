"""ORL faces at low resolution: every training image is made as low as those that `orl_low_hr` is judged on.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/verification/orl_low_lr.py --data=build/data/orl_faces \\
        --workdir=build/orl_low_lr

Expected, mean of seeds 0-2 at the last step (each); raw pixels stand in `orl_low_hr`:

| images         | AUC                   | EER  | rank-1 |
|----------------|-----------------------|------|--------|
| whole          | .957 (.949 .963 .959) | .093 | .987   |
| low            | .980 (.980 .981 .979) | .088 | .992   |
| low ask whole  | .828 (.830 .829 .824) | .260 | .640   |

2.1 CPU minutes on 2 cores of an AMD EPYC. Best among low images; as a low image among whole ones worse than raw pixels.
"""

from keras_apps.configs.verification.orl_low_hr import get_config as orl_low_hr


def get_config():
    config = orl_low_hr()
    config.data.augment = (*config.data.augment, config.low)        # last: nothing is sharper than the image
    return config
