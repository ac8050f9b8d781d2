"""What the claims on chest X-rays have in common: PneumoniaMNIST, its official test of 624 images, drawn labels."""

from keras_apps.claims.claim import Arm

SETS = {"pneumonia_mnist": ""}
COLUMNS = ("precision", "recall", "specificity", "accuracy", "auc")


def arm(labels, /, **overrides):
    """The config sssnet_<labels> with other values."""
    return Arm(f"small_sample_diagnosis/sssnet_{labels}", "pneumonia_mnist", overrides)


# The classifier alone: no pairs, as many images a step, each of them classified.
ALONE = {"loss": "", "data.sampler": "shuffle()"}
