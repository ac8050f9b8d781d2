"""With anti-aliased downsampling a search answers the same for two shifts of its query more often.

Claimed: the share of queries whose first answer names the same identity for two shifts of up to a sixteenth of the
image is higher; the vehicles were never trained on.
Source: Zhang, ICML 2019, arXiv:1904.11486, section 4.1 (of a classifier's class: 89.2 to 91.3 %).
Shrunk: 300 steps of 32 images at 48 pixels, 405 vehicles; 162 queries.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

CLAIM = Claim(
    sets=SETS,
    arms={"anti_aliased": Arm("vehicle_reid/no_mffm", "vehicle_reid", SMALL),
          "plain": Arm("vehicle_reid/strong_baseline", "vehicle_reid", SMALL),
          "anti_aliased_untrained": Arm("vehicle_reid/no_mffm", "vehicle_reid", UNTRAINED),
          "plain_untrained": Arm("vehicle_reid/strong_baseline", "vehicle_reid", UNTRAINED)},
    metric="shift_consistency",
    also=("map", "rank1"),
    rules=("anti_aliased > plain", "anti_aliased.map > anti_aliased_untrained.map"),
    minutes=8,
)
