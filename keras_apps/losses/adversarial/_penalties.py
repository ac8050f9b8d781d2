"""Penalties on the slope of a critic."""

import tensorflow as tf


def slope(critic, images):
    """|d sum(critic) / d images|^2 of each image: [b], in the images' dtype."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        scores = critic(images)
    gradient = tape.gradient(scores, images)
    return tf.reduce_sum(tf.square(gradient), axis=tuple(range(1, images.shape.rank)))


def between(real, fake, seed):
    """A random point on the line from each real image to the fake of its row."""
    share = tf.random.stateless_uniform([tf.shape(real)[0]] + [1] * (real.shape.rank - 1), seed, dtype=real.dtype)
    return real + share * (fake - real)
