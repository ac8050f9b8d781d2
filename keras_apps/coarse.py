"""Coarse groups of classes: found from what is confused, and joined with the classes for one answer.

Source:  Palacio et al., Contextual Classification Using Self-Supervised Auxiliary Models, ICPR 2020, arXiv:2101.03057.
"""

import math

import numpy as np
import tensorflow as tf

from keras_apps import geometry


def coarse_groups(confusion, groups):
    """Puts classes that are confused with each other into groups of about one size.

    s = (C + C^T) / 2 without its diagonal. One class starts each group: first the two that are confused least, then,
    one after the other, the class that is confused least with those before. Then the class and the group that are
    confused most, by the mean over the group's members, come together, until all classes have a group; no group takes
    more than ceil(1.1 K / G). Ties go to a class that is confused more with all others, for a group to grow around it,
    to the smaller group, and to the first class: the same confusion always gives the same groups.

    Args:    confusion: C [K, K] >= 0, counts or rates of label i answered as j.  groups: G, 2 to K.
    Returns: [K] int, each class's group; groups are numbered by their first class, and none is empty.
    Raises:  ValueError for a confusion that is not square, finite and >= 0 or a number of groups out of range.
    Differs: the paper tells that groups are balanced and greedy, not how ties fall.
    """
    confusion = np.asarray(confusion, float)
    classes = len(confusion)
    if confusion.shape != (classes, classes) or not (np.isfinite(confusion) & (confusion >= 0)).all():
        raise ValueError(f"`confusion` has shape {confusion.shape} but must be [K, K] numbers of at least 0; count the "
                         "answers of a validation split.")
    if not 2 <= groups <= classes:
        raise ValueError(f"`groups` is {groups} but must be from 2 to the {classes} classes; use "
                         f"{max(2, math.isqrt(classes))}.")
    shared = (confusion + confusion.T) / 2
    np.fill_diagonal(shared, 0)
    totals, seeds = shared.sum(axis=1), _seeds(shared, groups)
    found = np.full(classes, -1)
    found[seeds] = range(groups)
    pull, sizes, most = shared[:, seeds], np.ones(groups, int), -(-11 * classes // (10 * groups))
    for _ in range(classes - groups):
        rows, columns = np.nonzero((found < 0)[:, None] & (sizes < most))
        best = _least(-(pull / sizes)[rows, columns], sizes[columns], -totals[rows])
        row, column = rows[best], columns[best]
        found[row] = column
        sizes[column] += 1
        pull[:, column] += shared[:, row]
    order = list(dict.fromkeys(found.tolist()))
    return np.argsort(order)[found]


def joint(log_fine, coarse_logs, exponent):
    """The answer of the classes' head and of the groups' heads together.

    log p_i = log softmax_i(log p_fine + e sum_k log p_k(g_k(i)))

    Args:    log_fine: [n, K], log probabilities; logits do as well.
             coarse_logs: a list of (log probabilities [n, G] or logits, the group of each class [K] int).
             exponent: e >= 0, the trust in the groups; 0 = exactly the softmax of log_fine, small (0.3) is usual.
    Returns: [n, K], of which exp sums to 1; float32, or float64 where log_fine is.
    Raises:  ValueError for an exponent below 0 or not one group a class.
    """
    if not (math.isfinite(exponent) and exponent >= 0):
        raise ValueError(f"`exponent` is {exponent} but must be a finite number of at least 0; use 0.3.")
    total = geometry.wide(log_fine)
    for logs, groups in coarse_logs:
        if not total.shape[1:].is_compatible_with(np.shape(groups)):
            raise ValueError(f"`log_fine` has shape {total.shape} but its groups {np.shape(groups)}; give "
                             "one group a column.")
        if exponent:        # 0 times the logarithm of 0 is no number
            total += exponent * tf.gather(tf.cast(logs, total.dtype), groups, axis=1)
    return tf.nn.log_softmax(total)


def _seeds(shared, groups):
    """The first class of each group."""
    totals, (first, second) = shared.sum(axis=1), np.triu_indices(len(shared), 1)
    pair = _least(shared[first, second], -totals[first] - totals[second])
    chosen = [first[pair], second[pair]]
    while len(chosen) < groups:
        near = shared[:, chosen].sum(axis=1)
        near[chosen] = np.inf
        chosen.append(_least(near, -totals))
    return chosen


def _least(*keys):
    """Where the first key is least, of several such places where the next one is, and so on; at last the first."""
    left = np.arange(len(keys[0]))
    for key in keys:
        left = left[key[left] == key[left].min()]
    return left[0]
