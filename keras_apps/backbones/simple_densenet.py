"""A small DenseNet: three dense blocks with halving transitions between them."""

import tensorflow as tf

from keras_apps.layers.batch_norm import BatchNormLayer

layers = tf.keras.layers


class SimpleDensenetBackbone(tf.keras.Model):
    """unit: x = x beside conv3x3(relu(norm(x))), `growth` channels more
    transition: x = mean2x2(conv1x1(relu(norm(x)))), half the channels

    map3 and map4 are the ends of the first two blocks, map5 is relu(norm(x)) of the last one's. With the usual numbers
    about 50,000 parameters.

    Args:    stem_width: channels of the stem.  units: of the three blocks.  growth: channels of a unit.
             stem: taps of the stem's convolution.  stem_stride: its step; 0 = by the size of the images: 1 below 20
             pixels, 2 below 64, else 4.
             channels: of the images, size: (H, W); the caller's facts.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for other than three blocks, numbers below 1, or a negative step.
    Source:  inspired by SSSNet (AVSS 2019), of which no figure is public; DenseNet: Huang et al., CVPR 2017,
             arXiv:1608.06993.
    Differs: units without a 1x1 bottleneck.
    """

    def __init__(self, stem_width=24, units=(2, 3, 4), growth=12, stem=3, stem_stride=0, channels=3, size=(64, 64)):
        super().__init__()
        if len(units) != 3 or min(*units, stem_width, growth, stem) < 1 or stem_stride < 0:
            raise ValueError(f"simple_densenet(stem_width={stem_width}, units={units}, growth={growth}, stem={stem}, "
                             f"stem_stride={stem_stride}) needs three blocks, numbers >= 1 and a step >= 0.")
        stride = stem_stride or (1 if max(size) < 20 else 2 if max(size) < 64 else 4)
        self.stem = layers.Conv2D(stem_width, stem, stride, "same", use_bias=False, kernel_initializer="he_normal")
        width, self.units, self.transitions = stem_width, [], []
        for place, count in enumerate(units):
            self.units.append([_Unit(growth, 3) for _ in range(count)])
            width += count * growth
            if place < 2:
                width //= 2
                self.transitions.append(_Unit(width, 1))
        self.last = BatchNormLayer()

    def call(self, images, training=False):
        x, maps = self.stem(images * 2.0 - 1.0), []
        for place, units in enumerate(self.units):
            for unit in units:
                x = tf.concat([x, unit(x, training=training)], axis=-1)
            maps.append(x)
            if place < len(self.transitions):
                x = tf.nn.avg_pool2d(self.transitions[place](x, training=training), 2, 2, "SAME")
        return {"map3": maps[0], "map4": maps[1], "map5": tf.nn.relu(self.last(x, training=training))}


class _Unit(layers.Layer):
    def __init__(self, width, kernel):
        super().__init__()
        self.norm = BatchNormLayer()
        self.convolution = layers.Conv2D(width, kernel, padding="same", use_bias=False, kernel_initializer="he_normal")

    def call(self, x, training=False):
        return self.convolution(tf.nn.relu(self.norm(x, training=training)))
