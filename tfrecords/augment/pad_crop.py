"""Random shift by whole pixels."""

import tensorflow as tf

from tfrecords.augment._resample import sides


class PadCropAugment:
    """Each image is padded by `pixels` on all sides and cropped back to its size at a random place.

    y_ij = x_(i + u, j + v),   u, v uniform in -pixels ... pixels

    Args:    pixels: >= 0.  fill: "reflect" (the border pixel is not repeated) | "zero" outside the image.
    Call:    images [b,H,W,C], seed [2] int32, strength in [0, 1] scales u and v, rounded to whole pixels.
    Returns: [b,H,W,C]; the input at strength 0.
    Raises:  ValueError for pixels < 0 or an unknown fill.
    """

    def __init__(self, pixels=4, fill="reflect"):
        if pixels < 0:
            raise ValueError(f"`pixels` is {pixels} but must be >= 0.")
        if fill not in ("reflect", "zero"):
            raise ValueError(f"`fill` is {fill!r} but must be reflect or zero.")
        self.pixels, self.fill = pixels, fill

    def __call__(self, images, seed, strength=1.0):
        count = tf.shape(images)[0]
        height, width, channels = sides(images)
        moves = tf.random.stateless_uniform([count, 2], seed, -self.pixels, self.pixels + 1, tf.int32)
        moves = tf.cast(tf.round(tf.cast(moves, tf.float32) * strength), tf.int32)
        rows, columns = tf.range(height) + moves[:, :1], tf.range(width) + moves[:, 1:]
        # One look-up a pixel, from one long list: cost grows with the pixels alone.
        places = (_reflected(rows, height) + tf.range(count)[:, None] * height)[:, :, None] * width
        places += _reflected(columns, width)[:, None, :]
        out = tf.reshape(tf.gather(tf.reshape(images, [-1, channels]), places), tf.shape(images))
        if self.fill == "zero":
            inside = [tf.cast((place >= 0) & (place < side), tf.float32)
                      for place, side in ((rows, height), (columns, width))]
            out *= (inside[0][:, :, None] * inside[1][:, None, :])[..., None]
        return tf.ensure_shape(out, images.shape)


def _reflected(places, side):
    """Places outside 0 ... side - 1 mirrored at the border pixels, as often as needed."""
    period = tf.maximum(2 * (side - 1), 1)
    places = places % period
    return tf.minimum(places, period - places)
