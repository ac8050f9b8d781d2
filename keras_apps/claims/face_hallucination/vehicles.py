"""The same table in colour: vehicles of camera 1 restored from 16 x 12 pixels, found among those of camera 2.

Claimed: as `identity_resnet`, of 60 vehicles never trained on, whose images of camera 2 are searched by themselves
(top1_closed) and among all 567. Seeds are those of the networks: the test vehicles are given.
Source: the method of arXiv:1807.08370 on another kind of object.
Shrunk: as `identity_resnet`, 64 x 48 pixels; 24 and 16 channels, 250 steps of 16, 400 of the recogniser.
"""

from keras_apps.claims.claim import Arm, Claim

SHORT = {"steps": 250, "checkpoint_every": 250, "batch": 16, "recogniser_steps": 400,
         "restorer": "sigan(widths=(24, 16), counts=(2, 3), blocks='residual', tail=16, code=32, on_bicubic=True)"}


def arm(**overrides):
    return Arm("face_hallucination/sigan_vehicle", "vehicle_reid", {**SHORT, **overrides})


CLAIM = Claim(
    sets={"vehicle_reid": ""},
    arms={"l1_only": arm(**{"weights.identity": 0.0, "weights.adversarial": 0.0, "optimizers.identity": "",
                            "optimizers.critic": ""}),
          "no_identity": arm(**{"weights.identity": 0.0, "optimizers.identity": ""}), "sigan": arm()},
    metric="top1_closed",
    also=("top1", "top5_closed", "auc", "psnr", "floor_psnr", "ssim", "hr_top1_closed", "lr_top1_closed",
          "pca_top1_closed", "nmf_top1_closed"),
    rules=("sigan.hr_top1_closed > 0.05", "sigan.hr_top1_closed > sigan", "sigan > sigan.floor_top1_closed",
           "sigan > no_identity"),
    minutes=29,
)
