"""Ranked list loss: positives inside one radius, negatives outside a larger one."""

import math

import tensorflow as tf

from keras_apps import geometry, pairs


class RankedListLoss:
    """Ranked list loss: members of the class are drawn inside a - m, others are pushed beyond a, the nearest most.

    value_i = (1 - l) mean_p (d_ip - (a - m)) + l sum_n w_in (a - d_in) / sum_n w_in,   w_in = exp(T (a - d_in))
    p runs over the other members of i's class with d_ip > a - m, n over the members of other classes with d_in < a,
    in the global batch; d = |f_i - f_j| between unit vectors, in [0, 2].  The weights carry no gradient.

    Args:    alpha: a in (0, 2].  margin: m in [0, a].
             temperature: T >= 0; 0 weighs all n alike, large counts only the nearest.
             balance: l in [0, 1], the share of the push.
    Call:    embeddings [b, D], any length (normalised here); labels [b] int.
             A label below 0 is unknown: no anchor (value 0) and neither positive nor negative of anyone.
    Returns: [b], >= 0; a mean over no pairs is exactly 0, and so is its gradient.  Memory O(b B).
    Raises:  ValueError for a value out of its range.
    Source:  Wang et al., Ranked List Loss, CVPR 2019, arXiv:1903.03238; written from a summary.
    Differs: positives are not weighted (the source's choice for its results, T_p = 0); all members of the batch
             are anchors.
    """

    def __init__(self, alpha=1.2, margin=0.4, temperature=10.0, balance=0.5):
        if not 0 < alpha <= 2:
            raise ValueError(f"`alpha` is {alpha} but must lie in (0, 2], as distances of unit vectors do; use 1.2.")
        if not 0 <= margin <= alpha:
            raise ValueError(f"`margin` is {margin} but must lie between 0 and alpha, {alpha}; use {alpha / 3:.2g}.")
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"`temperature` is {temperature} but must be a finite number of at least 0; use 10.")
        if not 0 <= balance <= 1:
            raise ValueError(f"`balance` is {balance} but must lie in [0, 1]; use 0.5.")
        self.alpha, self.margin = float(alpha), float(margin)
        self.temperature, self.balance = float(temperature), float(balance)

    def __call__(self, embeddings, labels):
        embeddings, labels = geometry.unit(geometry.wide(embeddings)), tf.convert_to_tensor(labels)
        everyone, all_labels, offset = pairs.across(embeddings, labels)
        known = (labels >= 0)[:, None] & (all_labels >= 0)[None]
        same = labels[:, None] == all_labels[None]
        own = (offset + tf.range(tf.shape(labels)[0]))[:, None] == tf.range(tf.shape(all_labels)[0])[None]

        distances = geometry.euclidean_distances(embeddings, everyone)
        far, near = distances - (self.alpha - self.margin), self.alpha - distances
        positive, negative = same & known & ~own & (far > 0), ~same & known & (near > 0)
        pull = tf.where(positive, tf.ones_like(far), tf.zeros_like(far))
        pull /= tf.maximum(tf.reduce_sum(pull, axis=1, keepdims=True), 1)
        push = tf.nn.softmax(tf.where(negative, self.temperature * near, near.dtype.min / 8))
        push = tf.stop_gradient(tf.where(negative, push, tf.zeros_like(push)))      # softmax of none is not none
        return tf.reduce_sum((1 - self.balance) * pull * far + self.balance * push * near, axis=1)
