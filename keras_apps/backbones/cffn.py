"""The common fake feature network: dense blocks whose features are read at several levels."""

import tensorflow as tf

from keras_apps.layers.batch_norm import BatchNormLayer

layers = tf.keras.layers


class CffnBackbone(tf.keras.Model):
    """A wide-stepped stem, then four dense blocks with transitions between them.

    unit: x = x beside conv3x3(swish(norm(x))), `growth` channels more;   transition: conv1x1(swish(norm(x))), halved

    map3 and map4 are the first two transitions before they are halved, map5 is the end of the last block.

    With neck "multi_level(levels=3, dimension=128)" the feature is that of the published network: 128 numbers of each
    level side by side.

    Args:    stem_width: channels of the stem.  units: of the four dense blocks.  transitions: channels behind the first
             three.  growth: of a unit.  stem: taps of the stem's convolution.  stem_stride: its step.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for other than four blocks and three transitions, or numbers below 1.
    Source:  inspired by CFFN (Hsu et al., Appl. Sci. 10(1):370, 2020), widths as in two public re-implementations.
    Differs: the last transition does not halve, so that its block lies on the same map.
    """

    def __init__(self, stem_width=48, units=(2, 3, 4, 2), transitions=(60, 78, 126), growth=24, stem=7, stem_stride=4):
        super().__init__()
        if len(units) != 4 or len(transitions) != 3 or min(*units, *transitions, stem_width, growth, stem,
                                                           stem_stride) < 1:
            raise ValueError(f"cffn(stem_width={stem_width}, units={units}, transitions={transitions}, growth={growth})"
                             " needs four blocks, three transitions and numbers >= 1.")
        # No bias: whatever reads the stem norms it first.
        self.stem = layers.Conv2D(stem_width, stem, stem_stride, "same", use_bias=False, kernel_initializer="he_normal")
        self.units = [[_Unit(growth, 3) for _ in range(count)] for count in units]
        self.transitions = [_Unit(width, 1) for width in transitions]

    def call(self, images, training=False):
        x, maps = self.stem(images * 2.0 - 1.0), []
        for place, units in enumerate(self.units):
            for unit in units:
                x = tf.concat([x, unit(x, training=training)], axis=-1)
            if place < len(self.transitions):
                x = self.transitions[place](x, training=training)
                maps.append(x)
                if place < len(self.transitions) - 1:
                    x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
        return {"map3": maps[0], "map4": maps[1], "map5": x}


class _Unit(layers.Layer):
    def __init__(self, width, kernel):
        super().__init__()
        self.norm = BatchNormLayer()
        self.convolution = layers.Conv2D(width, kernel, padding="same", use_bias=False, kernel_initializer="he_normal")

    def call(self, x, training=False):
        return self.convolution(tf.nn.swish(self.norm(x, training=training)))
