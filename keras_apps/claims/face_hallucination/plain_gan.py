"""Pretty, but the wrong person: a plain GAN falls below bicubic on top-1; L1 alone has the best PSNR.

Claimed: top-1 of a GAN without L1 and pairs lies below that of bicubic; the PSNR of L1 alone above that of every other
row, dictionaries among them. ORL, 8 x 8 to 32 x 32, three splits of persons. The encoder of `perceptual` learns from
the persons' labels, of which `sigan` is told pairs alone.
Source: Hsu et al., arXiv:1807.08370, the rows DCGAN and bicubic.
Shrunk: as `identity_resnet`, 300 steps for every arm. The generator adds to the bicubic image, which holds a plain GAN
nearer to it than the published one.
"""

from keras_apps.claims._persons import SETS
from keras_apps.claims.claim import Claim
from keras_apps.claims.face_hallucination._orl import arm

SHORT = {"steps": 300, "checkpoint_every": 300}

CLAIM = Claim(
    sets=SETS,
    arms={"l1_only": arm("l1_only", **SHORT), "no_l1": arm("no_l1", **SHORT),
          "perceptual": arm("perceptual", **SHORT), "sigan": arm("sigan_resnet", **SHORT)},
    metric="top1",
    also=("top5", "top10", "top1_closed", "auc", "psnr", "floor_psnr", "ssim", "hr_top1", "lr_top1", "pca_top1",
          "pca_psnr", "nmf_top1", "nmf_psnr"),
    rules=("no_l1 < no_l1.floor_top1", "l1_only.psnr > perceptual.psnr", "l1_only.psnr > sigan.psnr",
           "l1_only.psnr > no_l1.psnr", "l1_only.psnr > l1_only.pca_psnr", "l1_only.psnr > l1_only.nmf_psnr",
           "l1_only.psnr > l1_only.floor_psnr"),
    minutes=30,
)
