"""Local contrast: each pixel against its neighbourhood, so that light and exposure matter less."""

import tensorflow as tf


class LocalContrastLayer:
    """y = 1/2 + (x - mean) / (4 sqrt(variance + floor^2)), mean and variance over a size x size window and the channel.

    The factor and the half keep most values in [0, 1], as backbones expect. Pixels beyond the border do not count.

    Args:    size: odd side of the window, pixels, >= 3.  floor: > 0, image units; weaker contrasts are not blown up.
    Call:    images [b,H,W,C] -> [b,H,W,C].
    Returns: unchanged (to the floor) by any brightness shift and contrast factor of the images.
    Raises:  ValueError for an even size or one below 3, or floor <= 0.
    Source:  Jarrett, Kavukcuoglu, Ranzato and LeCun, ICCV 2009, section 2 (N layer).   Differs: box window, a channel
             by itself.
    """

    def __init__(self, size=9, floor=0.05):
        if size < 3 or size % 2 == 0:
            raise ValueError(f"`size` is {size} but must be odd and at least 3; use {max(3, size + 1)}.")
        if floor <= 0:
            raise ValueError(f"`floor` is {floor} but must be above 0; use 0.05.")
        self.size, self.floor = size, floor

    def __call__(self, images):
        images = images - tf.reduce_mean(images, axis=[1, 2], keepdims=True)    # keeps the squares small
        mean = tf.nn.avg_pool2d(images, self.size, 1, "SAME")
        variance = tf.maximum(tf.nn.avg_pool2d(tf.square(images), self.size, 1, "SAME") - tf.square(mean), 0.0)
        return 0.5 + (images - mean) / (4.0 * tf.sqrt(variance + self.floor ** 2))
