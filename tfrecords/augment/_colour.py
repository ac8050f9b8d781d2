"""Saturation, hue and grey as one 3 x 3 matrix an image."""

import tensorflow as tf

LUMA = (0.299, 0.587, 0.114)    # ITU-R BT.601, as in Pillow and torchvision


def colour_matrices(saturation, angle):
    """y = s R x + (1 - s) (w.x) (1,1,1),   R the rotation by `angle` about the grey axis, w the luma

    Args:    saturation: s, [n]; 0 = grey, 1 = as it is.  angle: [n], radians.
    Returns: [n,3,3]; exactly the unit matrix for s = 1 and angle 0. Greys are fixed for any s and angle.
    """
    cosine, sine = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None]
    turn = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3.0 ** 0.5
    rotation = cosine * tf.eye(3) + (1.0 - cosine) / 3.0 + sine * turn
    saturation = saturation[:, None, None]
    return saturation * rotation + (1.0 - saturation) * tf.constant(LUMA)


def recoloured(images, matrices):
    """Each pixel [3] of image i times matrix i; [b,H,W,3]."""
    pixels = tf.reshape(images, [tf.shape(images)[0], -1, 3])
    return tf.reshape(tf.matmul(pixels, matrices, transpose_b=True), tf.shape(images))


def luma(images):
    """[b,H,W,1]: the luma of three channels, else the mean of the channels."""
    if images.shape[3] != 3:
        return tf.reduce_mean(images, axis=3, keepdims=True)
    shape = tf.concat([tf.shape(images)[:3], [1]], axis=0)
    return tf.reshape(tf.linalg.matvec(tf.reshape(images, [-1, 3]), tf.constant(LUMA)), shape)
