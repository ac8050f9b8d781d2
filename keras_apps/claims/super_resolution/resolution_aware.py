"""One network that is told the scale is at least as near, over five scales, as the same one that must guess it.

Claimed: mean PSNR over scales of 2, 3, 4, 6 and 8, of which 2, 4 and 8 are trained, is higher with an embedding of the
scale that modulates the maps. ORL, three splits of persons.
Source: our reading of "resolution-aware super-resolution", of which a lecture gives the title alone.
Shrunk: 48 x 48 pixels, 24 channels, 1,000 steps.
"""

from keras_apps.claims._persons import SETS, SPLITS
from keras_apps.claims.claim import Arm, Claim


def arm(**overrides):
    return Arm("super_resolution/resolution_aware", "orl_faces", overrides, SPLITS)


CLAIM = Claim(
    sets=SETS,
    arms={"unconditioned": arm(aware=False), "aware": arm()},
    metric="psnr",
    also=("ssim", "psnr_x2", "psnr_x3", "psnr_x4", "psnr_x6", "psnr_x8"),
    rules=("aware > unconditioned",),
    minutes=15,
)
