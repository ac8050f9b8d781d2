"""Backbone, pooling and projection: the network that turns an image into a vector."""

import tensorflow as tf

from keras_apps.build import build
from keras_apps.norms import make_norm


class EmbeddingNetwork(tf.keras.Model):
    """embedding = norm(project(dropout(pool(map5)))); the norm has no learned shift.

    Args:    backbone, pooling: method strings.  dimension: D.  dropout: share of the pooled values dropped in training.
             shape: (H, W, C) of the images; all variables are made at once.
             norm: "batch" | "layer" as in `keras_apps/norms.py` | "none".
    Call:    images [b,H,W,C], training, seed [2] for the dropout -> [b,D], any length.
    """

    def __init__(self, backbone, pooling, dimension, shape, dropout=0.0, norm="batch"):
        super().__init__()
        if dimension < 1 or not 0 <= dropout < 1:
            raise ValueError(f"`embedding` is {dimension} and `dropout` {dropout} but they must be >= 1 and in [0, 1).")
        self.backbone, self.pooling = build("backbones", backbone, channels=shape[2]), build("poolings", pooling)
        self.dropout = dropout
        self.project = tf.keras.layers.Dense(dimension, use_bias=False)
        self.norm = None if norm == "none" else make_norm(norm, dimension, shift=False)
        self(tf.zeros([1, *shape]), training=False)

    def call(self, images, training=False, seed=None):
        pooled = self.pooling(self.backbone(images, training=training)["map5"])
        if training and self.dropout:
            pooled = tf.nn.experimental.stateless_dropout(pooled, self.dropout, seed)
        projected = self.project(pooled)
        return self.norm(projected, training=training) if self.norm else projected

    def embed(self, images, mirror=False):
        """Unit vectors [n,D] for use after training; `mirror` averages over the image and its mirror image."""
        found = self._unit(images)
        if mirror:
            found += self._unit(tf.reverse(images, [2]))
            found = tf.math.l2_normalize(found, axis=1)
        return found

    def _unit(self, images):
        # Float32 whatever the layers compute in: float16 would round away differences of scores.
        return tf.math.l2_normalize(tf.cast(self(images, training=False), tf.float32), axis=1)
