"""One affine warp an image, about its centre."""

import tensorflow as tf

FILLS = {"reflect": "REFLECT", "nearest": "NEAREST", "zero": "CONSTANT"}


def check_fill(fill):
    if fill not in FILLS:
        raise ValueError(f"`fill` is {fill!r} but must be reflect, nearest or zero.")


def warp(images, across, down, fill):
    """Bilinear value of each image at the points that its affine map gives.

    x_in = m_x + a (x - m_x) + b (y - m_y) + p,   y_in = m_y + d (x - m_x) + e (y - m_y) + q,   m the centre

    Args:    images: [b,H,W,C].  across: (a, b, p), each [b].  down: (d, e, q), each [b]; p and q in pixels.
             fill: "reflect" | "nearest" | "zero" outside the image.
    Returns: [b,H,W,C]; the input for the identity map.
    """
    (a, b, p), (d, e, q) = across, down
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    middle_x, middle_y = (tf.cast(width, tf.float32) - 1.0) / 2.0, (tf.cast(height, tf.float32) - 1.0) / 2.0
    c = middle_x - a * middle_x - b * middle_y + p
    f = middle_y - d * middle_x - e * middle_y + q
    zero = tf.zeros_like(a)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=tf.stack([height, width]), fill_value=0.0, interpolation="BILINEAR", fill_mode=FILLS[fill])
    return tf.ensure_shape(warped, images.shape)
