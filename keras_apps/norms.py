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
        instance: the places, image by image and channel by channel; for maps, a single place would leave nothing
        instance_batch: as instance for the first half of the channels, as batch for the others

    Only "batch" and "instance_batch" let images of a batch see each other: with the others the gradients of parts of a
    batch add up to those of the whole. Instance norm takes contrast and tint of each image away; half of it, in first
    layers only, leaves the colours that tell classes apart.

    Args:    kind: "batch" | "group" | "layer" | "instance" | "instance_batch".  channels: of the input, for
             "instance_batch" at least 2.  gamma: initial gain, "ones" | "zeros".
             shift: whether there is a learned one.
    Raises:  ValueError for another kind, or too few channels.
    Source:  Ioffe and Szegedy, arXiv:1502.03167; Wu and He, arXiv:1803.08494; Ba et al., arXiv:1607.06450; Ulyanov et
             al., arXiv:1607.08022; instance_batch: Pan et al. (IBN-a), ECCV 2018, arXiv:1807.09441.
    """
    if kind == "batch":
        return BatchNormLayer(center=shift, gamma_initializer=gamma)
    if kind == "group":
        groups = max(number for number in range(1, GROUPS + 1) if channels % number == 0)
        return layers.GroupNormalization(groups, epsilon=1e-5, center=shift, gamma_initializer=gamma)
    if kind == "layer":
        return layers.LayerNormalization(epsilon=1e-5, center=shift, gamma_initializer=gamma)
    if kind == "instance":
        return layers.GroupNormalization(channels, epsilon=1e-5, center=shift, gamma_initializer=gamma)
    if kind == "instance_batch":
        if channels < 2:
            raise ValueError(f"`channels` is {channels} but instance_batch needs at least 2; use norm 'batch' there.")
        return _Halves(channels, gamma, shift)
    raise ValueError(f"`norm` is {kind!r} but must be one of batch, group, layer, instance, instance_batch.")


class _Halves(layers.Layer):
    def __init__(self, channels, gamma, shift):
        super().__init__()
        self.sizes = channels // 2, channels - channels // 2
        self.parts = [make_norm(kind, size, gamma, shift) for kind, size in zip(("instance", "batch"), self.sizes)]

    def call(self, x, training=False):
        halves = tf.split(x, self.sizes, axis=-1)
        return tf.concat([part(half, training=training) for part, half in zip(self.parts, halves)], axis=-1)
