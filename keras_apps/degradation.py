"""How small images come about: blur, reduction, noise, compression, eight bits."""

import tensorflow as tf

from keras_apps.build import build

KINDS = {"bicubic": "keyscubic", "area": "box"}
EIGHT_BITS = 255.0


class Degradation:
    """low = round_8(after(reduce(before(image)))); in training only, `before` and `after` are applied.

    reduce is a resampling with antialias: bicubic (Keys, a = -1/2, widened by the scale) or area (the mean over the
    pixels that a small one covers). round_8 to multiples of 1/255, as a stored image is.

    Args:    kind: "bicubic" | "area".  before, after: method strings of tfrecords/augment that the large image and the
             small one go through: blur; noise, JPEG.
    Call:    images [b,H,W,C] in [0, 1], size (h, w), seed [2] or None: without one the reduction alone
             -> [b,h,w,C] in [0, 1].
    Raises:  ValueError for another kind.
    """

    def __init__(self, kind="bicubic", before=(), after=()):
        if kind not in KINDS:
            raise ValueError(f"`reduction` is {kind!r} but must be one of {', '.join(KINDS)}.")
        self.kind = kind
        self.before, self.after = ([build("tfrecords/augment", text) for text in texts] for texts in (before, after))

    def __call__(self, images, size, seed=None):
        fold = tf.random.experimental.stateless_fold_in
        for place, method in enumerate(self.before if seed is not None else ()):
            images = method(images, fold(seed, place), 1.0)
        low = tf.clip_by_value(self.reduce(images, size), 0.0, 1.0)
        for place, method in enumerate(self.after if seed is not None else ()):
            low = method(low, fold(seed, 100 + place), 1.0)
        return rounded(low)

    def reduce(self, images, size):
        """The resampling alone, neither clipped nor rounded, so that a gradient passes: [b,H,W,C] -> [b,h,w,C]."""
        scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(images)[1:3], tf.float32)
        found = tf.raw_ops.ScaleAndTranslate(images=images, size=tf.cast(size, tf.int32), scale=scale,
                                             translation=[0.0, 0.0], kernel_type=KINDS[self.kind], antialias=True)
        return tf.ensure_shape(found, [images.shape[0], *tf.get_static_value(tf.convert_to_tensor(size)),
                                       images.shape[3]])


def rounded(images):
    """Images on 8 bits: the nearest multiples of 1/255 in [0, 1]."""
    return tf.round(tf.clip_by_value(images, 0.0, 1.0) * EIGHT_BITS) / EIGHT_BITS


def low_size(size, scale):
    """(h, w) of the small image of one of size (H, W)."""
    return tuple(max(1, round(side / scale)) for side in size)
