"""A batch norm between feature and classifier (BNNeck) helps where triplets and cross-entropy are combined.

Claimed: mean average precision on vehicles never trained on is higher when triplets act before the norm and
cross-entropy after it than when both act on one feature.
Source: Luo et al., CVPRW 2019, arXiv:1903.07071 (Market-1501 mAP .817 to .857).
Shrunk: 300 steps of 32 images at 48 pixels, 405 vehicles; 162 others search and are searched.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

CLAIM = Claim(
    sets=SETS,
    arms={"bnneck": Arm("vehicle_reid/no_mffm", "vehicle_reid", SMALL),
          "without": Arm("vehicle_reid/no_mffm", "vehicle_reid", {**SMALL, "norm": "none"}),
          "untrained": Arm("vehicle_reid/no_mffm", "vehicle_reid", UNTRAINED)},
    metric="map",
    also=("rank1", "map_large"),
    rules=("bnneck > without", "bnneck > bnneck.floor_map"),
    minutes=6,
)
