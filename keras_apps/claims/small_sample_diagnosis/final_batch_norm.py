"""One more batch norm right before the answer finds a class that is one image in a hundred.

Claimed: trained on 10 normal X-rays and 990 of pneumonia, F of the normal class on the official test (234 and 390) is
higher with a final batch norm on the logits than without, and higher with one on the features than without.
Beside them: balanced softmax, focal loss and balanced sampling.
Source: Kocaman, Shir, Baeck, ICPR 2020, arXiv:2011.06319: F of the rare class .29 without, .95 with.
Differs: from scratch, in place of fine-tuning VGG19; which of the two places the source means is not known.
Shrunk: 28 pixels, 400 steps of 64 images.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import SETS, arm

RARE = {"labels": 0, "class_labels": (10, 990), "positive": "normal", "loss": "", "data.sampler": "shuffle()",
        "batch": 64, "steps": 400, "checkpoint_every": 400}
WAYS = {"plain": {}, "logits": {"head": "final_bn(place='logits')"}, "features": {"head": "final_bn(place='features')"},
        "balanced_softmax": {"classify": "balanced_softmax()"}, "focal": {"classify": "focal()"},
        "balanced_sampling": {"data.sampler": "balanced()"}}

CLAIM = Claim(
    sets=SETS,
    arms={name: arm(100, **{**RARE, **own}) for name, own in WAYS.items()},
    metric="f",
    also=("precision", "recall", "specificity", "accuracy", "auc", "nll_validation", "f_validation"),
    rules=("logits > plain", "features > plain"),
    minutes=28,
)
