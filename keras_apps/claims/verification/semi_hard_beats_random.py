"""Triplets with semi-hard negatives teach more than triplets with random ones, in equally many steps.

Claimed: on identities never trained on, the AUC over all pairs is higher. Both arms take every positive pair of the
batch; only the negative differs. `all` is every triplet of the batch: what `random` is in the mean, without its noise.
Beside them the same network under cross-entropy, the untrained network, and raw pixels.
Source: Schroff, Kalenichenko, Philbin, CVPR 2015, arXiv:1503.03832, section 3.2.
Shrunk: 400 steps of 40 images on 5 digits of 20 images (batches of 5 x 8) and on 20 persons of ORL (10 x 4), where the
paper had batches of 1,800 faces; so few images a batch hold few negatives to choose from.
"""

from keras_apps.claims.claim import Arm, Claim

SHORT = {"steps": 400, "checkpoint_every": 400, "mirror": False, "head": ""}
KINDS = {
    "semi_hard": {"loss": "triplet(margin=0.2, mining='semi_hard', distance='squared')"},
    "random": {"loss": "triplet(margin=0.2, mining='random', distance='squared')"},
    "all": {"loss": "triplet(margin=0.2, mining='all', distance='squared')"},
    "cross_entropy": {"head": "linear()", "loss": ""},
    # Its weights stand still, but the batch norms inside find their statistics.
    "untrained": {"loss": "triplet()", "steps": 50, "checkpoint_every": 50, "schedule": "constant()",
                  "optimizers.network": "adam(rate=1e-9)"},
}

CLAIM = Claim(
    sets={"digits": "--digits", "orl_faces": ""},
    arms={f"{kind}_{name}": Arm(f"verification/{name}", data, {**SHORT, **own})
          for name, data in (("digits", "digits"), ("orl", "orl_faces")) for kind, own in KINDS.items()},
    metric="auc",
    also=("eer", "rank1"),
    rules=("semi_hard_digits > random_digits", "semi_hard_orl > random_orl"),
    minutes=11,
)
