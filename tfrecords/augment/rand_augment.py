"""RandAugment."""

import tensorflow as tf

from tfrecords.augment._operations import OPERATIONS, SIGNED, applied
from tfrecords.augment._warp import check_fill


class RandAugmentAugment:
    """Each image passes through its own random operations, all of one magnitude.

    Of identity, autocontrast, equalise, rotate, solarise, colour, posterise, contrast, brightness, sharpness, shear_x,
    shear_y, translate_x, translate_y; uniformly and independently, the sign by chance where there is one.

    Args:    operations: one after the other, >= 1.  magnitude: share of each operation's range, in [0, 1]; ranges are
             30 degrees, shear 0.3, shift 0.45 of the side, factors 0.1 to 1.9, 4 bits of 8 away, threshold 1 to 0.
             fill: "reflect" | "nearest" | "zero" outside a warped image.
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1] scales the magnitude and the share of the
             images that each operation reaches. Colour leaves images of other than 3 channels alone; contrast then
             keeps the mean of the channels.
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for operations < 1, a magnitude outside [0, 1] or an unknown fill.
    Source:  Cubuk et al., NeurIPS 2020, arXiv:1909.13719; ranges and operations as in torchvision.
    Differs: warps are bilinear and shear about the centre; colours are not rounded to 8 bits between operations,
             except by equalise and posterise.
    """

    def __init__(self, operations=2, magnitude=0.3, fill="zero"):
        if operations < 1:
            raise ValueError(f"`operations` is {operations} but must be >= 1.")
        if not 0 <= magnitude <= 1:
            raise ValueError(f"`magnitude` is {magnitude} but must lie in [0, 1].")
        check_fill(fill)
        self.operations, self.magnitude, self.fill = operations, magnitude, fill

    def __call__(self, images, seed, strength=1.0):
        draws = tf.random.stateless_uniform([tf.shape(images)[0], self.operations, 3], seed)
        for number in range(self.operations):
            reached, drawn, sign = tf.unstack(draws[:, number], axis=1)
            choice = tf.cast(drawn * len(OPERATIONS), tf.int32)
            choice = tf.where(reached < strength, tf.minimum(choice, len(OPERATIONS) - 1), 0)
            negative = tf.gather(tf.constant(SIGNED), choice) & (sign < 0.5)
            level = tf.where(negative, -1.0, 1.0) * (self.magnitude * strength)
            images = applied(images, choice, level, self.fill)
        return images
