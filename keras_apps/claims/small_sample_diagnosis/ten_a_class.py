"""With ten images a class, images between the images and probability-guided maxout help the same network.

Claimed: on the 624 test images the AUC with GLICO (a generator makes half of the batches between two images of a class)
and with probability-guided maxout is higher than that of the same network without; maxout is better than dropout 0.5.
Source: Azuri and Weinshall, ICPR 2020, arXiv:2011.14418 (CIFAR, CUB); Ferrari, Berretti, Del Bimbo, ICPR 2020.
Differs: see keras_apps/latent.py; 28 pixels, two classes.
Shrunk: cross-entropy alone, 300 steps of 20 images, the generator before them 600 steps.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import ALONE, SETS, arm

TEN = {"labels": 10, "batch": 20, "steps": 300, "checkpoint_every": 900, **ALONE}

CLAIM = Claim(
    sets=SETS,
    arms={"plain": arm(100, **TEN), "maxout": arm(100, **TEN, maxout=True), "dropout": arm(100, **TEN, dropout=0.5),
          "glico": arm(100, **{**TEN, "steps": 900}, glico_share=2 / 3)},
    metric="auc",
    also=("f", "accuracy"),
    rules=("glico > plain", "maxout > plain", "maxout > dropout"),
    minutes=14,
)
