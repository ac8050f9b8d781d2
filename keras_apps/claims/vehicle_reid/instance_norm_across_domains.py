"""Instance norm in the first stages keeps a search alive when the second camera is restyled.

Claimed: the mean average precision among gallery images whose brightness, contrast, saturation and hue are changed
image by image, on vehicles never trained on; queries are left as they are, and no colour is changed in training.
Source: Pan et al. (IBN-a), ECCV 2018, arXiv:1807.09441, there from one set of city scenes to another.
Shrunk: 300 steps of 16 vehicles x 2 images at 48 pixels, 405 vehicles; 162 others search and are searched.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

PLAIN = "resnet(widths=(32, 64, 128, 256), blocks=(1, 1, 1, 1), stem_stride=2, last_stride=1, blur=3)"
RESTYLED = {"restyle": "jitter(brightness=0.3, contrast=1.0, saturation=1.0, hue=0.1)",
            "data.augment": ("flip()", "affine(rotate=0.1, scale=0.3, shift=0.1)", "erase(share=0.5, area=0.2)")}
CLAIM = Claim(
    sets=SETS,
    arms={"instance_norm": Arm("vehicle_reid/stronger_baseline", "vehicle_reid", {**SMALL, **RESTYLED}),
          "batch_norm": Arm("vehicle_reid/stronger_baseline", "vehicle_reid", {
              **SMALL, **RESTYLED, "backbone": PLAIN}),
          "untrained": Arm("vehicle_reid/stronger_baseline", "vehicle_reid", {**UNTRAINED, **RESTYLED})},
    metric="map_restyled",
    also=("map", "rank1", "rank1_restyled"),
    rules=("instance_norm > batch_norm", "instance_norm > instance_norm.floor_map_restyled"),
    minutes=9,
)
