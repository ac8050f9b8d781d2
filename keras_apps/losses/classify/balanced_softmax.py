"""Softmax that knows how frequent each class is in training."""

import numpy as np
import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses.classify import _targets


class BalancedSoftmaxLoss:
    """Balanced softmax: cross-entropy in which the frequency of the classes speaks for itself.

    value_i = - sum_j t_ij log softmax_j(z_i + log n)

    The logits need not learn that some classes are rare: the plain softmax of z, without n, is the answer for a set in
    which all classes are equally frequent.

    Args:    counts: n, the training images a class, K numbers above 0.
    Call:    logits z [b, K]; target t [b] int, below 0 = none, or [b, K] shares that sum to 1; zeros alone = none.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0, with gradient 0, without a target.
    Raises:  ValueError for a count that is not above 0 and, when called, for shapes that do not fit.
    Source:  Ren et al., NeurIPS 2020, arXiv:2007.10740, theorem 1.   Differs: no.
    """

    def __init__(self, counts):
        self.counts = _targets.checked(counts)

    def __call__(self, logits, target):
        logits = geometry.wide(logits)
        _targets.check_classes(logits, self.counts)
        return _targets.expected(-tf.nn.log_softmax(logits + np.log(self.counts).astype(logits.dtype.name)), target)
