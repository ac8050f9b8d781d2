"""Re-ranking by k-reciprocal neighbours raises the mean average precision where an identity has many images.

Claimed: for the same embeddings, of persons never trained on, each image asking all others; beside the claim
`reranking`, whose gallery has one image of each identity.
Source: Zhong et al., CVPR 2017, arXiv:1701.08398 (k1 = 20, k2 = 6 for dozens of images).
Shrunk: 300 steps of 8 x 4 images at 48 pixels, faces of 20 persons; the 200 images of 20 others search each other,
k1 = 8 (each has 9 matches) and k2 = 3.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SMALL, UNTRAINED

OWN = {"data.train_split": "", "data.holdout": 0.5, "data.sampler": "pk(images=4)", "query_camera": "",
       "protocol": "all", "distractors": (), "reranker": "k_reciprocal(k1=8, k2=3)"}
CLAIM = Claim(
    sets={"orl_faces": ""},
    arms={"k_reciprocal": Arm("vehicle_reid/no_mffm", "orl_faces", {**SMALL, **OWN}),
          "untrained": Arm("vehicle_reid/no_mffm", "orl_faces", {**UNTRAINED, **OWN})},
    metric="map_reranked",
    also=("map", "rank1", "rank1_reranked"),
    rules=("k_reciprocal > k_reciprocal.map", "k_reciprocal > k_reciprocal.floor_map_reranked"),
    minutes=8,
)
