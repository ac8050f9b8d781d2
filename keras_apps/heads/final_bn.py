"""Linear softmax head with one more batch normalisation right before the answer."""

import math

import tensorflow as tf

from keras_apps import geometry
from keras_apps.layers.batch_norm import BatchNormLayer

_PLACES = ("logits", "features")


class FinalBnHead(tf.Module):
    """Final batch normalisation: softmax cross-entropy on normalised logits, or of normalised features.

    value_i = - log softmax_y(z_i)
    logits:    z = BN(x W^T)       features:    z = BN(x) W^T + b

    With statistics of the batch in training, moving ones in judgement. Where one class is rare, the logits of the
    others no longer drown it: each class's logit varies alike. The two statistics should agree, so batches should be
    large: 64 images or more.

    Args:    classes: K >= 2.  dimension: D >= 1.  seed: int, fixes the first weights.
             place: what is normalised, "logits" or "features".
             momentum: in [0, 1), that of the moving statistics.
    Call:    .loss(embeddings [b, D], any length, not normalised; labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings, training=False) -> [b, K]. Both .loss and .logits in training move the statistics:
             one of them a step.
    Returns: [b], >= 0, in float32 (float64 for float64), though what is normalised is so in float32; exactly 0
             where the label is below 0. Such a row is part of the statistics of the batch all the same.
    Raises:  ValueError for fewer than 2 classes, a dimension below 1, an unknown place or a momentum out of range.
    Source:  Kocaman, Shir, Baeck, ICPR 2020, arXiv:2011.06319; layers/batch_norm.py.
    Differs: inspired by the source, which tells neither which of the two places it means nor the momentum.
    """

    local = ()

    def __init__(self, classes, dimension, seed=0, place="logits", momentum=0.9):
        super().__init__()
        if classes < 2:
            raise ValueError(f"`classes` is {classes} but must be at least 2; add images of another class.")
        if dimension < 1:
            raise ValueError(f"`dimension` is {dimension} but must be at least 1; use 128.")
        if place not in _PLACES:
            raise ValueError(f"`place` is {place!r} but must be one of {', '.join(_PLACES)}.")
        self.place = place
        self.norm = BatchNormLayer(momentum)
        self.norm.build([None, classes if place == "logits" else dimension])
        # Before a normalisation the length of a row plays no part but in its gradient, which goes with 1 / length, and
        # a bias plays none at all. Behind it small weights make the first loss log K.
        length = 1 / math.sqrt(dimension) if place == "logits" else 0.01
        first = length * tf.random.stateless_normal([classes, dimension], seed=[seed, 0])
        self.weights = tf.Variable(first, name="head_weights")
        self.bias = tf.Variable(tf.zeros([classes]), name="head_bias") if place == "features" else None

    def logits(self, embeddings, training=False):
        embeddings = geometry.wide(embeddings)
        if self.place == "features":
            embeddings = self._normalised(embeddings, training)
        logits = tf.matmul(embeddings, tf.cast(self.weights, embeddings.dtype), transpose_b=True)
        if self.place == "logits":
            return self._normalised(logits, training)
        return logits + tf.cast(self.bias, logits.dtype)

    def loss(self, embeddings, labels, step):
        labels, logits = tf.convert_to_tensor(labels), self.logits(embeddings, training=True)
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(labels, 0), logits=logits)
        return tf.where(labels >= 0, values, tf.zeros_like(values))

    def _normalised(self, x, training):
        return self.norm.call(x, training=training)     # the layer itself would narrow x under mixed precision
