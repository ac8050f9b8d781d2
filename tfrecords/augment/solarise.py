"""Bright pixels turned dark."""

import tensorflow as tf

from tfrecords.augment._chosen import to_chosen


class SolariseAugment:
    """Each image is solarised with probability `share` x strength: pixels from the threshold on are inverted.

    y = 1 - x where x >= threshold, else x

    Args:    share: in [0, 1].  threshold: in [0, 1].
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1].
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a share or a threshold outside [0, 1].
    """

    def __init__(self, share=0.2, threshold=0.5):
        if not 0 <= share <= 1 or not 0 <= threshold <= 1:
            raise ValueError(f"solarise(share={share}, threshold={threshold}) needs both in [0, 1].")
        self.share, self.threshold = share, threshold

    def __call__(self, images, seed, strength=1.0):
        draw = tf.random.stateless_uniform([tf.shape(images)[0]], seed)
        return to_chosen(lambda chosen: solarised(chosen, self.threshold), draw < self.share * strength, images)


def solarised(images, threshold):
    """`images` with the pixels from `threshold`, a number or [b,1,1,1], on inverted."""
    # A product with 0 and 1: tf.where between whole images costs five times as much.
    return images + tf.cast(images >= threshold, tf.float32) * (1.0 - 2.0 * images)
