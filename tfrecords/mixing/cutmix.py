"""CutMix."""

import tensorflow as tf

from tfrecords.mixing._share import beta, partners


class CutmixMixing:
    """A rectangle of each image is replaced by that of another one of the batch.

    Sides sqrt(1 - s) H and sqrt(1 - s) W, s ~ Beta(alpha, alpha) for each image, the centre anywhere, cut to the image
    and to whole pixels

    Args:    alpha: > 0; 1 = uniform.
    Call:    batch with image [b,H,W,C] and label [b], seed [2] int32.
    Returns: the batch with image replaced; label stays, `label_other` [b] is that of the other image (-1 stays -1), and
             `share` [b] float32 is the share of the pixels that are the image's own. The loss is
             share loss(label) + (1 - share) loss(label_other).
    Raises:  ValueError for alpha <= 0.
    Source:  Yun et al., ICCV 2019, arXiv:1905.04899.
    Differs: s and the rectangle are drawn for each image and not once a batch.
    """

    adds = ("label_other", "share")          # what the loss must read

    def __init__(self, alpha=1.0):
        if alpha <= 0:
            raise ValueError(f"`alpha` is {alpha} but must be > 0.")
        self.alpha = alpha

    def __call__(self, batch, seed):
        images = batch["image"]
        count, sides = tf.shape(images)[0], tf.cast(tf.shape(images)[1:3], tf.float32)
        other, share = partners(count, seed), beta(count, seed, self.alpha)
        centre = tf.random.stateless_uniform([count, 2], tf.random.experimental.stateless_fold_in(seed, 2)) * sides
        half = 0.5 * tf.sqrt(1.0 - share)[:, None] * sides
        first, last = (tf.round(tf.clip_by_value(end, 0.0, sides)) for end in (centre - half, centre + half))
        rows, columns = (_between(tf.shape(images)[axis + 1], first[:, axis], last[:, axis]) for axis in (0, 1))
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        area = tf.reduce_prod(last - first, axis=1)
        return {**batch, "image": tf.where(inside, tf.gather(images, other), images),
                "label_other": tf.gather(batch["label"], other), "share": 1.0 - area / tf.reduce_prod(sides)}


def _between(side, first, last):
    """[b, side]: which pixels lie in first ... last - 1."""
    place = tf.range(side, dtype=tf.float32)
    return (place >= first[:, None]) & (place < last[:, None])
