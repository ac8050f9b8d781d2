"""The critic of SiGAN: convolutions all the way, whose scores of places are averaged."""

import tensorflow as tf

from keras_apps.norms import make_norm
from tfrecords.decode import height_and_width

layers = tf.keras.layers
NORMS = "batch", "layer", "none"


class SiganCritic(tf.keras.Model):
    """3x3 convolutions of stride 2, one of stride 1, two of 1x1; LeakyReLU(0.2) after each but the last, whose mean
    over the places is the score.

    Args:    size: of the images, as in configs.  channels: C; both the caller's facts.  widths: of the strided
             convolutions; the others are as wide as the last of them.
             norm: "batch" | "layer" (over places and channels of one image) | "none"; not after the first.
    Call:    images [b,H,W,C] in [0, 1], stage, fade, training -> scores [b]. It has one stage; `fade` is not used.
    State:   sizes: ((H, W),).
    Raises:  ValueError for no widths, one below 1, or another norm.
    Source:  inspired by SiGAN's public code (arXiv:1807.08370): widths (64, 128, 256, 384), ReLU.
    Differs: LeakyReLU, through which the generator still learns where a ReLU is off; no norm after the first
             convolution.
    """

    def __init__(self, size, channels, widths=(64, 128, 256, 384), norm="batch"):
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"`widths` is {tuple(widths)} but must hold numbers of at least 1; use (64, 128, 256, "
                             "384).")
        if norm not in NORMS:
            raise ValueError(f"`norm` is {norm!r} but must be one of {', '.join(NORMS)}.")
        self.sizes = (height_and_width(size),)

        def block(width, kernel, stride, normed):
            parts = [layers.Conv2D(width, kernel, stride, "same", kernel_initializer="he_normal")]
            if normed and norm == "batch":
                parts.append(make_norm("batch", width))
            if normed and norm == "layer":
                parts.append(layers.GroupNormalization(1, epsilon=1e-5))
            return tf.keras.Sequential([*parts, layers.LeakyReLU(0.2)])
        self.blocks = [block(width, 3, 2, place > 0) for place, width in enumerate(widths)]
        self.blocks += [block(widths[-1], 3, 1, True), block(widths[-1], 1, 1, True)]
        self.score = layers.Conv2D(1, 1)
        self(tf.zeros([1, *self.sizes[0], channels]))

    def call(self, images, stage=0, fade=1.0, training=False):
        x = images * 2 - 1
        for block in self.blocks:
            x = block(x, training=training)
        return tf.reduce_mean(tf.cast(self.score(x), tf.float32), axis=(1, 2, 3))
