"""MixUp."""

import tensorflow as tf

from tfrecords.mixing._share import beta, partners


class MixupMixing:
    """Each image is a weighted mean with another one of the batch.

    x = s x_i + (1 - s) x_j,   s ~ Beta(alpha, alpha) for each image,   j a random permutation of the batch

    Args:    alpha: > 0; small = nearly pure images, 1 = uniform.
    Call:    batch with image [b,H,W,C] and label [b], seed [2] int32.
    Returns: the batch with image replaced; label stays that of x_i, `label_other` [b] is that of x_j (-1 stays -1), and
             `share` [b] float32 is s. The loss is s loss(label) + (1 - s) loss(label_other).
    Raises:  ValueError for alpha <= 0.
    Source:  Zhang et al., ICLR 2018, arXiv:1710.09412.
    Differs: s is drawn for each image and not once a batch.
    """

    adds = ("label_other", "share")          # what the loss must read

    def __init__(self, alpha=0.2):
        if alpha <= 0:
            raise ValueError(f"`alpha` is {alpha} but must be > 0.")
        self.alpha = alpha

    def __call__(self, batch, seed):
        images = batch["image"]
        count = tf.shape(images)[0]
        other, share = partners(count, seed), beta(count, seed, self.alpha)
        mixed = images + (1.0 - share)[:, None, None, None] * (tf.gather(images, other) - images)
        return {**batch, "image": mixed, "label_other": tf.gather(batch["label"], other), "share": share}
