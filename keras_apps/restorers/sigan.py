"""The generator of SiGAN: small faces in, large faces out, with a code by which pairs are compared."""

import math

import tensorflow as tf

from keras_apps.enlarging import bicubic
from keras_apps.norms import make_norm

layers = tf.keras.layers
BLOCKS = "residual", "dense"
NORMS = "batch", "layer"      # of others the statistics are those of a window, and tiles would show
UNITS, INSIDE = 3, 4    # units of a dense block; width of a unit's first convolution, in growths


class SiganRestorer(tf.keras.Model):
    """Stages that each double the map: 1x1 convolution, blocks, nearest doubling, norm, ReLU, 3x3 convolution.

    residual: x + conv(relu(norm(conv(relu(norm(x))))));   dense: three units of norm-ReLU-conv(4 g)-norm-ReLU-conv(g),
    the result of each put beside its input, then norm and a 3x3 convolution back to the width.
    Tail: 3x3 convolution, norm, ReLU; 3x3 convolution, ReLU; 1x1 convolution, ReLU; 1x1 convolution to C.
    y = sigmoid(tail) or, on the bicubic image, bicubic(i) + tail.     phi = softmax(W pool_4x4(last map) + b)

    Args:    channels: C.  scales: one number, a power of two; both the caller's facts.  widths: of the stages' maps,
             one a doubling; the last one counts for those that follow.  counts: blocks of the stages, likewise.
             blocks: "residual" | "dense".  growth: g.  tail: width of the tail.  code: numbers of phi.
             norm: "batch" | "layer" (over the channels of a place).  on_bicubic: whether it adds to the bicubic image.
    Call:    images [b,h,w,C] in [0, 1], size (H, W), scale, training -> [b,H,W,C]; with `on_bicubic` not clipped.
             `.features(images, scale, training)` -> the last stage's map [b,H,W,d].  `.enlarged(images, features, size,
             times, training)` -> [b,H,W,C].  `.code(features)` -> [b,K], positive, summing to 1.
    State:   reach: places of the small image beyond which nothing changes a place of the result.  exact: the large
             image must be `scale` times the small one.
    Raises:  ValueError for a scale that is no power of two, other blocks or norms, widths or counts below 1.
    Source:  inspired by SiGAN, Hsu et al., IEEE TIP 28(12), 2019, arXiv:1807.08370, and its public code.
    Differs: the last map is averaged to 4x4 places before the code, which would otherwise be most of the network;
             `on_bicubic` is ours.
    """

    def __init__(self, channels, scales, widths=(416, 240), counts=(2, 3), blocks="residual", growth=16, tail=256,
                 code=128, norm="batch", on_bicubic=False):
        super().__init__(autocast=False)        # in float16 the bicubic image would lose levels
        scale, = scales if len(scales) == 1 else (0,)
        if scale < 2 or scale & (scale - 1):
            told = " and ".join(f"{scale:g}" for scale in scales)
            raise ValueError(f"`scale` is {told} but this generator doubles its map: use one of 2, 4, 8.")
        if blocks not in BLOCKS:
            raise ValueError(f"`blocks` is {blocks!r} but must be one of {', '.join(BLOCKS)}.")
        if min(*widths, *counts, growth, tail, code) < 1 or not widths or not counts:
            raise ValueError(f"sigan(widths={widths}, counts={counts}, growth={growth}, tail={tail}, code={code}) "
                             "needs at least 1 of each.")
        if norm not in NORMS:
            raise ValueError(f"`norm` is {norm!r} but must be one of {', '.join(NORMS)}.")
        self.on_bicubic, self.scale, self.exact = on_bicubic, scale, True
        self.stages, self.rising = [], []
        for place in range(int(math.log2(scale))):
            width = widths[min(place, len(widths) - 1)]
            count = counts[min(place, len(counts) - 1)]
            make = _Residual if blocks == "residual" else _Dense
            self.stages.append([_convolution(width, 1, "relu"),
                                *(make(width, norm, growth) for _ in range(count))])
            self.rising.append([make_norm(norm, width), _convolution(width)])
        self.tail = [_convolution(tail), make_norm(norm, tail), _convolution(tail, 3, "relu"),
                     _convolution(tail, 1, "relu")]
        start = tf.random_normal_initializer(stddev=1e-3) if on_bicubic else "glorot_uniform"
        self.last = layers.Conv2D(channels, 1, kernel_initializer=start)
        self.coder = layers.Dense(code)
        self.reach = self._reach(blocks, counts)
        images = tf.zeros([1, 8, 8, channels])
        self.code(self.features(images))
        self(images, [8 * scale] * 2)

    def _reach(self, blocks, counts):
        """The convolutions of 3x3 on the way, counted in pixels of the small image; bicubic interpolation sees 2."""
        each = 2 if blocks == "residual" else 2 * UNITS + 1
        reach, side = 2, 1.0
        for place in range(len(self.stages)):
            reach += each * counts[min(place, len(counts) - 1)] / side
            side *= 2
            reach += 1 / side + 1 / side        # the convolution, and the nearest neighbour of an odd place
        return math.ceil(reach + 2 / side)

    def call(self, images, size, scale=None, times=None, training=False):
        return self.enlarged(images, self.features(images, scale, training), size, times, training)

    def features(self, images, scale=None, training=False):
        x = images * 2.0 - 1.0
        for (first, *blocks), (norm, convolution) in zip(self.stages, self.rising):
            x = first(x)
            for block in blocks:
                x = block(x, training=training)
            x = tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
            x = convolution(tf.nn.relu(norm(x, training=training)))
        return x

    def enlarged(self, images, features, size, times=None, training=False):
        first, norm, second, third = self.tail
        x = third(second(tf.nn.relu(norm(first(features), training=training))))
        x = tf.cast(self.last(x), tf.float32)
        return bicubic(images, size) + x if self.on_bicubic else tf.sigmoid(x)

    def code(self, features):
        side = [max(1, length // 4) for length in features.shape[1:3]]
        pooled = tf.nn.avg_pool2d(features, side, side, "VALID")[:, :4, :4]
        return tf.nn.softmax(tf.cast(self.coder(tf.reshape(pooled, [-1, 16 * features.shape[3]])), tf.float32))


def _convolution(width, kernel=3, activation=None):
    return layers.Conv2D(width, kernel, padding="same", activation=activation, kernel_initializer="he_normal")


class _Unit(layers.Layer):
    """norm, ReLU, 3x3 convolution."""

    def __init__(self, before, width, norm):
        super().__init__()
        self.norm, self.convolution = make_norm(norm, before), _convolution(width)

    def call(self, x, training=False):
        return self.convolution(tf.nn.relu(self.norm(x, training=training)))


class _Residual(layers.Layer):
    def __init__(self, width, norm, growth):
        super().__init__()
        self.one, self.two = _Unit(width, width, norm), _Unit(width, width, norm)

    def call(self, x, training=False):
        return x + self.two(self.one(x, training=training), training=training)


class _Dense(layers.Layer):
    def __init__(self, width, norm, growth):
        super().__init__()
        self.units = [(_Unit(width + place * growth, INSIDE * growth, norm), _Unit(INSIDE * growth, growth, norm))
                      for place in range(UNITS)]
        self.norm, self.back = make_norm(norm, width + UNITS * growth), _convolution(width)

    def call(self, x, training=False):
        for one, two in self.units:
            x = tf.concat([x, two(one(x, training=training), training=training)], axis=-1)
        return self.back(self.norm(x, training=training))
