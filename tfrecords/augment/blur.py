"""Gaussian blur."""

import tensorflow as tf

from tfrecords.augment._chosen import to_chosen
from tfrecords.augment._resample import gaussians, resample, sides


class BlurAugment:
    """Each image is blurred by its own Gaussian with probability `share` x strength.

    y = K X K',   K_ij ~ exp(-(i - j)^2 / (2 sigma^2)), each row summing to 1

    Args:    share: in [0, 1].  sigma: (smallest, largest) standard deviation, pixels, drawn uniformly.
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1].
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a share outside [0, 1] or a sigma that is not 0 <= smallest <= largest.
    Source:  Chen et al., ICML 2020, arXiv:2002.05709, appendix A.
    Differs: the kernel is not cut off at a tenth of the image, and at the border it is rescaled to what lies inside.
    """

    def __init__(self, share=0.5, sigma=(0.1, 2.0)):
        if not 0 <= share <= 1:
            raise ValueError(f"`share` is {share} but must lie in [0, 1].")
        if not 0 <= sigma[0] <= sigma[1]:
            raise ValueError(f"`sigma` is {tuple(sigma)} but must be 0 <= smallest <= largest.")
        self.share, self.sigma = share, sigma

    def __call__(self, images, seed, strength=1.0):
        chosen, place = tf.unstack(tf.random.stateless_uniform([tf.shape(images)[0], 2], seed), axis=1)
        sigma = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * place
        return to_chosen(_blurred, chosen < self.share * strength, images, sigma)


def _blurred(images, sigma):
    height, width, _ = sides(images)
    rows = gaussians(sigma, height)[:, None]
    square = images.shape[1] is not None and images.shape[1] == images.shape[2]
    columns = rows if square else gaussians(sigma, width)[:, None]
    return tf.clip_by_value(resample(images, rows, columns), 0.0, 1.0)
