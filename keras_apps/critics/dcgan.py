"""Deep convolutional critic: strided convolutions halve the image down to a small map."""

import tensorflow as tf

from keras_apps.generators._sizes import doublings
from keras_apps.layers.spectral_conv import SpectralConvLayer
from keras_apps.norms import make_norm

layers = tf.keras.layers
NORMS = "batch", "layer", "spectral", "none"


class DcganCritic(tf.keras.Model):
    """5x5 convolutions of stride 2 with norm and LeakyReLU(0.2), the first without norm, then a dense layer.

    Channels double from `width` while the map is halved n times. At 64 pixels with width 64: 64, 128, 256, 512.

    Args:    size: of the images, as in configs.  channels: C; both the caller's facts.  width: of the first layer.
             norm: "batch" | "layer" (over places and channels of one image: with a gradient penalty an image must not
             see the others) | "spectral" (in every layer) | "none".
    Call:    images [b,H,W,C] in [0, 1], stage, fade, training -> scores [b]. It has one stage; `fade` is not used.
    State:   sizes: ((H, W),).
    Raises:  ValueError for a size that cannot be halved, a width below 1 or another norm.
    Source:  Radford et al., ICLR 2016, arXiv:1511.06434; layer norm: Gulrajani et al., arXiv:1704.00028, section 4;
             spectral: Miyato et al., ICLR 2018, arXiv:1802.05957.   Differs: 28 pixels end at 7.
    """

    def __init__(self, size, channels, width=64, norm="batch"):
        super().__init__()
        if width < 1:
            raise ValueError(f"`width` is {width} but must be at least 1; use 64.")
        if norm not in NORMS:
            raise ValueError(f"`norm` is {norm!r} but must be one of {', '.join(NORMS)}.")
        start = tf.random_normal_initializer(stddev=0.02)
        self.blocks, self.sizes = [], doublings(size)[-1:]
        count = len(doublings(size)) - 1
        for place in range(count):
            filters = width * 2 ** place
            if norm == "spectral":
                block = [SpectralConvLayer(filters, 5, 2)]
            else:
                block = [layers.Conv2D(filters, 5, 2, "same", kernel_initializer=start)]
            if place and norm == "batch":
                block.append(make_norm("batch", filters))
            if place and norm == "layer":
                block.append(layers.GroupNormalization(1, epsilon=1e-5))
            self.blocks.append(tf.keras.Sequential([*block, layers.LeakyReLU(0.2)]))
        side = doublings(size)[0]
        # The whole last map at once: a dense layer as a convolution, so that spectral norm holds there as well.
        self.score = (_Whole(side) if norm == "spectral" else
                      tf.keras.Sequential([layers.Flatten(), layers.Dense(1, kernel_initializer=start)]))
        self(tf.zeros([1, *doublings(size)[-1], channels]))

    def call(self, images, stage=0, fade=1.0, training=False):
        x = images * 2 - 1
        for block in self.blocks:
            x = block(x, training=training)
        return tf.cast(self.score(x, training=training), tf.float32)[:, 0]


class _Whole(layers.Layer):
    """A spectrally normalised dense layer over a whole map: [b,h,w,d] -> [b,1]."""

    def __init__(self, side):
        super().__init__()
        self.side = side
        self.dense = SpectralConvLayer(1, 1)

    def call(self, x, training=False):
        flat = tf.reshape(x, [-1, 1, 1, self.side[0] * self.side[1] * x.shape[-1]])
        return self.dense(flat, training=training)[:, 0, 0]
