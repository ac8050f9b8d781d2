"""Occlusion."""

import numbers

import tensorflow as tf

from keras_apps import geometry
from keras_apps.explainers import _evidence

ROUNDING = 1e-6     # of a probability


class OcclusionExplainer:
    """Occlusion: how far the probability of the class falls if a square is covered.

    drop_s      = p_class(x) - p_class(x with the mean colour of x in square s)
    evidence_hw = max(0, mean of drop_s over the squares that cover the place)

    Squares lie `stride` pixels apart, the last ones at the lower and right edge; one that is larger than the image
    covers all of it. It needs no gradient and asks what the network answers, not how.

    Args:    size: side of the square in pixels, >= 1; a small one leaves most of a large finding in view.
             stride: pixels between squares, in [1, size]; small = finer and slower.
    Call:    map_of: images -> map [n, h, w, d].  logits_of: map -> [n, K].  images: [n, H, W, C].  classes: [n] int.
    Returns: [n, H, W] float32 in [0, 1], the largest place of an image 1; all 0 where no square lowers the probability.
    Raises:  ValueError for a size below 1, a stride outside [1, size].
    Cost:    a forward pass a square, about H W / stride^2, one after another; memory as of one.
    Source:  Zeiler, Fergus, ECCV 2014, arXiv:1311.2901, section 4.2.   Differs: the image's mean colour in place of
             grey, and the mean over the squares of a place.
    """

    def __init__(self, size=16, stride=8):
        if not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"`size` is {size} but must be a whole number of pixels of at least 1; use 16.")
        if not isinstance(stride, numbers.Integral) or not 1 <= stride <= size:
            raise ValueError(f"`stride` is {stride} but must be a whole number from 1 to `size`, which is {size}, lest "
                             f"places stay uncovered; use {max(1, size // 2)}.")
        self.size, self.stride = int(size), int(stride)

    def __call__(self, map_of, logits_of, images, classes):
        images = geometry.wide(images)
        height, width = _evidence.size(images)
        mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)

        def probability(images):
            return _evidence.chosen(tf.nn.softmax(geometry.wide(logits_of(map_of(images)))), classes)

        whole, rows, columns = probability(images), self._squares(height), self._squares(width)
        across = tf.shape(columns)[0]

        def cover(square, total, count):
            inside = rows[square // across][:, None] & columns[square % across][None]
            drop = whole - probability(tf.where(inside[None, :, :, None], mean, images))
            inside = tf.cast(inside, drop.dtype)
            total = tf.ensure_shape(total + drop[:, None, None] * inside, images.shape[:3])
            return square + 1, total, count + inside

        nothing = tf.zeros_like(images[..., 0], whole.dtype)
        _, total, count = tf.while_loop(lambda square, *_: square < across * tf.shape(rows)[0], cover,
                                        (0, nothing, tf.zeros([height, width], whole.dtype)), parallel_iterations=1)
        return _evidence.shares(total / count, ROUNDING)

    def _squares(self, length):
        """[squares, length] bool: the places that each square covers along one side."""
        reach = tf.maximum(length - self.size, 0)
        starts = tf.minimum(tf.range(0, reach + self.stride, self.stride), reach)[:, None]
        places = tf.range(length)[None]
        return (places >= starts) & (places < starts + self.size)
