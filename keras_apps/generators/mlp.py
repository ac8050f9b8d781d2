"""Generator of dense layers, for points and tiny images."""

import tensorflow as tf

from tfrecords.decode import height_and_width

layers = tf.keras.layers


class MlpGenerator(tf.keras.Model):
    """`depth` dense layers with ReLU, then a linear one that is the image.

    Args:    latent: z.  size: of the images, as in configs.  channels: C; all three the caller's facts.
             width: of the hidden layers.  depth: how many.
    Call:    latents [b,z], stage, fade, training -> images [b,H,W,C], about [0, 1]. It has one stage.
    State:   sizes: ((H, W),).
    Raises:  ValueError for a width or depth below 1.
    Source:  Metz et al., ICLR 2017, arXiv:1611.02163, appendix (the net for a mixture of Gaussians).
    Differs: initial weights of He; width and depth are free.
    """

    def __init__(self, latent, size, channels, width=128, depth=2):
        super().__init__()
        if min(width, depth) < 1:
            raise ValueError(f"mlp(width={width}, depth={depth}) needs numbers of at least 1.")
        self.sizes = (height_and_width(size),)
        height, width_ = self.sizes[0]
        self.net = tf.keras.Sequential([
            *(layers.Dense(width, "relu", kernel_initializer="he_normal") for _ in range(depth)),
            layers.Dense(height * width_ * channels), layers.Reshape([height, width_, channels])])
        self(tf.zeros([1, latent]))

    def call(self, latents, stage=0, fade=1.0, training=False):
        return tf.cast(self.net(latents), tf.float32) / 2 + 0.5
