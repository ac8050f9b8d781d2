"""Critic of dense layers, for points and tiny images."""

import tensorflow as tf

from tfrecords.decode import height_and_width

layers = tf.keras.layers


class MlpCritic(tf.keras.Model):
    """`depth` dense layers with LeakyReLU(0.2) on the pixels, then a linear one.

    Args:    size: of the images, as in configs.  channels: C; both the caller's facts.  width: of the hidden layers.
             depth: how many.
    Call:    images [b,H,W,C] in [0, 1], stage, fade, training -> scores [b]. It has one stage.
    State:   sizes: ((H, W),).
    Raises:  ValueError for a width or depth below 1.
    Source:  Metz et al., ICLR 2017, arXiv:1611.02163, appendix.
    Differs: LeakyReLU instead of ReLU, initial weights of He; width and depth are free.
    """

    def __init__(self, size, channels, width=128, depth=2):
        super().__init__()
        if min(width, depth) < 1:
            raise ValueError(f"mlp(width={width}, depth={depth}) needs numbers of at least 1.")
        self.sizes = (height_and_width(size),)
        hidden = [layer for _ in range(depth) for layer in (
            layers.Dense(width, kernel_initializer="he_normal"), layers.LeakyReLU(0.2))]
        self.net = tf.keras.Sequential([layers.Flatten(), *hidden, layers.Dense(1)])
        self(tf.zeros([1, *height_and_width(size), channels]))

    def call(self, images, stage=0, fade=1.0, training=False):
        return tf.cast(self.net(images * 4 - 2), tf.float32)[:, 0]
