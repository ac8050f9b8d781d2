"""What every loss of an image asks of its two arguments."""

import tensorflow as tf

from keras_apps import geometry


def both(image, target):
    """The two in the image's dtype, float32 or wider.

    One channel against three would broadcast to a value that looks right: it is refused, when the graph is made.
    """
    image = geometry.wide(image)
    target = tf.cast(target, image.dtype)
    if image.shape.rank != 4 or not image.shape.is_compatible_with(target.shape):
        raise ValueError(f"`image` has shape {image.shape} and `target` {target.shape} but both must be [b, H, W, C] "
                         "of one size; resize the target.")
    return image, target


def mean(values):
    """[b, H, W, C] -> [b]."""
    return tf.reduce_mean(values, axis=[1, 2, 3])
