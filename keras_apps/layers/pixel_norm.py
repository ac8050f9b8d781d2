"""Each place of a map at length one."""

import tensorflow as tf

from keras_apps import geometry


class PixelNormLayer(tf.keras.layers.Layer):
    """y = x / sqrt(mean over the channels of x^2 + epsilon): magnitudes cannot run away while two networks compete.

    Args:    epsilon: > 0.
    Call:    [b, ..., d], training -> the same shape and dtype; the mean is float32 or wider.
    Raises:  ValueError for an epsilon that is not above 0.
    Source:  Karras et al., ICLR 2018, arXiv:1710.10196, section 4.2.   Differs: no.
    """

    def __init__(self, epsilon=1e-8):
        super().__init__(autocast=False)
        if not epsilon > 0:
            raise ValueError(f"`epsilon` is {epsilon} but must be above 0; use 1e-8.")
        self.epsilon = epsilon

    def call(self, x, training=False):
        wide = geometry.wide(x)     # in float16 the squares overflow and epsilon is 0
        mean = tf.reduce_mean(tf.square(wide), axis=-1, keepdims=True)
        return tf.cast(wide * tf.math.rsqrt(mean + self.epsilon), x.dtype)
