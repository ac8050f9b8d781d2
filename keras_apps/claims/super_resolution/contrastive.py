"""A contrastive term between resolutions makes codes agree across them, at a cost of at most 0.2 dB.

Claimed: pairs of one image at two scales are pulled together, of two images pushed apart; the code at scale 8 then
finds its own image's at scale 2 more often (cross_rank1) than, without the term, the mean of the maps does, which is
what there is to compare by then. ORL, three splits of persons.
Source: our reading of "resolution-aware super-resolution", of which a lecture gives the title alone.
Shrunk: 48 x 48 pixels, 24 channels, 1,000 steps.
"""

from keras_apps.claims._persons import SETS, SPLITS
from keras_apps.claims.claim import Arm, Claim

CLAIM = Claim(
    sets=SETS,
    arms={"plain": Arm("super_resolution/resolution_aware", "orl_faces", {}, SPLITS),
          "contrastive": Arm("super_resolution/contrastive", "orl_faces", {}, SPLITS)},
    metric="cross_rank1",
    also=("cross_rank1_maps", "psnr", "ssim"),
    rules=("contrastive > plain", "contrastive.psnr - plain.psnr > -0.2"),
    minutes=15,
)
