"""What a poor camera does."""

import math

import tensorflow as tf

from tfrecords.augment._resample import gaussians, resample, sides, windows


class DegradeAugment:
    """Each image is blurred, made smaller, made noisy and made as large as before: the same scene, far away.

    y = U (D K X K' D' + noise e) U',   K Gaussian blur, D antialiased reduction to round(H / factor) pixels,
    U bilinear enlargement, e standard normal at the reduced size

    Args:    factor: (smallest, largest) reduction, >= 1, drawn log-uniformly.  blur: (smallest, largest) sigma of K,
             pixels of the image, drawn uniformly.  noise: (smallest, largest) standard deviation in image units,
             likewise.  share: of the images that are degraded, in [0, 1].
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1] scales log(factor), sigma and noise.
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a factor below 1, a negative blur or noise, a range that falls or a share outside [0, 1].
    """

    def __init__(self, factor=(1.0, 4.0), blur=(0.0, 1.0), noise=(0.0, 0.05), share=0.8):
        if not 1 <= factor[0] <= factor[1] or not 0 <= blur[0] <= blur[1] or not 0 <= noise[0] <= noise[1]:
            raise ValueError(f"degrade(factor={tuple(factor)}, blur={tuple(blur)}, noise={tuple(noise)}) needs "
                             "smallest <= largest, factors >= 1 and the others >= 0.")
        if not 0 <= share <= 1:
            raise ValueError(f"`share` is {share} but must lie in [0, 1].")
        self.factor, self.blur, self.noise, self.share = factor, blur, noise, share

    def __call__(self, images, seed, strength=1.0):
        height, width, _ = sides(images)
        chosen, *draws = tf.unstack(tf.random.stateless_uniform([tf.shape(images)[0], 4], seed), axis=1)
        chosen = tf.cast(chosen < self.share, tf.float32) * strength
        ranges = ([math.log(factor) for factor in self.factor], self.blur, self.noise)
        factor, sigma, noise = ((low + (high - low) * draw) * chosen for (low, high), draw in zip(ranges, draws))
        down, up = zip(*(_there_and_back(tf.exp(factor), sigma, side) for side in (height, width)))
        small = resample(images, *down)
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        small += noise[:, None, None, None] * tf.random.stateless_normal(tf.shape(images), seed)
        return tf.ensure_shape(tf.clip_by_value(resample(small, *up), 0.0, 1.0), images.shape)


def _there_and_back(factor, sigma, side):
    """Weights [b,1,side,side] to and from the first round(side / factor) pixels of a line."""
    side_ = tf.cast(side, tf.float32)
    length = tf.maximum(tf.round(side_ / factor), 1.0)
    zero = tf.zeros_like(length)
    down = tf.matmul(windows(zero, side_ * (side_ / length), side, side), gaussians(sigma, side))
    return down[:, None], windows(zero, length, side, side, length)[:, None]
