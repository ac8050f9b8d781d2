"""What the claims on a held-out generator have in common.

Fashion-MNIST at 28 pixels; 4,000 fakes of each of five generators of our own (`python -m keras_apps.zoo`), as many real
images. A run is trained on the real images and the fakes of four generators, and tested on the 1,000 fakes of the fifth
that are held out, beside as many unseen real images.
"""

from keras_apps.claims.claim import Arm, Claim

SETS = {"fashion_mnist_fakes": ""}
ARMS = ("contrastive", "triplet", "cross_entropy")


def held_out(family):
    """The claim with one generator held out."""
    own = {"held_out": family, "robustness": ("jpeg(share=1.0, quality=(75, 75))",)}
    return Claim(
        sets=SETS,
        arms={arm: Arm(f"fake_image_detection/{arm}", "fashion_mnist_fakes", own) for arm in ARMS},
        metric="f",
        also=("auc", "f_seen", "auc_seen", "auc_jpeg", "auc_seen_jpeg", "patch_mass", "patch_mass_control"),
        beside=("precision", "recall"),
        curves=("precision", "recall", "f"),
        rules=("contrastive > cross_entropy", "contrastive.auc > cross_entropy.auc",
               "triplet > cross_entropy", "triplet.auc > cross_entropy.auc",
               "contrastive - cross_entropy > contrastive.f_seen - cross_entropy.f_seen",
               "triplet - cross_entropy > triplet.f_seen - cross_entropy.f_seen",
               # The patch is a quarter of the area.
               *(f"{arm}.patch_mass > {other}" for arm in ARMS for other in (f"{arm}.patch_mass_control", "0.25")),
               *(f"{arm}.auc_seen_jpeg > 0.9" for arm in ARMS), *(f"{arm}.auc_jpeg > 0.7" for arm in ARMS),
               *(f"{arm}.auc > {arm}.floor_auc" for arm in ARMS)),
        minutes=16,
    )
