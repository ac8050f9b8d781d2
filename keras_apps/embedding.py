"""Backbone, pooling and projection: the network that turns an image into a vector."""

import tensorflow as tf

from keras_apps.build import build


class EmbeddingNetwork(tf.keras.Model):
    """embedding = norm(project(dropout(pool(map5)))); the norm has no learned shift.

    Args:    backbone, pooling: method strings.  dimension: D.  dropout: share of the pooled values dropped in training.
             shape: (H, W, C) of the images; all variables are made at once.
    Call:    images [b,H,W,C], training, seed [2] for the dropout -> [b,D], any length.
    """

    def __init__(self, backbone, pooling, dimension, shape, dropout=0.0):
        super().__init__()
        if dimension < 1 or not 0 <= dropout < 1:
            raise ValueError(f"`embedding` is {dimension} and `dropout` {dropout} but they must be >= 1 and in [0, 1).")
        self.backbone, self.pooling = build("backbones", backbone), build("poolings", pooling)
        self.dropout = dropout
        self.project = tf.keras.layers.Dense(dimension, use_bias=False)
        self.norm = tf.keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, center=False, synchronized=True)
        self(tf.zeros([1, *shape]), training=False)

    def call(self, images, training=False, seed=None):
        pooled = self.pooling(self.backbone(images, training=training)["map5"])
        if training and self.dropout:
            pooled = tf.nn.experimental.stateless_dropout(pooled, self.dropout, seed)
        return self.norm(self.project(pooled), training=training)

    def embed(self, images, mirror=False):
        """Unit vectors [n,D] for use after training; `mirror` averages over the image and its mirror image."""
        found = tf.math.l2_normalize(self(images, training=False), axis=1)
        if mirror:
            found += tf.math.l2_normalize(self(tf.reverse(images, [2]), training=False), axis=1)
            found = tf.math.l2_normalize(found, axis=1)
        return found
