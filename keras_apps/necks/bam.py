"""The last map, weighed by where and in what it shows something."""

import tensorflow as tf

from keras_apps.build import build
from keras_apps.norms import make_norm

layers = tf.keras.layers


class BamNeck(tf.keras.layers.Layer):
    """Bottleneck attention: feature = pool(F (1 + sigmoid(M_c + M_s))),  F = map5

    M_c = norm(W2 relu(norm(W1 mean_places(F))))                   [b, 1, 1, d], what
    M_s = conv1x1(conv3x3(conv3x3(conv1x1(F)))), to d/r channels, the 3x3 dilated, relu(norm) after each; [b, h, w, 1],
          where; a norm at its end

    Args:    pooling: method string; the caller's fact.
             reduction: r >= 1.  dilation: of the 3x3 convolutions, >= 1.  norm: as in `keras_apps/norms.py`.
    Call:    maps {"map3", "map4", "map5"}, each [b,h,w,d], training -> [b,D].
    Raises:  ValueError for a reduction or dilation below 1, or another norm.
    Source:  Park et al., BMVC 2018, arXiv:1807.06514.
    Differs: stands before the pooling alone, not at every bottleneck.
    """

    def __init__(self, pooling, reduction=8, dilation=2, norm="batch"):
        super().__init__()
        if reduction < 1 or dilation < 1:
            raise ValueError(f"bam(reduction={reduction}, dilation={dilation}) needs both >= 1; use 8 and 2.")
        self.reduction, self.dilation, self.kind = reduction, dilation, norm
        self.pooling = build("poolings", pooling)
        make_norm(norm, 8)      # refused here, not when the width is known

    def build(self, shapes):
        width = shapes["map5"][-1]
        inner = max(1, width // self.reduction)
        self.what = tf.keras.Sequential([*self._step(layers.Dense(inner, use_bias=False), inner),
                                         layers.Dense(width, use_bias=False), make_norm(self.kind, width)])
        convolved = [(1, 1), (3, self.dilation), (3, self.dilation)]
        steps = [layer for side, dilation in convolved for layer in self._step(layers.Conv2D(
            inner, side, padding="same", dilation_rate=dilation, use_bias=False), inner)]
        self.where = tf.keras.Sequential([*steps, layers.Conv2D(1, 1, use_bias=False), make_norm(self.kind, 1)])
        super().build(shapes)

    def _step(self, layer, width):
        return layer, make_norm(self.kind, width), layers.ReLU()

    def call(self, maps, training=False):
        return self.pooling(self.attended(maps["map5"], training))

    def attended(self, map, training=False):
        what = self.what(tf.reduce_mean(map, axis=(1, 2)), training=training)[:, None, None]
        return map * (1 + tf.sigmoid(what + self.where(map, training=training)))
