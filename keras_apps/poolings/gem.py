"""Generalised-mean pooling."""

import math

import tensorflow as tf

from keras_apps import geometry

LEAST = 1e-6


class GemPooling(tf.keras.layers.Layer):
    """GeM pooling: each channel's power mean over the map, between the average (p = 1) and the maximum (large p).

    value_d = (mean_{h,w} max(x_hwd, 1e-6)^p)^(1/p)     learned: p = 1 + log(1 + e^q), one q for all channels

    The largest value of a channel is taken out before the power: neither large values nor a large p overflow.

    Args:    power: p >= 1, its first value where it is learned; learned: p > 1.
             learned: whether p is; by its form it stays above 1.
    Call:    map [b, h, w, d]; h and w may be unknown. What is below 1e-6, as after a ReLU, counts as that and gets no
             gradient.
    Returns: [b, d] in the map's dtype, computed in float32 or wider.
    Raises:  ValueError for a power below 1, or of 1 where it is learned.
    Source:  Radenovic et al., TPAMI 2019, arXiv:1711.02512.   Differs: p is not free but kept above 1.
    """

    def __init__(self, power=3.0, learned=True):
        super().__init__(autocast=False)
        if not (math.isfinite(power) and power >= 1):
            raise ValueError(f"`power` is {power} but must be a finite number of at least 1; use 3.")
        if learned and power == 1:
            raise ValueError(f"`power` is {power} but must be above 1 to be learned; use 3, or learned=False.")
        self.power, self.learned = float(power), learned

    def build(self, shape):
        if self.learned:
            above = self.power - 1
            first = above + math.log(-math.expm1(-above))       # log(e^above - 1) without the overflow
            self.raw = self.add_weight("raw_power", [], tf.float32, tf.keras.initializers.Constant(first),
                                       experimental_autocast=False)
        super().build(shape)

    def call(self, map):
        x = tf.maximum(geometry.wide(map), LEAST)
        power = tf.cast(1 + tf.nn.softplus(self.raw) if self.learned else self.power, x.dtype)
        # It may be a constant to the gradient because the power mean is proportional to it.
        largest = tf.stop_gradient(tf.reduce_max(x, axis=[1, 2], keepdims=True))
        means = tf.reduce_mean(tf.pow(x / largest, power), axis=[1, 2])
        return tf.cast(largest[:, 0, 0] * tf.pow(means, 1 / power), map.dtype)
