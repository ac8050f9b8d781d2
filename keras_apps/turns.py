"""By how much was an image turned? What a network can learn of images that nobody has named."""

import tensorflow as tf

TURNS = 4


def turned(images, turns):
    """Each image turned by its number of quarter turns; of images that are not square by half turns and mirrors.

    Args:    images: [b,H,W,C].  turns: [b] int, 0 to 3.
    """
    square = images.shape[1] == images.shape[2]
    ways = ([images, *(tf.image.rot90(images, k) for k in (1, 2, 3))] if square else
            [images, tf.reverse(images, [1]), tf.reverse(images, [2]), tf.reverse(images, [1, 2])])
    return tf.gather(tf.stack(ways, axis=1), turns, batch_dims=1)


def drawn(images, seed):
    """(turned images, turns [b]), the turns drawn by the seed."""
    turns = tf.random.stateless_uniform([tf.shape(images)[0]], seed, 0, TURNS, tf.int32)
    return turned(images, turns), turns
