"""Anti-aliased shrinking: a binomial blur before places are left out."""

import math

import tensorflow as tf


class BlurPoolLayer(tf.keras.layers.Layer):
    """Blur pooling: each output is a binomial mean around every `stride`-th place, channel by channel.

    y_ij = sum_kl a_k a_l x_(s i + k - o, s j + l - o),   a_k = C(n - 1, k) / 2^(n - 1),  o = floor((n - 1) / 2)

    Beyond the border the map goes on as its mirror image about the border place; of one place, as that place. After a
    step that changes its result when the image moves by one pixel, such as a stride, the blur makes that change small.

    Args:    size: n, 2-5 taps a side; 2 = the mean of 2 x 2.  stride: s >= 1; 1 = blur alone.
    Call:    [b,h,w,d] -> [b, ceil(h / s), ceil(w / s), d] in the same dtype.
    Raises:  ValueError for a size outside 2-5 or a stride below 1.
    Source:  Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019, arXiv:1904.11486.   Differs: no.
    """

    def __init__(self, size=4, stride=2):
        super().__init__(autocast=False)
        if size not in (2, 3, 4, 5):
            raise ValueError(f"`size` is {size} but must be 2, 3, 4 or 5 taps; use 4.")
        if stride < 1:
            raise ValueError(f"`stride` is {stride} but must be at least 1; use 2.")
        self.stride = stride
        self.before, self.after = (size - 1) // 2, size // 2
        row = [math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)]       # exact even in bfloat16
        self.filter = [[a * b for b in row] for a in row]

    def call(self, x):
        filters = tf.tile(tf.constant(self.filter, x.dtype)[:, :, None, None], [1, 1, x.shape[-1], 1])
        return tf.nn.depthwise_conv2d(self._padded(x), filters, [1, self.stride, self.stride, 1], "VALID")

    def _padded(self, x):
        sides = x.shape[1:3]
        if None not in sides and min(sides) > self.after:
            both = [self.before, self.after]
            return tf.pad(x, [[0, 0], both, both, [0, 0]], "REFLECT")
        # tf.pad refuses maps this small; gather would do for all, but its gradient is slow.
        for axis in (1, 2):
            size = tf.shape(x)[axis]
            period = tf.maximum(2 * (size - 1), 1)
            place = tf.range(-self.before, size + self.after) % period
            x = tf.gather(x, tf.minimum(place, period - place), axis=axis)
        return x
