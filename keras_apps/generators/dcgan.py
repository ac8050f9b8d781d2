"""Deep convolutional generator: transposed convolutions double a small map up to the image."""

import tensorflow as tf

from keras_apps.generators._sizes import doublings
from keras_apps.norms import make_norm

layers = tf.keras.layers


class DcganGenerator(tf.keras.Model):
    """A dense layer to the smallest map, then transposed 5x5 convolutions of stride 2 with norm and ReLU.

    Channels halve from width 2^(n - 1) to `width` while the map doubles n times; the last gives (tanh + 1) / 2.
    At 64 pixels with width 64: 4x4x512, 8x8x256, 16x16x128, 32x32x64, 64x64xC.

    Args:    latent: z, numbers of an input.  size: of the images, as in configs.  channels: C; all three the caller's
             facts.  width: channels before the last layer.  norm: a kind of `keras_apps/norms.py`, or "none".
    Call:    latents [b,z], stage, fade, training -> images [b,H,W,C] in [0, 1]. It has one stage; `fade` is not used.
    State:   sizes: ((H, W),).
    Raises:  ValueError for a size that cannot be halved, a width below 1 or another norm.
    Source:  Radford et al., ICLR 2016, arXiv:1511.06434, figure 1.
    Differs: images in [0, 1] instead of [-1, 1]; 28 pixels begin at 7.
    """

    def __init__(self, latent, size, channels, width=64, norm="batch"):
        super().__init__()
        if width < 1:
            raise ValueError(f"`width` is {width} but must be at least 1; use 64.")
        maps = doublings(size)
        widths = [width * 2 ** (len(maps) - 2 - place) for place in range(len(maps) - 1)]
        self.sizes, self.first = maps[-1:], (*maps[0], widths[0])
        start = tf.random_normal_initializer(stddev=0.02)
        bias = norm == "none"

        def block(layer, count):
            return tf.keras.Sequential([layer, *([] if norm == "none" else [make_norm(norm, count)]), layers.ReLU()])
        self.project = layers.Dense(self.first[0] * self.first[1] * self.first[2], use_bias=bias,
                                    kernel_initializer=start)
        self.rise = block(layers.Reshape(self.first), widths[0])
        self.blocks = [block(layers.Conv2DTranspose(count, 5, 2, "same", use_bias=bias, kernel_initializer=start),
                             count) for count in widths[1:]]
        self.last = layers.Conv2DTranspose(channels, 5, 2, "same", kernel_initializer=start)
        self(tf.zeros([1, latent]))

    def call(self, latents, stage=0, fade=1.0, training=False):
        x = self.rise(self.project(latents), training=training)
        for block in self.blocks:
            x = block(x, training=training)
        return (tf.tanh(tf.cast(self.last(x), tf.float32)) + 1) / 2
