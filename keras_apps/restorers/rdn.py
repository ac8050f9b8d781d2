"""Residual dense network, told how much larger the image is to become."""

import tensorflow as tf

from keras_apps.enlarging import OnBicubic, Told, told

SMALL = 0.2     # variance of what is added, in shares of the usual


class RdnRestorer(OnBicubic):
    """Dense blocks whose results are all put together, at the small image's resolution, then doublings.

    x_0 = conv(conv(i));   x_k = x_(k-1) + (1 + g_k) conv_1x1([x_(k-1), r_1, ..., r_L]) + s_k,   r_l = relu(conv([..]))
    f = x_0' + conv(conv_1x1([x_1, ..., x_K])),  x_0' = conv(i);   y = bicubic(i) + rise(f)

    Args:    channels: C.  scales: those it is to serve, numbers above 1.  aware: whether it is told (see
             `enlarging.Told`); all three the caller's facts.  width: d of the maps.  blocks: K.  layers: L of a block.
             growth: channels of each.  rise: width of the enlarged maps.  code: numbers of the code.
    Call, State:  as `edsr`.
    Raises:  ValueError for any of these below 1.
    Source:  Zhang et al., CVPR 2018, arXiv:1802.08797, figures 2 and 3; modulation: Perez et al., arXiv:1709.07871.
    Differs: on the bicubic image; scales share the doublings, each with a ReLU behind it.
    """

    def __init__(self, channels, scales, aware=False, width=32, blocks=4, layers=4, growth=16, rise=16, code=64):
        super().__init__()
        if min(width, blocks, layers, growth, rise, code) < 1:
            raise ValueError(f"rdn(width={width}, blocks={blocks}, layers={layers}, growth={growth}, rise={rise}, "
                             f"code={code}) needs at least 1 of each.")
        self.first, self.second = _convolution(width), _convolution(width)
        self.blocks = [([_convolution(growth) for _ in range(layers)], _convolution(width, 1, SMALL))
                       for _ in range(blocks)]
        self.together, self.after = _convolution(width, 1), _convolution(width, 3, SMALL)
        self.told = Told(blocks, width) if aware else None
        self.finish(channels, scales, rise, code, 3 + blocks * layers)

    def features(self, images, scale, training=False):
        first = self.first(images - 0.5)
        x, found = self.second(first), []
        turns = self.told(scale) if self.told else [None] * len(self.blocks)
        for (dense, fuse), turn in zip(self.blocks, turns):
            known = x
            for convolution in dense:
                known = tf.concat([known, tf.nn.relu(convolution(known))], axis=-1)
            y = fuse(known)
            x += told(y, turn)
            found.append(x)
        return first + self.after(self.together(tf.concat(found, axis=-1)))


def _convolution(width, kernel=3, scale=2.0):
    return tf.keras.layers.Conv2D(width, kernel, padding="same",
                                  kernel_initializer=tf.keras.initializers.VarianceScaling(scale))
