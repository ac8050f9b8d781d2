"""Backbone, neck and projection: the network that turns an image into a vector."""

import tensorflow as tf

from keras_apps.build import build
from keras_apps.norms import make_norm

NORMS = "batch", "layer", "none"        # of a vector an image; norms over places need a map


class EmbeddingNetwork(tf.keras.Model):
    """feature = project(dropout(neck(maps)));  embedding = norm(feature), a norm without a learned shift

    Args:    backbone, neck: method strings.  pooling: of which the neck makes what it needs.
             dimension: D; 0 = no projection, the neck's own.
             shape: (H, W, C) of the images; all variables are made at once.
             dropout: share of the neck's values dropped in training.
             norm: "batch" | "layer" as in `keras_apps/norms.py` | "none".
    Call:    images [b,H,W,C], training, seed [2] for the dropout -> embeddings [b,D], any length.
    """

    def __init__(self, backbone, pooling, dimension, shape, dropout=0.0, norm="batch", neck="last()"):
        super().__init__()
        if dimension < 0 or not 0 <= dropout < 1:
            raise ValueError(f"`embedding` is {dimension} and `dropout` {dropout} but they must be >= 0 and in [0, 1).")
        self.backbone = build("backbones", backbone, channels=shape[2], size=tuple(shape[:2]))
        self.neck = build("necks", neck, pooling=pooling)
        self.dropout = dropout
        images = tf.zeros([1, *shape])
        width = self.neck(self.backbone(images)).shape[1]
        self.project = tf.keras.layers.Dense(dimension, use_bias=False) if dimension else None
        self.dimension = dimension or width
        if norm not in NORMS:
            raise ValueError(f"`norm` is {norm!r} but must be one of {', '.join(NORMS)}.")
        self.norm = None if norm == "none" else make_norm(norm, self.dimension, shift=False)
        self(images, training=False)

    def call(self, images, training=False, seed=None):
        return self.both(images, training, seed)[1]

    def both(self, images, training=False, seed=None):
        """The feature before the norm, for losses on distances, and the embedding after it: two [b,D]."""
        return self.of_maps(self.backbone(images, training=training), training, seed)

    def of_maps(self, maps, training=False, seed=None):
        """`both` of the backbone's maps."""
        feature = self.neck(maps, training=training)
        if training and self.dropout:
            feature = tf.nn.experimental.stateless_dropout(feature, self.dropout, seed)
        if self.project:
            feature = self.project(feature)
        return feature, self.norm(feature, training=training) if self.norm else feature

    def look(self, images, mirror=False):
        """For use after training: the embedding [n,D], and at length one [n,D], both float32.

        `mirror` averages the latter over the image and its mirror image.
        """
        # Float32 whatever the layers compute in: float16 would round away differences of scores.
        embedding = tf.cast(self(images), tf.float32)
        found = tf.math.l2_normalize(embedding, axis=1)
        if mirror:
            found += tf.math.l2_normalize(tf.cast(self(tf.reverse(images, [2])), tf.float32), axis=1)
            found = tf.math.l2_normalize(found, axis=1)
        return embedding, found
