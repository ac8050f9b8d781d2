"""Each place of a map at length one."""

import tensorflow as tf


class PixelNormLayer(tf.keras.layers.Layer):
    """y = x / sqrt(mean over the channels of x^2 + epsilon): magnitudes cannot run away while two networks compete.

    Args:    epsilon: > 0.
    Call:    [b, ..., d], training -> the same shape.
    Raises:  ValueError for an epsilon that is not above 0.
    Source:  Karras et al., ICLR 2018, arXiv:1710.10196, section 4.2.   Differs: no.
    """

    def __init__(self, epsilon=1e-8):
        super().__init__()
        if not epsilon > 0:
            raise ValueError(f"`epsilon` is {epsilon} but must be above 0; use 1e-8.")
        self.epsilon = epsilon

    def call(self, x, training=False):
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + self.epsilon)
