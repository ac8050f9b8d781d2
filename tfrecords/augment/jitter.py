"""Brightness, contrast, saturation and hue."""

import math

import tensorflow as tf

from tfrecords.augment._colour import colour_matrices, recoloured


class JitterAugment:
    """Each image gets its own brightness, contrast, saturation and hue, in one pass over the pixels.

    x = clip((M x - mean) contrast + mean + brightness), mean over the image; M is the 3 x 3 matrix of saturation and
    hue, a rotation about the grey axis

    Args:    brightness: largest shift in image units.  contrast: c, factor drawn log-uniformly from
             [1 / (1 + c), 1 + c].  saturation: c, likewise.  hue: largest angle, share of a full turn.
             share: of the images that are jittered, in [0, 1].
             law: "log" as above | "linear": brightness, contrast and saturation are factors drawn uniformly from
             [1 - c, 1 + c], c at most 1 (SimCLR, torchvision).
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1] scales all ranges. Saturation and hue
             leave images of other than 3 channels alone.
    Returns: [b,H,W,C] in [0, 1]; the input at strength 0.
    Raises:  ValueError for a negative range, one above 1 under the linear law, a hue above 0.5, a share outside
             [0, 1] or an unknown law.
    Source:  "linear": Chen et al., ICML 2020, arXiv:2002.05709, appendix A.
    Differs: values are clipped once at the end, not after each of the four; hue is a rotation in RGB and not in HSV,
             so that greys stay and nothing is sorted; contrast keeps the mean of all channels and not the luma's.
    """

    def __init__(self, brightness=0.1, contrast=0.2, saturation=0.0, hue=0.0, share=1.0, law="log"):
        ranges = (brightness, contrast, saturation)
        told = f"jitter(brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue})"
        if min(*ranges, hue) < 0 or hue > 0.5:
            raise ValueError(f"{told} needs ranges >= 0 and hue in [0, 0.5].")
        if law not in ("log", "linear"):
            raise ValueError(f"`law` is {law!r} but must be log or linear.")
        if law == "linear" and max(ranges) > 1:
            raise ValueError(f"{told} needs ranges in [0, 1] for the linear law; make them smaller or use log.")
        if not 0 <= share <= 1:
            raise ValueError(f"`share` is {share} but must lie in [0, 1].")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.share, self.law = share, law

    def __call__(self, images, seed, strength=1.0):
        count = tf.shape(images)[0]
        draws = tf.random.stateless_uniform([2, count, 1, 1, 1], seed, -1.0, 1.0) * strength
        others = tf.random.stateless_uniform([3, count], tf.random.experimental.stateless_fold_in(seed, 1), -1.0, 1.0)
        jittered = (others[2] + 1.0) / 2.0 < self.share
        draws = tf.where(jittered[:, None, None, None], draws, 0.0)
        others = tf.where(jittered, others[:2] * strength, 0.0)
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        if self.law == "log":
            gain = tf.exp(draws[1] * tf.math.log1p(float(self.contrast)))
            shift = draws[0] * self.brightness
        else:
            brightness = 1.0 + draws[0] * self.brightness
            gain = brightness * (1.0 + draws[1] * self.contrast)
            shift = (brightness - 1.0) * mean
        if images.shape[3] != 3 or self.saturation == 0 and self.hue == 0:
            # In this order strength 0 gives the input to the last bit.
            return tf.clip_by_value(images + (images - mean) * (gain - 1.0) + shift, 0.0, 1.0)
        if self.law == "log":
            saturation = tf.exp(others[0] * tf.math.log1p(float(self.saturation)))
        else:
            saturation = 1.0 + others[0] * self.saturation
        matrices = gain[..., 0] * colour_matrices(saturation, others[1] * (2.0 * math.pi * self.hue))
        return tf.clip_by_value(recoloured(images, matrices) + ((1.0 - gain) * mean + shift), 0.0, 1.0)
