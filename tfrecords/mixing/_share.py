"""Who is mixed with whom, and in which shares."""

import tensorflow as tf


def partners(count, seed):
    """A random permutation [count] of the batch; an image may be its own partner."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed)


def beta(count, seed, alpha):
    """[count] draws of Beta(alpha, alpha), for any alpha > 0.

    a / (a + b) with a, b ~ Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha), in logarithms: for small alpha both
    underflow and their quotient would be 0 / 0.
    """
    seeds = tf.random.experimental.stateless_split(tf.random.experimental.stateless_fold_in(seed, 1), 2)
    gamma = tf.math.log(tf.random.stateless_gamma([2, count], seeds[0], alpha + 1.0))
    uniform = tf.math.log(tf.random.stateless_uniform([2, count], seeds[1], 1e-30, 1.0)) / alpha
    return tf.sigmoid((gamma[0] + uniform[0]) - (gamma[1] + uniform[1]))
