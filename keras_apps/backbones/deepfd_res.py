"""The residual network of DeepFD."""

import tensorflow as tf

from keras_apps.layers.batch_norm import BatchNormLayer

layers = tf.keras.layers


class DeepfdResBackbone(tf.keras.Model):
    """A wide-stepped stem and three levels of pre-activation residual blocks, means of places between them.

    block: y = x padded with zero channels + conv(swish(norm(conv(swish(norm(x))))))

    The published figures are the defaults, for 64 pixels; for 28 use stem_stride=1 and narrower levels. The last map
    is not yet normed: what reads it norms it first. With a kernel of 1 and without means a place of the last map sees
    little more than the stem does, so that what it says is said of that place alone.

    Args:    widths: channels of the three levels.  blocks: of each.  kernel: taps of a block's convolutions, one number
             or one a level.  stem: taps of the stem's convolution.  stem_stride: its step.
             means: sides of the means between the levels, 2 as published; 1 = none.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, the levels' ends, each [b,h,w,d].
    Raises:  ValueError for other than three levels, two means, widths that fall or numbers below 1.
    Source:  inspired by DeepFD (arXiv:1809.08754; Appl. Sci. 10(1):370, 2020): the widths and blocks of a lecture's
             slide; padding and order inside a block are ours.
    """

    def __init__(self, widths=(96, 128, 256), blocks=(2, 4, 3), kernel=3, stem=7, stem_stride=4, means=(2, 2)):
        super().__init__()
        kernels = (kernel,) * 3 if isinstance(kernel, int) else tuple(kernel)
        if [len(widths), len(blocks), len(kernels), len(means)] != [3, 3, 3, 2] or list(widths) != sorted(
                widths) or min(*widths, *blocks, *kernels, *means, stem, stem_stride) < 1:
            raise ValueError(f"deepfd_res(widths={widths}, blocks={blocks}, kernel={kernel}, stem={stem}, stem_stride="
                             f"{stem_stride}, means={means}) needs three widths that do not fall, three blocks and "
                             "kernels, two means and numbers >= 1.")
        self.means = tuple(means)
        self.stem = layers.Conv2D(widths[0], stem, stem_stride, "same", kernel_initializer="he_normal")
        self.levels = [[_Block(width, taps) for _ in range(count)]
                       for width, count, taps in zip(widths, blocks, kernels)]

    def call(self, images, training=False):
        maps, x = [], self.stem(images * 2.0 - 1.0)
        for place, level in enumerate(self.levels):
            if place and self.means[place - 1] > 1:
                x = tf.nn.avg_pool2d(x, self.means[place - 1], self.means[place - 1], "SAME")
            for block in level:
                x = block(x, training=training)
            maps.append(x)
        return dict(zip(("map3", "map4", "map5"), maps))


class _Block(layers.Layer):
    def __init__(self, width, kernel):
        super().__init__()
        self.width = width
        self.norms = [BatchNormLayer() for _ in range(2)]
        self.convolutions = [layers.Conv2D(width, kernel, padding="same", use_bias=False,
                                           kernel_initializer="he_normal") for _ in range(2)]

    def call(self, x, training=False):
        y = x
        for norm, convolution in zip(self.norms, self.convolutions):
            y = convolution(tf.nn.swish(norm(y, training=training)))
        return y + tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.width - x.shape[-1]]])
