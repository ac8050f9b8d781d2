"""Colour removed."""

import tensorflow as tf

from tfrecords.augment._chosen import to_chosen
from tfrecords.augment._colour import luma


class GreyAugment:
    """Each image loses its colour with probability `share` x strength: every channel becomes the luma.

    y = 0.299 red + 0.587 green + 0.114 blue

    Args:    share: in [0, 1].
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1]. Images of other than 3 channels are left
             alone.
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a share outside [0, 1].
    """

    def __init__(self, share=0.2):
        if not 0 <= share <= 1:
            raise ValueError(f"`share` is {share} but must lie in [0, 1].")
        self.share = share

    def __call__(self, images, seed, strength=1.0):
        if images.shape[3] != 3:
            return images
        draw = tf.random.stateless_uniform([tf.shape(images)[0]], seed)
        return to_chosen(_grey, draw < self.share * strength, images)


def _grey(images):
    # The three weights may add up to a trifle more than 1.
    return tf.tile(tf.minimum(luma(images), 1.0), [1, 1, 1, 3])
