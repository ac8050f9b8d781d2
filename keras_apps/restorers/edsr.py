"""Enhanced deep residual network, told how much larger the image is to become."""

import tensorflow as tf

from keras_apps.enlarging import OnBicubic, Told, told

layers = tf.keras.layers
SMALL = 0.2     # variance of what is added, in shares of the usual


class EdsrRestorer(OnBicubic):
    """Residual blocks without normalisation at the small image's resolution, then doublings, on the bicubic image.

    x_0 = conv(i);   x_k = x_(k-1) + share ((1 + g_k) conv(relu(conv(x_(k-1)))) + s_k);   f = x_0 + conv(x_K)
    y = bicubic(i) + rise(f)

    g and s are functions of the scale (see `enlarging.Told`); without `aware` they are 0 and the network must guess the
    scale from the image.

    Args:    channels: C.  scales: those it is to serve, numbers above 1.  aware: whether it is told; all three the
             caller's facts.  width: d of the maps.  blocks: K.  rise: width of the enlarged maps.
             share: of a block that is added; below 1 for wide networks.  code: numbers of the code.
    Call:    images [b,h,w,C] in [0, 1], size (H, W), scale, times (doublings; None = by the scale, a number then)
             -> [b,H,W,C], not clipped.  `.features(images, scale)` -> f [b,h,w,d].  `.enlarged(images, features, size,
             times)` -> [b,H,W,C].  `.code(features)` -> [b,K], a linear map of the mean over the places.
    State:   reach: places of the small image beyond which nothing changes a place of the result.
    Raises:  ValueError for a width, a number of blocks or a rise below 1.
    Source:  Lim et al., CVPR workshops 2017, arXiv:1707.02921, figure 2; modulation: Perez et al., AAAI 2018,
             arXiv:1709.07871.
    Differs: on the bicubic image, so that a new network is no worse than that; scales share the doublings, each with a
             ReLU behind it.
    """

    def __init__(self, channels, scales, aware=False, width=32, blocks=8, rise=16, share=1.0, code=64):
        super().__init__()
        if min(width, blocks, rise, code) < 1:
            raise ValueError(f"edsr(width={width}, blocks={blocks}, rise={rise}, code={code}) needs at least 1 of "
                             "each.")
        self.share = share

        def convolution(scale=2.0):
            start = tf.keras.initializers.VarianceScaling(scale)    # each its own: one would give all the same weights
            return layers.Conv2D(width, 3, padding="same", kernel_initializer=start)
        self.first = convolution()
        self.blocks = [(convolution(), convolution(SMALL)) for _ in range(blocks)]
        self.after = convolution(SMALL)
        self.told = Told(blocks, width) if aware else None
        self.finish(channels, scales, rise, code, 2 + 2 * blocks)

    def features(self, images, scale, training=False):
        x = first = self.first(images - 0.5)
        turns = self.told(scale) if self.told else [None] * len(self.blocks)
        for (one, two), turn in zip(self.blocks, turns):
            y = two(tf.nn.relu(one(x)))
            x += self.share * told(y, turn)
        return first + self.after(x)
