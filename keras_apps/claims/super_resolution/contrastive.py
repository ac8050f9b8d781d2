"""A contrastive term between resolutions makes codes agree across them, at a cost of at most 0.2 dB.

Our reading of "resolution-aware super-resolution": pairs of one image at two scales are pulled together, of two images
pushed apart. cross_rank1: how often the code at scale 8 finds its own image's at scale 2. ORL, three splits of persons.

Shrunk: 48 x 48 pixels, 24 channels, 1,000 steps.
"""

from keras_apps.claims._persons import SETS, SPLITS
from keras_apps.claims.claim import Arm, Claim

CLAIM = Claim(
    sets=SETS,
    arms={"plain": Arm("super_resolution/resolution_aware", "orl_faces", {}, SPLITS),
          "contrastive": Arm("super_resolution/contrastive", "orl_faces", {}, SPLITS)},
    metric="cross_rank1",
    also=("psnr", "ssim"),
    rules=("contrastive > plain", "contrastive.psnr - plain.psnr > -0.2"),
    minutes=15,
)
