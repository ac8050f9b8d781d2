"""The operations of RandAugment and CTAugment, each image its own.

Each function takes images [n,H,W,C] in [0, 1], a level [n] and a fill, and gives images of that shape in [0, 1]. The
level lies in [-1, 1] for the signed operations, 0 being no change, else in [0, 1]. Ranges are torchvision's.
"""

import math

import tensorflow as tf

from tfrecords.augment._colour import luma
from tfrecords.augment._warp import warp
from tfrecords.augment.solarise import solarised

ROTATE, SHEAR, SHIFT = math.radians(30), 0.3, 150 / 331     # radians, tangent, share of the side
ENHANCE = 0.9                                               # factors in [1 - 0.9, 1 + 0.9]
BITS = 4                                                    # posterise takes away so many of 8


def identity(images, level, fill):
    return images


def autocontrast(images, level, fill):
    """Darkest level of a channel -> 0, brightest -> 1."""
    low = tf.reduce_min(images, axis=[1, 2], keepdims=True)
    span = tf.reduce_max(images, axis=[1, 2], keepdims=True) - low
    flat = span == 0.0
    return tf.clip_by_value((images - tf.where(flat, 0.0, low)) / tf.where(flat, 1.0, span), 0.0, 1.0)


def equalise(images, level, fill):
    """Each channel through the table that makes its 256-level histogram flat; as Pillow rounds it."""
    channels = images.shape[3]
    levels = tf.reshape(tf.transpose(_levels(images), [0, 3, 1, 2]), [tf.shape(images)[0] * channels, -1])
    histogram = tf.math.bincount(levels, minlength=256, maxlength=256, axis=-1)
    brightest = tf.gather(histogram, tf.reduce_max(levels, axis=1, keepdims=True), batch_dims=1)
    step = (tf.shape(levels)[1] - brightest) // 255
    table = (tf.cumsum(histogram, axis=1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step == 0, tf.range(256), tf.minimum(table, 255))
    places = levels + 256 * tf.range(tf.shape(levels)[0])[:, None]
    planes = tf.gather(tf.reshape(tf.cast(table, tf.float32) / 255.0, [-1]), places)
    shape = tf.shape(images)
    return tf.transpose(tf.reshape(planes, tf.stack([shape[0], channels, shape[1], shape[2]])), [0, 2, 3, 1])


def posterise(images, level, fill):
    """8 - round(4 level) bits are kept."""
    step = tf.pow(2.0, tf.round(BITS * level))[:, None, None, None]
    return tf.floor(tf.round(images * 255.0) / step) * step / 255.0


def solarise(images, level, fill):
    """Pixels from 1 - level on are inverted."""
    # A trifle below, so that rounding does not decide about a level that equals it.
    return solarised(images, (1.0 - level - 1e-4)[:, None, None, None])


def brightness(images, level, fill):
    return tf.minimum(images * _factor(level), 1.0)


def contrast(images, level, fill):
    mean = tf.reduce_mean(luma(images), axis=[1, 2, 3], keepdims=True)
    return _away_from(mean, images, level)


def colour(images, level, fill):
    """Saturation; images of other than 3 channels are left alone."""
    return images if images.shape[3] != 3 else _away_from(luma(images), images, level)


def sharpness(images, level, fill):
    """Away from or towards the 3 x 3 mean with weight 5 in the middle; the border stays."""
    if None not in images.shape[1:3] and min(images.shape[1:3]) < 3:
        return images
    middle = images[:, 1:-1, 1:-1]
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    smooth = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4.0 * middle) / 13.0
    detail = tf.pad(middle - smooth, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.clip_by_value(images + (_factor(level) - 1.0) * detail, 0.0, 1.0)


def rotate(images, level, fill):
    cosine, sine, zero = tf.cos(ROTATE * level), tf.sin(ROTATE * level), tf.zeros_like(level)
    return warp(images, (cosine, -sine, zero), (sine, cosine, zero), fill)


def shear_x(images, level, fill):
    one, zero = tf.ones_like(level), tf.zeros_like(level)
    return warp(images, (one, SHEAR * level, zero), (zero, one, zero), fill)


def shear_y(images, level, fill):
    one, zero = tf.ones_like(level), tf.zeros_like(level)
    return warp(images, (one, zero, zero), (SHEAR * level, one, zero), fill)


def translate_x(images, level, fill):
    one, zero = tf.ones_like(level), tf.zeros_like(level)
    return warp(images, (one, zero, SHIFT * level * tf.cast(tf.shape(images)[2], tf.float32)), (zero, one, zero), fill)


def translate_y(images, level, fill):
    one, zero = tf.ones_like(level), tf.zeros_like(level)
    return warp(images, (one, zero, zero), (zero, one, SHIFT * level * tf.cast(tf.shape(images)[1], tf.float32)), fill)


OPERATIONS = (identity, autocontrast, equalise, rotate, solarise, colour, posterise, contrast, brightness, sharpness,
              shear_x, shear_y, translate_x, translate_y)
UNSIGNED = (identity, autocontrast, equalise, solarise, posterise)
SIGNED = tuple(operation not in UNSIGNED for operation in OPERATIONS)


def applied(images, choice, level, fill):
    """Image i after operation choice[i] at level[i].

    The images are dealt to the operations and put back in order, so that each is touched by its own operation only;
    the number an operation gets is known when it runs, which XLA cannot compile.

    Args:    images: [b,H,W,C] in [0, 1].  choice: [b] int32, places in OPERATIONS.  level: [b] float32.
             fill: of the warps, as in `_warp`.
    """
    parts, levels, places = (tf.dynamic_partition(values, choice, len(OPERATIONS)) for values in
                             (images, level, tf.range(tf.shape(images)[0])))
    done = [operation(part, at, fill) for operation, part, at in zip(OPERATIONS, parts, levels)]
    return tf.ensure_shape(tf.dynamic_stitch(places, done), images.shape)


def _levels(images):
    return tf.cast(tf.round(images * 255.0), tf.int32)


def _factor(level):
    return (1.0 + ENHANCE * level)[:, None, None, None]


def _away_from(grey, images, level):
    return tf.clip_by_value(images + (images - grey) * (_factor(level) - 1.0), 0.0, 1.0)
