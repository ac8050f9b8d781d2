"""Rotation, scale, shear and shift in one warp."""

import tensorflow as tf

from tfrecords.augment._warp import check_fill, warp


class AffineAugment:
    """Each image is warped about its centre by its own random affine map.

    A share of the images stays unwarped: bilinear warping softens every pixel, and a network that never saw a sharp
    image meets only sharp ones when served.

    Args:    rotate: largest angle, radians.  scale: s, zoom drawn log-uniformly from [1 / (1 + s), 1 + s].
             shear: largest shear angle, radians.  shift: largest shift, share of the side.
             keep: share of the images left as they are, in [0, 1].
             fill: "reflect" | "nearest" | "zero" outside the image.
    Call:    images [b,H,W,C], seed [2] int32, strength in [0, 1] scales all ranges.
    Returns: [b,H,W,C]; the input at strength 0.
    Raises:  ValueError for a negative range, a keep outside [0, 1] or an unknown fill.
    """

    def __init__(self, rotate=0.0, scale=0.0, shear=0.0, shift=0.0, keep=0.2, fill="nearest"):
        if min(rotate, scale, shear, shift) < 0 or not 0 <= keep <= 1:
            raise ValueError(f"affine(rotate={rotate}, scale={scale}, shear={shear}, shift={shift}, keep={keep}) needs "
                             "ranges >= 0 and keep in [0, 1].")
        check_fill(fill)
        self.rotate, self.scale, self.shear, self.shift, self.keep, self.fill = rotate, scale, shear, shift, keep, fill

    def __call__(self, images, seed, strength=1.0):
        count, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
        draws = tf.random.stateless_uniform([6, count], seed, -1.0, 1.0)
        kept = (draws[5] + 1.0) / 2.0 < self.keep
        draws = tf.where(kept, 0.0, draws[:5] * strength)
        angle, shear = draws[0] * self.rotate, draws[1] * self.shear
        zoom = tf.exp(draws[2] * tf.math.log1p(float(self.scale)))
        h, w = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        # Output point -> input point: R(angle) [1 tan(shear); 0 1] / zoom about the centre, then the shift.
        a, b = tf.cos(angle) / zoom, (tf.cos(angle) * tf.tan(shear) - tf.sin(angle)) / zoom
        d, e = tf.sin(angle) / zoom, (tf.sin(angle) * tf.tan(shear) + tf.cos(angle)) / zoom
        return warp(images, (a, b, draws[3] * self.shift * w), (d, e, draws[4] * self.shift * h), self.fill)
