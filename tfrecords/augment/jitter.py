"""Brightness and contrast."""

import tensorflow as tf


class JitterAugment:
    """Each image gets its own brightness and contrast.

    x = clip((x - mean) contrast + mean + brightness), mean over the image

    Args:    brightness: largest shift in image units.  contrast: c, factor drawn log-uniformly from
             [1 / (1 + c), 1 + c].
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1].
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a negative range.
    """

    def __init__(self, brightness=0.1, contrast=0.2):
        if brightness < 0 or contrast < 0:
            raise ValueError(f"jitter(brightness={brightness}, contrast={contrast}) needs ranges >= 0.")
        self.brightness, self.contrast = brightness, contrast

    def __call__(self, images, seed, strength=1.0):
        draws = tf.random.stateless_uniform([2, tf.shape(images)[0], 1, 1, 1], seed, -1.0, 1.0) * strength
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        factor = tf.exp(draws[1] * tf.math.log1p(self.contrast))
        # In this order strength 0 gives the input to the last bit.
        return tf.clip_by_value(images + (images - mean) * (factor - 1.0) + draws[0] * self.brightness, 0.0, 1.0)
