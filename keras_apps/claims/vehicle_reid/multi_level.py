"""The last two maps side by side search better than the last alone.

Claimed: mean average precision on vehicles never trained on, with the ranked-list loss in both arms and embeddings of
one length.
Source: inspired by a multi-level network for vehicle re-identification with a ranking loss, described without details.
Shrunk: 300 steps of 32 images at 48 pixels, 405 vehicles; 162 others search and are searched.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

CLAIM = Claim(
    sets=SETS,
    arms={"two_levels": Arm("vehicle_reid/multi_level", "vehicle_reid", SMALL),
          "last_level": Arm("vehicle_reid/multi_level", "vehicle_reid", {
              **SMALL, "neck": "multi_level(levels=1, dimension=256)"}),
          "untrained": Arm("vehicle_reid/multi_level", "vehicle_reid", UNTRAINED)},
    metric="map",
    also=("rank1", "map_large"),
    rules=("two_levels > last_level", "two_levels > two_levels.floor_map"),
    minutes=6,
)
