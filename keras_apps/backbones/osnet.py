"""Light net whose blocks see several scales at once, for images of 32-256 pixels."""

import math

import tensorflow as tf

from keras_apps.norms import make_norm

layers = tf.keras.layers
STREAMS, NARROWED, GATE = 4, 4, 16


class OsnetBackbone(tf.keras.Model):
    """3x3 stem, then stages of omni-scale blocks with the map halved in between; the last three are map3, map4, map5.

    block(x) = relu(norm(W2 sum_t G(s_t) s_t) + shortcut(x)),   s_t = t light 3x3 on relu(norm(W1 x)), t = 1..4
    light 3x3 = relu(norm(depthwise 3x3(1x1)));   G(s) = sigmoid(b + B relu(a + A mean_{h,w} s)), one G for all t

    W1 narrows to a quarter of the width, A to a sixteenth of that; the shortcut is 1x1 and a norm where widths differ.
    Between stages: 1x1, norm, ReLU, 2x2 average; after the last: 1x1, norm, ReLU. About 93,000 parameters by default.

    Args:    widths: channels of the stem and of each stage, at least four.  blocks: blocks a stage.
             stem_stride: 1 or 2.  last_stride: stride before the last stage, 1 or 2.
             norm: a kind of `keras_apps/norms.py`.
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for fewer than four widths, a number of blocks that is not one less, a width below 8, another
             stride or norm.
    Source:  inspired by Zhou et al., ICCV 2019, arXiv:1905.00953.
    Differs: smaller throughout; a 3x3 stem instead of 7x7 and a maximum; the gate's hidden layer has at least 4 units.
    """

    def __init__(self, widths=(32, 64, 96, 128), blocks=(1, 1, 1), stem_stride=2, last_stride=2, norm="batch"):
        super().__init__()
        if len(widths) < 4 or len(blocks) != len(widths) - 1 or min(widths) < 8 or min(blocks) < 1:
            raise ValueError(f"osnet(widths={widths}, blocks={blocks}) needs at least four widths >= 8 and a number of "
                             "blocks >= 1 for each but the first.")
        if stem_stride not in (1, 2) or last_stride not in (1, 2):
            raise ValueError(f"osnet(stem_stride={stem_stride}, last_stride={last_stride}) needs strides 1 or 2.")
        self.stem = _convolved(widths[0], norm, 3, stem_stride)
        self.stages = []
        for number, (width, count) in enumerate(zip(widths[1:], blocks)):
            stage = []
            if number:
                stride = last_stride if number == len(blocks) - 1 else 2
                stage += _convolved(widths[number], norm)
                stage += [layers.AveragePooling2D(2, padding="same")] if stride == 2 else []
            stage += [_Block(widths[number] if place == 0 else width, width, norm) for place in range(count)]
            if number == len(blocks) - 1:
                stage += _convolved(width, norm)
            self.stages.append(stage)

    def call(self, images, training=False):
        maps, x = [], _through(self.stem, images * 4.0 - 2.0, training)
        for stage in self.stages:
            x = _through(stage, x, training)
            maps.append(x)
        return dict(zip(("map3", "map4", "map5"), maps[-3:]))


class _Block(layers.Layer):
    def __init__(self, before, width, norm):
        super().__init__()
        middle = width // NARROWED
        self.narrow = _convolved(middle, norm)
        self.streams = [[layer for _ in range(depth) for layer in _light(middle, norm)]
                        for depth in range(1, STREAMS + 1)]
        self.gate = [layers.GlobalAveragePooling2D(keepdims=True),
                     layers.Conv2D(max(middle // GATE, 4), 1, activation="relu"),
                     layers.Conv2D(middle, 1, activation="sigmoid")]
        self.widen = [_conv(width), make_norm(norm, width)]
        self.shortcut = [_conv(width), make_norm(norm, width)] if before != width else []

    def call(self, x, training=False):
        narrow = _through(self.narrow, x, training)
        seen = [_through(stream, narrow, training) for stream in self.streams]
        joined = tf.add_n([_through(self.gate, scale, training) * scale for scale in seen])
        return tf.nn.relu(_through(self.widen, joined, training) + _through(self.shortcut, x, training))


def _through(chain, x, training):
    # Lists, not `Sequential`: each of those traces a graph of its own, and here are dozens.
    for layer in chain:
        x = layer(x, training=training)
    return x


def _light(width, norm):
    # Of a depthwise kernel he_normal would count all channels as its inputs.
    first = tf.keras.initializers.TruncatedNormal(stddev=math.sqrt(2 / 9))
    return [_conv(width), layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer=first),
            make_norm(norm, width), layers.ReLU()]


def _convolved(width, norm, size=1, stride=1):
    return [_conv(width, size, stride), make_norm(norm, width), layers.ReLU()]


def _conv(width, size=1, stride=1):
    return layers.Conv2D(width, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal")
