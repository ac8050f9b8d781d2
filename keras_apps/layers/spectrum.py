"""An image as the strength of its frequencies."""

import tensorflow as tf

from keras_apps import geometry


class SpectrumLayer(tf.keras.layers.Layer):
    """y = (log(|FFT(x)| + 1e-3) - mean) / deviation, channel by channel, both over the image's frequencies.

    The lowest frequency lies in the middle. What generators leave behind when they enlarge maps, peaks at regular
    frequencies, stands out here; where in the image it lies is lost.

    Call:    [b,H,W,C], training -> [b,H,W,C], of mean 0 and deviation 1, float32 (float64 for float64).
    Source:  Frank et al., ICML 2020, arXiv:2003.08685, section 4.
    Differs: Fourier's instead of the cosine transform, and each image is scaled by itself instead of by the data.
    """

    def __init__(self):
        super().__init__(autocast=False)    # rounded to float16 an image has noise at every frequency

    def call(self, x, training=False):
        planes = tf.transpose(geometry.wide(x), [0, 3, 1, 2])
        strength = tf.math.log(tf.abs(tf.signal.fft2d(tf.complex(planes, tf.zeros_like(planes)))) + 1e-3)
        strength = tf.signal.fftshift(strength, axes=(2, 3))
        mean, variance = tf.nn.moments(strength, axes=[2, 3], keepdims=True)
        return tf.transpose((strength - mean) * tf.math.rsqrt(variance + 1e-6), [0, 2, 3, 1])
