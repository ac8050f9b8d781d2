"""Focal loss: images that are sure already count for little."""

import math

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses.classify import _targets


class FocalLoss:
    """Focal loss: cross-entropy of the softmax, weighted down where the probability of the target is high.

    value_i = - sum_j t_ij (1 - p_ij)^gamma log p_ij,   p_i = softmax(z_i)

    Args:    gamma: >= 0; 0 = cross-entropy, large = only images that are far from their target count.
    Call:    logits z [b, K]; target t [b] int, below 0 = none, or [b, K] shares that sum to 1; zeros alone = none.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0, with gradient 0, without a target.
    Raises:  ValueError for a gamma below 0 and, when called, for shapes that do not fit.
    Source:  Lin et al., ICCV 2017, arXiv:1708.02002, eq. 4.
    Differs: a softmax over the classes, there a sigmoid of two; no alpha (cost_sensitive weighs classes). Shares mix
             the values of the classes.
    """

    def __init__(self, gamma=2.0):
        if not (math.isfinite(gamma) and gamma >= 0):
            raise ValueError(f"`gamma` is {gamma} but must be a finite number of at least 0; use 2.")
        self.gamma = float(gamma)

    def __call__(self, logits, target):
        logs = tf.nn.log_softmax(geometry.wide(logits))
        if not self.gamma:
            return _targets.expected(-logs, target)
        rest = -tf.math.expm1(logs)     # 1 - p without the loss of digits near certainty
        # At certainty the value and its slope are 0, but the power's slope alone is infinite for gamma < 1.
        unsure = rest > 0
        factor = tf.where(unsure, tf.where(unsure, rest, tf.ones_like(rest)) ** self.gamma, tf.zeros_like(rest))
        return _targets.expected(-factor * logs, target)
