"""JPEG compression."""

import tensorflow as tf

from tfrecords.augment._chosen import to_chosen


class JpegAugment:
    """Each image is compressed as JPEG and read again with probability `share` x strength.

    Images pass through 8 bits. Those of other than 1 or 3 channels are compressed channel by channel. The op takes one
    image at a time, so this is a loop over the chosen images, at about 40 microseconds each (32 px in colour, one core
    of an AMD EPYC).

    Args:    share: in [0, 1].  quality: (smallest, largest), 1 to 100, drawn uniformly.
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1].
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a share outside [0, 1] or a quality that is not 1 <= smallest <= largest <= 100.
    """

    def __init__(self, share=0.5, quality=(30, 95)):
        if not 0 <= share <= 1:
            raise ValueError(f"`share` is {share} but must lie in [0, 1].")
        if not 1 <= quality[0] <= quality[1] <= 100:
            raise ValueError(f"`quality` is {tuple(quality)} but must be 1 <= smallest <= largest <= 100.")
        self.share, self.quality = share, quality

    def __call__(self, images, seed, strength=1.0):
        chosen, place = tf.unstack(tf.random.stateless_uniform([tf.shape(images)[0], 2], seed), axis=1)
        low, high = self.quality
        quality = tf.minimum(low + tf.cast(place * (high - low + 1), tf.int32), high)
        return to_chosen(_coded, chosen < self.share * strength, images, quality)


def _coded(images, quality):
    return tf.map_fn(lambda pair: _coded_image(*pair), (images, quality),
                     fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32))


def _coded_image(image, quality):
    if image.shape[2] in (1, 3):
        return tf.image.adjust_jpeg_quality(image, quality)
    return tf.concat([tf.image.adjust_jpeg_quality(plane, quality) for plane in
                      tf.split(image, image.shape[2], axis=2)], axis=2)
