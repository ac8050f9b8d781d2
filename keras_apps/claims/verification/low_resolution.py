"""Training on whole and degraded images recognises low-resolution faces better than training on whole ones alone.

Claimed: on persons never trained on, of whose images 8 x 8 pixels are left, the AUC is higher among such images
(LR-LR), and of such images that ask among whole ones (LR-HR). `lr` is trained on images of 8 x 8 pixels only.
Source: inspired by lightweight low-resolution face recognition (ICPR 2020), known from its abstract alone.
Differs: images are reduced and enlarged bilinearly, not compressed as JPEG; the factor in training is 1 to 6, not 2 to
8; one network; scores of two networks are not fused.
Shrunk: the network of `orl.py` on 20 persons of ORL at 48 pixels, 20 others to judge by.
"""

from keras_apps.claims.claim import Arm, Claim

CLAIM = Claim(
    sets={"orl_faces": ""},
    arms={name: Arm(f"verification/orl_low_{name}", "orl_faces") for name in ("hr", "lr", "mixed")},
    metric="auc_lr_lr",
    also=("auc_lr_hr", "auc", "rank1_lr_lr", "rank1_lr_hr", "floor_auc_lr_hr", "floor_rank1_lr_hr"),
    rules=("mixed > hr", "mixed.auc_lr_hr > hr.auc_lr_hr"),
    minutes=18,
)
