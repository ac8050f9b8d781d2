"""Faces four times as large: nearer than bicubic by 1.7 dB and .075 of SSIM, and ten more in a hundred are recognised.

Claimed: the goals of this suite for ORL, 112 x 92 pixels from 28 x 23, in three splits of persons; top-1 among the ten
test persons with one whole image each, by a recogniser trained on the other thirty. The augmentation was chosen on
persons 1-30, some of whom splits 1 and 2 judge: split 0 alone is free of them.
Source: our own goals; the network is that of Lim et al., arXiv:1707.02921.
Shrunk: 32 channels, 8 blocks, 2,500 steps.
"""

from keras_apps.claims._persons import SETS, SPLITS
from keras_apps.claims.claim import Arm, Claim

CLAIM = Claim(
    sets=SETS,
    arms={"edsr": Arm("super_resolution/orl_x4", "orl_faces", {}, SPLITS)},
    metric="psnr",
    also=("ssim", "floor_ssim", "top1_closed", "floor_top1_closed", "hr_top1_closed", "top1", "floor_top1", "hr_top1"),
    rules=("edsr - edsr.floor_psnr > 1.7", "edsr.ssim - edsr.floor_ssim > 0.075",
           "edsr.top1_closed - edsr.floor_top1_closed > 0.1"),
    minutes=30,
)
