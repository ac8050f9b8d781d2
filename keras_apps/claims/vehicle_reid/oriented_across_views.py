"""A similarity of its own for views that differ searches better across orientations than one for all.

Claimed: mean average precision where images of the query's identity and orientation are junk, on identities never
trained on, against batch-hard triplets on one feature of the same network.
Source: inspired by Re-ID with orientation constraints (known from an abstract).
Shrunk: made-up figures turned left, front or right, 80 to train on and 80 to search, 12 images each at 48 pixels; 200
steps of 8 x 6 images.
"""

from keras_apps.claims.claim import Arm, Claim

STEPS = {"steps": 200, "checkpoint_every": 200, "schedule": "cosine(warmup=20)"}
CLAIM = Claim(
    sets={"figures": "--synthetic=identities:identities=160,images=12,cameras=3,size=48"},
    arms={"oriented": Arm("vehicle_reid/oriented", "figures", STEPS),
          "one_branch": Arm("vehicle_reid/oriented", "figures", {
              **STEPS, "matcher": "", "loss": "triplet(margin=0.3, mining='batch_hard', normalise=False)"}),
          "untrained": Arm("vehicle_reid/oriented", "figures", {
              **STEPS, "steps": 30, "checkpoint_every": 30, "schedule": "constant()", "matcher": "",
              "optimizers.network": "adam(rate=1e-9)"})},
    metric="map_turned",
    also=("rank1_turned", "map"),
    rules=("oriented > one_branch", "one_branch > one_branch.floor_map_turned"),
    minutes=12,
)
