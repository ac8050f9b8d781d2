"""A temperature halves the calibration error and leaves every answer as it is.

Claimed: of networks trained to the end on 100 images the ECE of the test images with the temperature, fitted on the
validation images, is below half of what it is without; accuracy is the same.
Source: Guo et al., ICML 2017, arXiv:1706.04599; inspired by calibration for renal immunofluorescence (ICPR 2020).
Shrunk: 28 pixels, 100 labels, 720 steps of 32 images without augmentation, which the network learns by heart.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import ALONE, SETS, arm

OVER = {"steps": 720, "checkpoint_every": 720, "data.augment": ()}

CLAIM = Claim(
    sets=SETS,
    arms={"cross_entropy": arm(100, **ALONE, **OVER), "sssnet": arm(100, **OVER)},
    metric="ece",
    also=("ece_uncalibrated", "nll", "nll_uncalibrated", "temperature", "accuracy", "accuracy_uncalibrated"),
    rules=tuple(rule for name in ("cross_entropy", "sssnet") for rule in (
        f"{name}.ece_uncalibrated - {name} > {name}",
        f"{name}.accuracy - {name}.accuracy_uncalibrated > -0.000001",
        f"{name}.accuracy - {name}.accuracy_uncalibrated < 0.000001")),
    minutes=14,
)
