"""What the claims on ORL share: their arms, and the rules of one backbone."""

from keras_apps.claims._persons import PERSONS, SETS, SPLITS
from keras_apps.claims.claim import Arm, Claim


def arm(config, **overrides):
    return Arm(f"face_hallucination/{config}", "orl_faces", overrides, SPLITS)


def identity(blocks, minutes, **overrides):
    """SiGAN, the same GAN without the identity term, and the floors beside them, for one kind of blocks."""
    config = f"sigan_{blocks}"
    return Claim(
        sets=SETS,
        arms={"no_identity": arm(config, **overrides, **{"weights.identity": 0.0, "optimizers.identity": ""}),
              "sigan": arm(config, **overrides)},
        metric="top1",
        also=("top5", "top10", "top1_closed", "auc", "psnr", "ssim", "hr_top1", "lr_top1"),
        # The first: whether the recogniser can tell people at all, three times chance.
        rules=(f"sigan.hr_top1 > {3 / PERSONS}", "sigan.hr_top1 > sigan", "sigan > sigan.floor_top1",
               "sigan > no_identity"),
        minutes=minutes,
    )
