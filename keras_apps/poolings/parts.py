"""Pooling by horizontal stripes."""

import tensorflow as tf

from keras_apps import geometry


class PartsPooling(tf.keras.layers.Layer):
    """Parts pooling: the average of each horizontal stripe from top to bottom, then of the whole map, side by side.

    stripe i of P:  rows floor(i h / P) to ceil((i + 1) h / P) - 1;  value = (mean stripe 1, ..., mean stripe P, mean)

    Stripes are of equal height where P divides h; else they share a row with their neighbour, and each has one.

    Args:    parts: P >= 1.  whole: whether the average of the whole map is appended.
    Call:    map [b, h, w, d]; h and w may be unknown.
    Returns: [b, (P + 1) d], without the whole [b, P d], in the map's dtype; summed in float32 or wider.
    Raises:  ValueError for fewer than 1 part.
    Source:  inspired by the part-based convolutional baseline of Sun et al., ECCV 2018, arXiv:1711.09349.
    Differs: one loss on all parts together, not one a part; no refinement of the stripes; the whole beside them.
    """

    def __init__(self, parts=3, whole=True):
        super().__init__(autocast=False)
        if parts < 1:
            raise ValueError(f"`parts` is {parts} but must be at least 1; use 3.")
        self.parts, self.whole = parts, whole

    def call(self, map):
        x, height = geometry.wide(map), map.shape[1] or tf.shape(map)[1]
        rows = tf.reduce_mean(x, axis=2)
        means = [tf.reduce_mean(rows[:, i * height // self.parts:-(-(i + 1) * height // self.parts)], axis=1)
                 for i in range(self.parts)]
        if self.whole:
            means.append(tf.reduce_mean(rows, axis=1))
        return tf.cast(tf.concat(means, axis=1), map.dtype)
