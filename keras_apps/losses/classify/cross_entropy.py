"""Cross-entropy of the softmax."""

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses.classify import _targets


class CrossEntropyLoss:
    """Cross-entropy: the negative log probability that the softmax gives to the target.

    value_i = - sum_j t_ij log softmax_j(z_i),   t_i = (1 - e) target_i + e / K

    Args:    smoothing: e in [0, 1), the share of the target that all classes have alike; 0 = the target alone.
    Call:    logits z [b, K]; target [b] int, below 0 = none, or [b, K] shares that sum to 1; zeros alone = none.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0, with gradient 0, without a target.
    Raises:  ValueError for a smoothing outside [0, 1) and, when called, for shapes that do not fit.
    Source:  the usual softmax regression; smoothing: Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7.
    Differs: no.
    """

    def __init__(self, smoothing=0.0):
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` is {smoothing} but must lie in [0, 1); use 0.1.")
        self.smoothing = float(smoothing)

    def __call__(self, logits, target):
        costs = -tf.nn.log_softmax(geometry.wide(logits))
        if self.smoothing:
            # Mixed among the costs: a row without a target keeps its 0.
            costs = (1 - self.smoothing) * costs + self.smoothing * tf.reduce_mean(costs, axis=1, keepdims=True)
        return _targets.expected(costs, target)
