"""A constant embedding solves training on positive pairs alone; the contrastive term prevents it.

Claimed: with pairs of one class alone the loss goes to 0 and the embeddings of images never trained on fill one
direction (effective rank about 1; held to below 2); with pairs of different classes pushed apart they do not.
Source: Hadsell, Chopra, LeCun, CVPR 2006, section 2.
Shrunk: 300 steps on 5 digits of 20 images, and on 20 persons of ORL; the configs of these sets without their head,
dropout, averaging and turned classes. Nothing is normalised after the projection: batch norm would keep the embeddings
apart by itself. On the sphere, which the cosine stands for, shrinking towards 0 is no way out: only a constant is left.
Not judged: the AUC. The lecture's argument lets one expect .5, but the collapse is never complete and the cosine ranks
whatever small differences are left: the AUC falls only below that of the untrained network. On digits it is lower still
with negatives, which five classes without their turned copies teach little beyond themselves.
"""

from keras_apps.claims.claim import Arm, Claim

BARE = {"steps": 300, "checkpoint_every": 300, "head": "", "norm": "none", "dropout": 0.0, "ema": 0.0, "mirror": False,
        "data.mixing": (), "schedule": "cosine(warmup=20)"}
KINDS = {
    "positives_only": {"loss": "contrastive(margin=0.5, negatives=0.0)"},
    "with_negatives": {"loss": "contrastive(margin=0.5)"},
    # The floor: where both begin. Its weights stand still, but the batch norms inside find their statistics.
    "untrained": {"loss": "contrastive(margin=0.5)", "steps": 50, "checkpoint_every": 50,
                  "optimizers.network": "adam(rate=1e-9)"},
}

CLAIM = Claim(
    sets={"digits": "--digits", "orl_faces": ""},
    arms={f"{kind}_{name}": Arm(f"verification/{name}", data, {**BARE, **own})
          for name, data in (("digits", "digits"), ("orl", "orl_faces")) for kind, own in KINDS.items()},
    metric="effective_rank",
    also=("loss", "auc"),
    rules=("positives_only_digits.loss < 0.001", "positives_only_digits < 2", "with_negatives_digits > 2",
           "positives_only_orl.loss < 0.001", "positives_only_orl < 2", "with_negatives_orl > 2"),
    minutes=4,
)
