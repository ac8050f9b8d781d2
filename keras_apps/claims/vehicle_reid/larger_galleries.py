"""The larger the gallery, the lower the mean average precision.

Claimed: the same 60 queries find their vehicle less surely among 162 vehicles than among 60, and less surely among 567,
of which 405 were trained on. What is added holds no answer, so that a mean can only fall: the claim cannot fail, only
be undecided; the figure is by how much, beside that of raw pixels.
Source: Lou et al., CVPR 2019 (VERI-Wild, small, medium and large test sets); every table of the set shows it.
Shrunk: 300 steps of 32 images at 48 pixels.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

SPLITS = {"data.validation_split": "val", "data.test_split": "test", "distractors": ("validation", "train")}
CLAIM = Claim(
    sets=SETS,
    arms={"stronger_baseline": Arm("vehicle_reid/stronger_baseline", "vehicle_reid", {**SMALL, **SPLITS}),
          "untrained": Arm("vehicle_reid/stronger_baseline", "vehicle_reid", {**UNTRAINED, **SPLITS})},
    metric="map",
    also=("map_middle", "map_large", "rank1", "rank1_large"),
    rules=("stronger_baseline > stronger_baseline.map_middle",
           "stronger_baseline.map_middle > stronger_baseline.map_large",
           "stronger_baseline.map_large > stronger_baseline.floor_map_large"),
    minutes=4,
)
