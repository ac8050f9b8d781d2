"""Re-ranking by k-reciprocal neighbours raises the mean average precision.

Claimed: for the same embeddings, of vehicles never trained on. Query expansion stands beside it, unjudged.
Source: Zhong et al., CVPR 2017, arXiv:1701.08398; on the strong baseline Luo et al., CVPRW 2019 (Market-1501 mAP .859
to .942).
Shrunk: 300 steps of 32 images at 48 pixels, 405 vehicles; 162 others search and are searched. Each vehicle has one
image in the gallery, not the dozens of the paper, so k1 = 6 and k2 = 3 (of 20 and 6): neighbours of a match can hardly
be matches themselves.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SETS, SMALL, UNTRAINED

CLAIM = Claim(
    sets=SETS,
    arms={"k_reciprocal": Arm("vehicle_reid/no_mffm", "vehicle_reid", {
              **SMALL, "reranker": "k_reciprocal(k1=6, k2=3)"}),
          "query_expansion": Arm("vehicle_reid/no_mffm", "vehicle_reid", {
              **SMALL, "reranker": "query_expansion(count=1)"}),
          "untrained": Arm("vehicle_reid/no_mffm", "vehicle_reid", {
              **UNTRAINED, "reranker": "k_reciprocal(k1=6, k2=3)"})},
    metric="map_reranked",
    also=("map", "rank1", "rank1_reranked"),
    rules=("k_reciprocal > k_reciprocal.map", "k_reciprocal.map > k_reciprocal.floor_map"),
    minutes=6,
)
