"""A convolution whose weights all learn at one speed."""

import math

import tensorflow as tf


class EqualisedConvLayer(tf.keras.layers.Layer):
    """Convolution of stride 1, zeros around the border, with an equalised learning rate.

    y = conv(x, c w) + b,   w ~ N(0, 1) when made,   c = gain / sqrt(kernel^2 d)   (He's constant, applied at run time)

    Adam moves every weight by about the same amount whatever its size; with all w of size one that is the same share
    of each.

    Args:    filters: channels of y, >= 1.  kernel: taps, odd.  gain: > 0; sqrt(2) before a rectifier, 1 at the end.
             seed: int, fixes the first weights.
    Call:    [b,h,w,d], training -> [b,h,w,filters].
    Raises:  ValueError for filters below 1, an even kernel or a gain that is not above 0.
    Source:  Karras et al., ICLR 2018, arXiv:1710.10196, section 4.1.   Differs: no.
    """

    def __init__(self, filters=8, kernel=3, gain=1.4142135623730951, seed=0):
        super().__init__()
        if filters < 1 or kernel % 2 != 1 or not gain > 0:
            raise ValueError(f"equalised_conv(filters={filters}, kernel={kernel}, gain={gain}) needs filters >= 1, an "
                             "odd kernel and a gain above 0.")
        self.filters, self.kernel, self.gain, self.seed = filters, kernel, gain, seed

    def build(self, shape):
        def first(size, dtype=tf.float32):
            return tf.random.stateless_normal(size, [self.seed, 30], dtype=dtype)
        self.w = self.add_weight("w", [self.kernel, self.kernel, shape[-1], self.filters], initializer=first)
        self.b = self.add_weight("b", [self.filters], initializer="zeros")
        self.scale = self.gain / math.sqrt(self.kernel * self.kernel * shape[-1])
        super().build(shape)

    def call(self, x, training=False):
        return tf.nn.conv2d(x, self.scale * self.w, 1, "SAME") + self.b
