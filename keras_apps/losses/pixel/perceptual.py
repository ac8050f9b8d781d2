"""Distance of two images as a network sees them."""

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses.pixel import _images


class PerceptualLoss:
    """Perceptual loss: the mean distance of the maps that an encoder makes of image and target.

    value_i = mean over levels l of  mean_hwd |phi_l(x_i) - phi_l(t_i)| / (mean_hwd |phi_l(t_i)| + 1e-3)

    Divided by its own size each level counts alike; no gradient passes through the divisor. The encoder is one of ours,
    trained on the data's own labels (or turns), and stands still.

    Args:    levels: maps of the encoder that count, of "map3", "map4", "map5".
             encoder: images [b,H,W,C] -> {level: [b,h,w,d]}; the caller's fact.
    Call:    image, target: [b,H,W,C] in [0, 1].
    Returns: [b], >= 0, float32 (float64 for float64); exactly 0 for equal images.
    Raises:  ValueError for no level or an unknown one and, when called, for images of two sizes.
    Source:  inspired by Johnson, Alahi and Fei-Fei, ECCV 2016, arXiv:1603.08155, section 3.2.
    Differs: the encoder is no VGG net trained on ImageNet; absolute instead of squared differences, each level divided
             by its size.
    """

    def __init__(self, encoder, levels=("map3", "map4")):
        known = ("map3", "map4", "map5")
        if not levels or not set(levels) <= set(known):
            raise ValueError(f"`levels` is {tuple(levels)} but must name maps among {', '.join(known)}.")
        self.encoder, self.levels = encoder, tuple(levels)

    def __call__(self, image, target):
        image, target = _images.both(image, target)
        seen, wanted = self.encoder(image), self.encoder(target)
        return tf.add_n([_relative(geometry.wide(seen[level]), tf.stop_gradient(geometry.wide(wanted[level])))
                         for level in self.levels]) / len(self.levels)


def _relative(seen, wanted):
    axes = list(range(1, seen.shape.rank))
    return tf.reduce_mean(tf.abs(seen - wanted), axes) / (tf.reduce_mean(tf.abs(wanted), axes) + 1e-3)
