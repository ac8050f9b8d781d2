"""Residual net with a small stem, for images of 24-128 pixels."""

import tensorflow as tf

from keras_apps.layers.blur_pool import BlurPoolLayer
from keras_apps.norms import make_norm

layers = tf.keras.layers


class ResnetBackbone(tf.keras.Model):
    """3x3 stem, then stages of basic residual blocks; every stage but the first halves the map.

    block(x) = relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)); the shortcut is 1x1 where shapes change; the last
    norm of a block starts at zero, so that a block starts as its shortcut. The last three stages are map3, map4, map5.
    With `blur`, what would have a stride of 2 has 1, and a `BlurPoolLayer` after its ReLU halves the map.

    Args:    widths: channels of the stages, at least three.  blocks: residual blocks a stage.
             stem_stride: 1 or 2; 2 for images above 64 pixels.  last_stride: stride of the last stage, 1 or 2.
             norm: a kind of `keras_apps/norms.py`.
             blur: taps of the filter, 2-5; 0 = off. No parameters, but strided convolutions cost four times as much.
             instance: of that many first stages the first norm of each block is "instance_batch".
    Call:    images [b,H,W,C] in [0, 1], training -> {"map3", "map4", "map5"}, each [b,h,w,d].
    Raises:  ValueError for fewer than three widths, as many blocks as widths not given, another stride, norm or
             blur, or more stages of instance norm than there are.
    Source:  He et al., CVPR 2016, arXiv:1512.03385, section 4.2 (small images); zero start: Goyal et al.,
             arXiv:1706.02677, section 5.1; blur: Zhang, ICML 2019, arXiv:1904.11486; instance: Pan et al. (IBN-a),
             ECCV 2018, arXiv:1807.09441.
    """

    def __init__(self, widths=(32, 64, 128, 256), blocks=(2, 2, 2, 2), stem_stride=1, last_stride=2,
                 norm="batch", blur=0, instance=0):
        super().__init__()
        if len(widths) < 3 or len(blocks) != len(widths) or min(*widths, *blocks) < 1:
            raise ValueError(f"resnet(widths={widths}, blocks={blocks}) needs at least three widths and as many "
                             "blocks, all >= 1.")
        if stem_stride not in (1, 2) or last_stride not in (1, 2):
            raise ValueError(f"resnet(stem_stride={stem_stride}, last_stride={last_stride}) needs strides 1 or 2.")
        if blur not in (0, 2, 3, 4, 5):
            raise ValueError(f"`blur` is {blur} but must be 0 (off) or 2, 3, 4 or 5 taps; use 4.")
        if not 0 <= instance <= len(widths):
            raise ValueError(f"`instance` is {instance} but must be a number of stages from 0 to {len(widths)}; use 2.")
        self.stem = tf.keras.Sequential(_convolved(widths[0], stem_stride, norm, blur))
        self.stages, before = [], widths[0]
        for number, (width, count) in enumerate(zip(widths, blocks)):
            stride = 1 if number == 0 else last_stride if number == len(widths) - 1 else 2
            stage = []
            for place in range(count):
                stage.append(_Block(before, width, stride if place == 0 else 1, norm,
                                    "instance_batch" if number < instance else norm, blur))
                before = width
            self.stages.append(stage)

    def call(self, images, training=False):
        maps, x = [], self.stem(images * 4.0 - 2.0, training=training)
        for stage in self.stages:
            for block in stage:
                x = block(x, training=training)
            maps.append(x)
        return dict(zip(("map3", "map4", "map5"), maps[-3:]))


class _Block(tf.keras.layers.Layer):
    def __init__(self, before, width, stride, norm, first_norm, blur):
        super().__init__()
        self.path = tf.keras.Sequential([*_convolved(width, stride, first_norm, blur),
                                         _conv(width, 3, 1), make_norm(norm, width, gamma="zeros")])
        if stride > 1 and blur:
            # The blur before the 1x1 convolution: the same values as after it, at a quarter of the work.
            self.shortcut = tf.keras.Sequential([BlurPoolLayer(blur, stride), _conv(width, 1, 1),
                                                 make_norm(norm, width)])
        else:
            self.shortcut = (tf.keras.Sequential([_conv(width, 1, stride), make_norm(norm, width)])
                             if stride > 1 or before != width else None)

    def call(self, x, training=False):
        straight = self.shortcut(x, training=training) if self.shortcut else x
        return tf.nn.relu(self.path(x, training=training) + straight)


def _convolved(width, stride, norm, blur):
    """Layers: 3x3 convolution, norm, ReLU; where the map shrinks, by a stride or by a blur after them."""
    blurred = [BlurPoolLayer(blur, stride)] if blur and stride > 1 else []
    return [_conv(width, 3, 1 if blurred else stride), make_norm(norm, width), layers.ReLU(), *blurred]


def _conv(width, size, stride):
    kind = _Centred if size > 1 and stride > 1 else layers.Conv2D
    return kind(width, size, stride, padding="valid" if kind is _Centred else "same", use_bias=False,
                kernel_initializer="he_normal")


class _Centred(layers.Conv2D):
    """A strided 3x3 convolution around every second place, those of the 1x1 shortcut.

    "same" would pad an even side at its end alone and look around the places between.
    """

    def call(self, x):
        return super().call(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
