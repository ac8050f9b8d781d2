"""Margins on the cosine find the fakes of an unseen generator at least as well as softmax: wgan_gp held out.

Claimed: with a head of CosFace or ArcFace in the place of a linear one with softmax, no pairs and equally many steps,
AUC on fakes of wgan_gp is higher; the heads differ more there than on unseen fakes of the four trained generators.
Source: inspired by "Face-recognition losses for deepfake detection", of which the abstract alone was read.
Shrunk: as holdout_wgan_gp.
"""

from keras_apps.claims.claim import Arm, Claim

OWN = {"held_out": "wgan_gp", "robustness": ()}
HEADS = {"softmax": "linear()", "cosface": "cosface()", "arcface": "arcface()"}

CLAIM = Claim(
    sets={"fashion_mnist_fakes": ""},
    arms={name: Arm("fake_image_detection/cross_entropy", "fashion_mnist_fakes", {**OWN, "head": head})
          for name, head in HEADS.items()},
    metric="auc",
    also=("f", "auc_seen", "f_seen"),
    rules=("cosface > softmax", "arcface > softmax", "cosface - softmax > cosface.auc_seen - softmax.auc_seen",
           "arcface - softmax > arcface.auc_seen - softmax.auc_seen"),
    minutes=16,
)
