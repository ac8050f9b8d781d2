"""Cross-entropy in which an image of one class counts more than one of another."""

import math

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses.classify import _targets

_COSTS = ("inverse", "effective")


class CostSensitiveLoss:
    """Cost-sensitive loss: cross-entropy of the softmax, weighted by the class of the target.

    value_i = - sum_j t_ij w_j log softmax_j(z_i),   w_j = c_j sum_k n_k / sum_k n_k c_k

    inverse:    c_j = 1 / n_j, so that all classes count alike in sum
    effective:  c_j = (1 - beta) / (1 - beta^n_j), one over the effective number of images: n_j while that is small
                against 1 / (1 - beta), which it never exceeds
    The mean weight of the training images is 1 whatever the costs: the rate of learning needs no other value.

    Args:    counts: n, the training images a class, K numbers above 0.
             costs: "inverse", "effective", or K numbers above 0, of which the proportions count.
             beta: in [0, 1), for "effective" alone; 0 = all images count alike, near 1 = inverse.
    Call:    logits z [b, K]; target t [b] int, below 0 = none, or [b, K] shares that sum to 1; zeros alone = none.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0, with gradient 0, without a target.
    Raises:  ValueError for counts or costs that are not above 0, unknown costs, not one cost a class, a beta outside
             [0, 1) and, when called, for shapes that do not fit.
    Source:  effective: Cui et al., CVPR 2019, arXiv:1901.05555, proposition 1; the others: weighted maximum likelihood.
    Differs: there the weights of the classes, not of the images, have mean 1.
    """

    def __init__(self, counts, costs="inverse", beta=0.999):
        counts = _targets.checked(counts)
        if isinstance(costs, str) and costs not in _COSTS:
            raise ValueError(f"`costs` is {costs!r} but must be one of {', '.join(_COSTS)}; or give a number a class.")
        if not 0 <= beta < 1:
            raise ValueError(f"`beta` is {beta} but must lie in [0, 1); use 0.999.")
        if costs == "inverse":
            costs = [1 / count for count in counts]
        elif costs == "effective":
            costs = [(1 - beta) / (1 - beta ** count) for count in counts]
        costs = [float(cost) for cost in costs]
        if len(costs) != len(counts) or not all(math.isfinite(cost) and cost > 0 for cost in costs):
            raise ValueError(f"`costs` is {costs} but must hold a finite number above 0 for each of the {len(counts)} "
                             "classes; use \"inverse\".")
        mean = sum(count * cost for count, cost in zip(counts, costs)) / sum(counts)
        self.weights = [cost / mean for cost in costs]

    def __call__(self, logits, target):
        logits = geometry.wide(logits)
        _targets.check_classes(logits, self.weights)
        return _targets.expected(-tf.constant(self.weights, logits.dtype) * tf.nn.log_softmax(logits), target)
