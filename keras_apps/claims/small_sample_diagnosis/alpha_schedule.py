"""Pairs alone for ten epochs, then classifier and pairs at 0.4, beat the classifier alone and 0.4 from the beginning.

Claimed: on the 624 test images F and accuracy after the lecture's schedule (alpha = 0 for epochs 1-10, 0.4 for 11-60)
are higher than with alpha = 1 throughout, and than with 0.4 from the first epoch. Beside them the schedule with the
loss as the lecture prints it.
Source: SSSNet (IEEE AVSS 2019), known from its lecture alone.
Shrunk: 28 pixels, 200 labelled images, 720 steps of 16 pairs.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import COLUMNS, SETS, arm

CLAIM = Claim(
    sets=SETS,
    arms={"scheduled": arm(200), "classifier_throughout": arm(200, alpha=1.0, pair_share=0.0),
          "both_throughout": arm(200, pair_share=0.0),
          "as_printed": arm(200, loss="squared_contrastive(margin=0.5)")},
    metric="f",
    also=COLUMNS,
    rules=tuple(f"scheduled{key} > {other}{key}" for key in ("", ".accuracy")
                for other in ("classifier_throughout", "both_throughout")),
    minutes=16,
)
