"""With 400 labelled images, too, pairs and classifier beat the classifier alone.

Claimed: on the 624 test images F and accuracy of SSSNet are higher than with cross-entropy alone, and the vote of the
five most similar training images is about as often right as the classifier (within .03).
Source: SSSNet (IEEE AVSS 2019), known from its lecture alone; the vote: inspired by skin-lesion retrieval (ICPR 2020),
known from its abstract.
Shrunk: 28 pixels, 1,500 steps of 32 images.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import ALONE, COLUMNS, SETS, arm

CLAIM = Claim(
    sets=SETS,
    arms={"sssnet": arm(400), "cross_entropy": arm(400, **ALONE)},
    metric="f",
    also=(*COLUMNS, "accuracy_vote"),
    rules=("sssnet > cross_entropy", "sssnet.accuracy > cross_entropy.accuracy",
           "sssnet.accuracy - sssnet.accuracy_vote < 0.03", "sssnet > sssnet.floor_f"),
    minutes=16,
)
