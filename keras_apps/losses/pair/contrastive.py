"""Contrastive loss of listed pairs."""

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses import _contrastive


class ContrastiveLoss:
    """Contrastive loss: the two of a pair are pulled together if they are the same, else pushed beyond a margin.

    squared:      value_i = (p d_i^2 + w (1 - p) [m - d_i]+^2) / 2
    not squared:  value_i = p d_i + w (1 - p) [m - d_i]+
    d_i is the distance of first_i and second_i, p = 1 where they are the same, else 0.

    Args:    margin: m > 0 (for cosine at most 2).
             distance: "cosine" (1 - cos, in [0, 2]) or "euclidean" (|a - b|).
             squared: the squared form or the plain hinge.
             normalise: bring embeddings to length one first. False is for Euclidean only, where m needs a
             scale from elsewhere, such as batch normalisation of the embedding.
             negatives: w >= 0, the weight of the push. 0 = same pairs alone, which a constant embedding solves.
    Call:    first, second: [b, D], any length (normalised here unless normalise=False).  same: [b] bool, or numbers:
             1 = same, 0 = different, below 0 = unknown: such a pair has value 0.
    Returns: [b], >= 0; of equal embeddings the gradient is exactly 0. Computed in float32 (float64 for float64).
    Raises:  ValueError for a margin out of range, an unknown distance, cosine with normalise=False, a negative
             weight and, when called, for shapes that do not fit.
    Source:  Hadsell, Chopra, LeCun, CVPR 2006, eq. 4.
    Differs: the unsquared form, the cosine and the weight are options.
    """

    def __init__(self, margin=0.5, distance="cosine", squared=True, normalise=True, negatives=1.0):
        _contrastive.check(margin, distance, normalise, negatives)
        self.margin = float(margin)
        self.negatives = float(negatives)
        self.distance = distance
        self.squared = squared
        self.normalise = normalise

    def __call__(self, first, second, same):
        first, second, same = _contrastive.listed(first, second, same)
        if self.normalise:
            first, second = geometry.unit(first), geometry.unit(second)
        distances = geometry.row_distances(first, second, self.distance)
        pull, push = _contrastive.pull_and_push(distances, self.margin, self.squared)
        same = tf.cast(same, distances.dtype)
        none = tf.zeros_like(distances)
        return tf.where(same > 0, pull, none) + self.negatives * tf.where(same == 0, push, none)
