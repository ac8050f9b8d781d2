"""What a detector must beat: facts that should not tell real from fake, and a thumbnail that sees no detail."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tfrecords import audit_probe

SIDE = 8            # pixels of a thumbnail
MOST = 4000         # images that the floor is fitted on
BRIEF = 2000        # images that are probed


class Thumbnail:
    """The floor: a logistic regression on thumbnails of 8 x 8 pixels, fitted on the images trained on.

    Args:    images: float [n,H,W,C] in [0, 1].  fake: [n] bool.
    """

    def __init__(self, images, fake):
        self.model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight="balanced"))
        with threadpool_limits(1):
            self.model.fit(thumbnails(images), fake)

    def __call__(self, images):
        """Scores [n], larger = more fake; above 0 = called fake."""
        return self.model.decision_function(thumbnails(images))


def thumbnails(images):
    """Float [n, 8 x 8 x C]."""
    small = tf.image.resize(images, [SIDE, SIDE], antialias=True).numpy()
    return small.reshape(len(small), -1)


def probe(images, fake, encoded, sizes):
    """How well single facts alone tell real from fake on held-back training images: the audit's probe.

    Args:    images: float [n,H,W,C].  fake: [n] bool.  encoded: [n] bytes as stored.
             sizes: [n,2] height and width as stored.
    Returns: {"file size" | "height and width" | "mean colour" | "spectrum" | "thumbnail": `audit_probe.Score`}; {}
             where one kind has too few images to hold any back.
    """
    classes, groups = fake.astype(int), np.arange(len(fake))
    fold = audit_probe.folds(classes, groups)
    if fold is None:
        return {}
    facts = {"file size": np.log([[len(data)] for data in encoded]), "height and width": np.log(sizes),
             "mean colour": images.mean(axis=(1, 2)),
             "spectrum": np.stack([audit_probe.spectrum(image.mean(axis=2)) for image in images]),
             "thumbnail": thumbnails(images)}
    return {name: audit_probe.score(values, classes, groups, fold, name) for name, values in facts.items()}


def codecs(encoded):
    """The file formats of encoded images, as names."""
    return sorted({Image.open(io.BytesIO(data)).format for data in encoded})
