"""ResNeXt for small images: residual bottlenecks whose middle convolution works in groups."""

import tensorflow as tf

from keras_apps.norms import make_norm

layers = tf.keras.layers


class ResnextBackbone(tf.keras.Model):
    """block(x) = relu(norm(conv1x1(relu(norm(groups(relu(norm(conv1x1(x)))))))) + shortcut(x))

    groups: a 3x3 convolution of each of `cardinality` equal groups of channels by itself. The shortcut is 1x1 where
    shapes change. Every stage but the first halves the map; the last three are map3, map4, map5.

    Args:    widths: channels of the middle convolution a stage, at least three, multiples of the cardinality; a block
             gives twice as many.
             blocks: a stage.  cardinality: groups.  stem_stride: 1 or 2.  norm: a kind of `keras_apps/norms.py`.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for fewer than three widths, as many blocks as widths not given, widths that are no multiples.
    Source:  Xie et al., CVPR 2017, arXiv:1611.05431, section 3.
    Differs: a 3x3 stem; the groups are split, convolved and joined, as a grouped convolution has no gradient on CPUs.
    """

    def __init__(self, widths=(64, 128, 256), blocks=(2, 2, 2), cardinality=8, stem_stride=1, norm="batch"):
        super().__init__()
        if len(widths) < 3 or len(blocks) != len(widths) or min(*widths, *blocks, cardinality) < 1:
            raise ValueError(f"resnext(widths={widths}, blocks={blocks}) needs at least three widths and as many "
                             "blocks, all >= 1.")
        if any(width % cardinality for width in widths) or stem_stride not in (1, 2):
            raise ValueError(f"resnext(widths={widths}, cardinality={cardinality}, stem_stride={stem_stride}) needs "
                             "widths that are multiples of the cardinality and a stride of 1 or 2.")
        self.stem = tf.keras.Sequential([_conv(widths[0], 3, stem_stride), make_norm(norm, widths[0]), layers.ReLU()])
        self.stages, before = [], widths[0]
        for number, (width, count) in enumerate(zip(widths, blocks)):
            stage = []
            for place in range(count):
                stage.append(_Block(before, width, 2 if number and not place else 1, cardinality, norm))
                before = 2 * width
            self.stages.append(stage)

    def call(self, images, training=False):
        maps, x = [], self.stem(images * 4.0 - 2.0, training=training)
        for stage in self.stages:
            for block in stage:
                x = block(x, training=training)
            maps.append(x)
        return dict(zip(("map3", "map4", "map5"), maps[-3:]))


class _Block(layers.Layer):
    def __init__(self, before, width, stride, cardinality, norm):
        super().__init__()
        self.reduce = tf.keras.Sequential([_conv(width, 1, 1), make_norm(norm, width), layers.ReLU()])
        self.groups = [_conv(width // cardinality, 3, stride) for _ in range(cardinality)]
        self.join = tf.keras.Sequential([make_norm(norm, width), layers.ReLU(), _conv(2 * width, 1, 1),
                                         make_norm(norm, 2 * width, gamma="zeros")])
        self.shortcut = (tf.keras.Sequential([_conv(2 * width, 1, stride), make_norm(norm, 2 * width)])
                         if stride > 1 or before != 2 * width else None)

    def call(self, x, training=False):
        straight = self.shortcut(x, training=training) if self.shortcut else x
        parts = tf.split(self.reduce(x, training=training), len(self.groups), axis=-1)
        x = tf.concat([group(part) for group, part in zip(self.groups, parts)], axis=-1)
        return tf.nn.relu(self.join(x, training=training) + straight)


def _conv(width, size, stride):
    return layers.Conv2D(width, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal")
