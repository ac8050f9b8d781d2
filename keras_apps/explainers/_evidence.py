"""What every explainer does before and after its own work."""

import tensorflow as tf

from keras_apps import geometry


def chosen(values, classes):
    """The value of each image's class: [n, K] -> [n], float32 or wider."""
    return tf.gather(geometry.wide(values), classes, batch_dims=1)


def size(images):
    """(H, W): numbers where they are known, else tensors."""
    known = images.shape[1:3]
    return tuple(known) if known.is_fully_defined() else tuple(tf.unstack(tf.shape(images)[1:3]))


def shares(maps, least=0.0):
    """Maps [n, H, W] as evidence: the largest place of an image 1, what is negative 0.

    Args:    least: rounding error of the maps; an image whose largest place is not above it has no evidence.
    """
    maps = tf.nn.relu(maps)
    largest = tf.reduce_max(maps, axis=[1, 2], keepdims=True)
    maps = tf.where(largest > least, maps, tf.zeros_like(maps))
    return tf.cast(tf.math.divide_no_nan(maps, largest), tf.float32)
