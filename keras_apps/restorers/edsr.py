"""Enhanced deep residual network, told how much larger the image is to become."""

import tensorflow as tf

from keras_apps.restorers._rise import Rise, Told, bicubic, doublings

layers = tf.keras.layers
SMALL = 0.2     # variance of what is added, in shares of the usual


class EdsrRestorer(tf.keras.Model):
    """Residual blocks without normalisation at the small image's resolution, then doublings, on the bicubic image.

    x_0 = conv(i);   x_k = x_(k-1) + share ((1 + g_k) conv(relu(conv(x_(k-1)))) + s_k);   f = x_0 + conv(x_K)
    y = bicubic(i) + rise(f)

    g and s are functions of the scale (see `_rise.Told`); without `aware` they are 0 and the network must guess the
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
    Differs: on the bicubic image, so that a new network is no worse than that; scales share the doublings.
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
        self.rise = Rise(channels, rise, max(scales))
        self.coder = layers.Dense(code)
        self.reach = 2 + 2 * blocks + self.rise.reach
        images = tf.zeros([1, 8, 8, channels])
        self.code(self.features(images, float(max(scales))))
        self(images, [8 * 2 ** len(self.rise.doublings)] * 2, float(max(scales)))

    def call(self, images, size, scale, times=None, training=False):
        return self.enlarged(images, self.features(images, scale, training), size,
                             doublings(scale) if times is None else times)

    def features(self, images, scale, training=False):
        x = first = self.first(images - 0.5)
        turns = self.told(scale) if self.told else [None] * len(self.blocks)
        for (one, two), turn in zip(self.blocks, turns):
            y = two(tf.nn.relu(one(x)))
            if turn is not None:
                gain, shift = (tf.cast(value, y.dtype) for value in turn)
                y = (1 + gain) * y + shift
            x += self.share * y
        return first + self.after(x)

    def enlarged(self, images, features, size, times, training=False):
        return bicubic(images, size) + self.rise(features, size, times)

    def code(self, features):
        return self.coder(tf.reduce_mean(tf.cast(features, tf.float32), axis=(1, 2)))
