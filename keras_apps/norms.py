"""Normalisation inside a network, by name."""

import tensorflow as tf

from keras_apps.layers.batch_norm import BatchNormLayer

layers = tf.keras.layers
GROUPS = 8


def make_norm(kind, channels, gamma="ones", shift=True):
    """A normalisation layer over the last axis.

    y = gain (x - mean) / sqrt(variance + epsilon) + shift, mean and variance taken over
        batch: the images of all replicas and the places, channel by channel; later the running averages
        group: the places and the channels of a group, image by image; 8 groups, or the next number that divides them
        layer: the channels of one place

    Only "batch" lets images of a batch see each other: with the others the gradients of parts of a batch add up to
    those of the whole.

    Args:    kind: "batch" | "group" | "layer".  channels: of the input.  gamma: initial gain, "ones" | "zeros".
             shift: whether there is a learned one.
    Raises:  ValueError for another kind.
    Source:  Ioffe and Szegedy, arXiv:1502.03167; Wu and He, arXiv:1803.08494; Ba et al., arXiv:1607.06450.
    """
    if kind == "batch":
        return BatchNormLayer(center=shift, gamma_initializer=gamma)
    if kind == "group":
        groups = max(number for number in range(1, GROUPS + 1) if channels % number == 0)
        return layers.GroupNormalization(groups, epsilon=1e-5, center=shift, gamma_initializer=gamma)
    if kind == "layer":
        return layers.LayerNormalization(epsilon=1e-5, center=shift, gamma_initializer=gamma)
    raise ValueError(f"`norm` is {kind!r} but must be one of batch, group, layer.")
