"""The share of the weights from before the critic leads from natural images to near ones.

Claimed: with more of those weights PSNR rises, and so does the distance of the maps (less is better) that a recogniser
makes of restored and lost image; no loss has known it. The way is drawn in each run's picture `fusion`. ORL, three
splits of persons.
Source: w theta_pixel + (1 - w) theta_gan of arXiv:1911.08711; the distance is ours.
Shrunk: 48 x 48 pixels, 24 channels, 960 steps by pixels and 640 with the critic.
"""

from keras_apps.claims._persons import SETS, SPLITS
from keras_apps.claims.claim import Arm, Claim

CLAIM = Claim(
    sets=SETS,
    arms={"gan": Arm("super_resolution/gan", "orl_faces", {}, SPLITS)},
    metric="psnr",
    also=tuple(f"{name}_fused_{percent}" for name in ("psnr", "distance") for percent in (0, 25, 50, 75, 100)),
    rules=("gan.psnr_fused_100 > gan.psnr_fused_50", "gan.psnr_fused_50 > gan.psnr_fused_0",
           "gan.distance_fused_0 < gan.distance_fused_50", "gan.distance_fused_50 < gan.distance_fused_100"),
    minutes=12,
)
