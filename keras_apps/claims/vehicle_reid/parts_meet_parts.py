"""A probe that shows a part is found more often among the same part of the gallery than among whole images.

Claimed: rank-1 of queries cut to one of six parts drawn at random, on vehicles never trained on, with the part told by
the network; and the part is told right in more than 95 of 100.
Source: inspired by partial Re-ID with crop types (known from an abstract).
Shrunk: 300 steps of 16 vehicles x 2 images at 48 pixels, 405 vehicles; 162 others search and are searched.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

CLAIM = Claim(
    sets=SETS,
    arms={"part_aware": Arm("vehicle_reid/part_aware", "vehicle_reid", SMALL),
          "untrained": Arm("vehicle_reid/part_aware", "vehicle_reid", UNTRAINED)},
    metric="rank1_partial",
    also=("rank1_partial_whole", "kind_accuracy", "rank1"),
    rules=("part_aware > part_aware.rank1_partial_whole", "part_aware.kind_accuracy > 0.95",
           "part_aware > part_aware.floor_rank1_partial"),
    minutes=9,
)
