"""In the lecture's own split, 400 images to train on, 13 to choose by, 60 to judge by, pairs and classifier are better.

Claimed: over repeated splits of 473 of all 5,856 images F and accuracy of SSSNet are higher than those of the same
network with cross-entropy alone. Sixty images know a share to six points: the verdict may well be undecided.
Source: SSSNet (IEEE AVSS 2019), known from its lecture alone.
Differs: each seed is another split; the classes come in their own shares (one normal image to 2.7 of pneumonia).
Shrunk: 28 pixels, 1,500 steps of 32 images.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import ALONE, COLUMNS, SETS, arm

SPLIT = {"labels": 0, "deal": (400, 13, 60), "ignore_splits": True, "data.train_split": "",
         "data.validation_split": "", "data.test_split": ""}

CLAIM = Claim(
    sets=SETS,
    arms={"sssnet": arm(400, **SPLIT), "cross_entropy": arm(400, **SPLIT, **ALONE)},
    metric="f",
    also=COLUMNS,
    rules=("sssnet > cross_entropy", "sssnet.accuracy > cross_entropy.accuracy"),
    minutes=16,
)
