"""Contrastive loss on squared distances, as a lecture prints it."""

import math

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses import _contrastive


class SquaredContrastiveLoss:
    """Contrastive loss of listed pairs whose distance is squared before the loss squares it once more.

    value_i = p E_i^2 / 2 + (1 - p) [m - E_i]+^2,   E_i = |a - b|^2,  p = 1 where the two are the same, else 0

    The canonical form, `contrastive`, has the distance itself for E and the half before both terms. Here the pull is
    flat around 0, so that near pairs are left alone.

    Args:    margin: m > 0; E is at most 4.
    Call:    first, second: [b, D], any length (normalised here).  same: [b] bool, or numbers: 1 = same, 0 = different,
             below 0 = unknown: such a pair has value 0.
    Returns: [b], >= 0, computed in float32 (float64 for float64); of equal codes the gradient is exactly 0.
    Raises:  ValueError for a margin that is not above 0 and, when called, for shapes that do not fit.
    Source:  inspired by SSSNet (AVSS 2019), as its lecture prints the loss.
    """

    def __init__(self, margin=0.5):
        if not (math.isfinite(margin) and margin > 0):
            raise ValueError(f"`margin` is {margin} but must be a finite number above 0; use 0.5.")
        self.margin = float(margin)

    def __call__(self, first, second, same):
        first, second, same = _contrastive.listed(first, second, same)
        squared = tf.reduce_sum(tf.math.squared_difference(geometry.unit(first), geometry.unit(second)), axis=1)
        same = tf.cast(same, squared.dtype)
        none = tf.zeros_like(squared)
        pull, push = tf.square(squared) / 2, tf.square(tf.nn.relu(self.margin - squared))
        return tf.where(same > 0, pull, none) + tf.where(same == 0, push, none)
