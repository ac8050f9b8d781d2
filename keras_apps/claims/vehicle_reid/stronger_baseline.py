"""Anti-aliasing and multi-layer fusion each add to the strong baseline, which beats either of its losses alone.

Claimed: the mean average precision on vehicles never trained on falls when either part is left out, falls again without
both, and is lowest with cross-entropy or batch-hard triplets alone.
Source: Hsu et al., VCIP 2019 Grand Challenge (VERI-Wild: .514, without anti-aliasing .412, without fusion .424, strong
baseline .396, softmax .264, triplet .157).
Shrunk: 300 steps of 16 vehicles x 2 images at 48 pixels, 405 vehicles seen by two cameras; 162 others search and are
searched, where the paper had 3,000 to 10,000. So few steps flatter anti-aliasing: its untrained features search better
already than what plain strides have learned by then.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

CLAIM = Claim(
    sets=SETS,
    arms={**{name: Arm(f"vehicle_reid/{name}", "vehicle_reid", SMALL) for name in (
        "stronger_baseline", "no_mffm", "no_anti_aliasing", "strong_baseline", "cross_entropy", "triplet")},
        "untrained": Arm("vehicle_reid/stronger_baseline", "vehicle_reid", UNTRAINED)},
    metric="map",
    also=("rank1", "map_large"),
    rules=("stronger_baseline > no_mffm", "stronger_baseline > no_anti_aliasing", "no_mffm > strong_baseline",
           "no_anti_aliasing > strong_baseline", "strong_baseline > cross_entropy", "strong_baseline > triplet",
           "stronger_baseline > stronger_baseline.floor_map", "stronger_baseline > untrained"),
    minutes=20,
)
