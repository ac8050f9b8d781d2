"""ORL faces at low resolution: half of the training images are degraded, each in its own way.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/verification/orl_low_mixed.py --data=build/data/orl_faces \\
        --workdir=build/orl_low_mixed

The factor of reduction is drawn log-uniformly from 1 to 6, the blur before it up to 2 pixels, the noise after it up to
0.05. Share and ranges were chosen on persons 1-20 alone, ten to train and ten to judge by, both ways round.

Expected, mean of seeds 0-2 at the last step (each); raw pixels stand in `orl_low_hr`:

| images         | AUC                   | EER  | rank-1 |
|----------------|-----------------------|------|--------|
| whole          | .978 (.982 .973 .980) | .076 | .998   |
| low            | .972 (.972 .971 .972) | .101 | .985   |
| low ask whole  | .960 (.961 .956 .963) | .116 | .842   |

2.2 CPU minutes on 2 cores of an AMD EPYC. On whole images EER is worse than without degradation (.063). By rank-1 of
low images raw pixels are still ahead: .910 where these ask among whole ones, .990 among each other.
"""

from keras_apps.configs.verification.orl_low_hr import get_config as orl_low_hr


def get_config():
    config = orl_low_hr()
    config.data.augment = (*config.data.augment,
                           "degrade(factor=(1.0, 6.0), blur=(0.0, 2.0), noise=(0.0, 0.05), share=0.5)")
    return config
