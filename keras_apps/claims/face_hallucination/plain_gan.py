"""Pretty, but the wrong person: a plain GAN falls below bicubic on top-1; L1 alone has the best PSNR.

Hsu et al., arXiv:1807.08370, the rows DCGAN and bicubic; the second is what a mean of all possible faces must have.
ORL, 8 x 8 to 32 x 32, three splits of persons.

Shrunk: as `identity_resnet`, 500 steps for every arm.
"""

from keras_apps.claims._persons import SETS
from keras_apps.claims.claim import Claim
from keras_apps.claims.face_hallucination._orl import arm

SHORT = {"steps": 500, "checkpoint_every": 500}

CLAIM = Claim(
    sets=SETS,
    arms={"l1_only": arm("l1_only", **SHORT), "no_l1": arm("no_l1", **SHORT),
          "no_identity": arm("no_identity", **SHORT), "perceptual": arm("perceptual", **SHORT),
          "sigan": arm("sigan_resnet", **SHORT)},
    metric="top1",
    also=("top5", "top10", "top1_closed", "auc", "psnr", "floor_psnr", "ssim", "hr_top1", "lr_top1", "pca_top1",
          "pca_psnr", "nmf_top1", "nmf_psnr"),
    rules=("no_l1 < no_l1.floor_top1", "l1_only.psnr > no_identity.psnr", "l1_only.psnr > perceptual.psnr",
           "l1_only.psnr > sigan.psnr", "l1_only.psnr > no_l1.psnr"),
    minutes=30,
)
