"""A convolution of bounded slope."""

import warnings

import tensorflow as tf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")     # it tells at every start that its development has ended
    from tensorflow_addons.layers import SpectralNormalization


class SpectralConvLayer(tf.keras.layers.Layer):
    """Convolution whose weights are divided by their largest singular value at every training pass.

    w = w / sigma,   sigma = v' W u for W = w as [kernel^2 d, filters], u and v by one step of power iteration a pass

    Args:    filters: channels of y, >= 1.  kernel: taps.  stride: >= 1.
    Call:    [b,h,w,d], training (the division) -> [b, h/stride, w/stride, filters].
    Raises:  ValueError for a number below 1.
    Source:  Miyato et al., ICLR 2018, arXiv:1802.05957, algorithm 1; the normalisation is tensorflow-addons'.
    Differs: no gradient passes through sigma (as in tensorflow-addons).
    """

    def __init__(self, filters=8, kernel=3, stride=1):
        super().__init__()
        if min(filters, kernel, stride) < 1:
            raise ValueError(f"spectral_conv(filters={filters}, kernel={kernel}, stride={stride}) needs numbers of at "
                             "least 1.")
        # In the dtype of the weights: what a pass puts back in their place must not be rounded to float16.
        own = {"dtype": self.variable_dtype}
        self.wrapped = SpectralNormalization(
            tf.keras.layers.Conv2D(filters, kernel, stride, "same", kernel_initializer="he_normal", **own), **own)

    def build(self, shape):
        self.wrapped.build(shape)
        super().build(shape)

    def call(self, x, training=False):
        return tf.cast(self.wrapped(x, training=training), self.compute_dtype)
