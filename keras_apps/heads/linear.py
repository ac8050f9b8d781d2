"""Linear softmax head."""

import tensorflow as tf

from keras_apps import geometry


class LinearHead(tf.Module):
    """Linear head: ordinary softmax cross-entropy on W x + b.

    value_i = logsumexp_j z_ij - z_iy,   z = x W^T + b

    Args:    classes: K >= 2.  dimension: D >= 1.  seed: int, fixes the first weights.
             bias: whether there is a b; without it the head suits a batch-normalised neck.
    Call:    .loss(embeddings [b, D], any length, not normalised; labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings) -> [b, K].
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0 where the label is below 0.
    Raises:  ValueError for fewer than 2 classes or a dimension below 1.
    Source:  the usual softmax regression.   Differs: no.
    """

    local = ()

    def __init__(self, classes, dimension, seed=0, bias=True):
        super().__init__()
        if classes < 2:
            raise ValueError(f"`classes` is {classes} but must be at least 2; add images of another class.")
        if dimension < 1:
            raise ValueError(f"`dimension` is {dimension} but must be at least 1; use 128.")
        # Small weights: the first loss is log K, whatever the length of the embeddings.
        first = 0.01 * tf.random.stateless_normal([classes, dimension], seed=[seed, 0])
        self.weights = tf.Variable(first, name="head_weights")
        self.bias = tf.Variable(tf.zeros([classes]), name="head_bias") if bias else None

    def logits(self, embeddings):
        embeddings = geometry.wide(embeddings)
        logits = tf.matmul(embeddings, tf.cast(self.weights, embeddings.dtype), transpose_b=True)
        return logits if self.bias is None else logits + tf.cast(self.bias, logits.dtype)

    def loss(self, embeddings, labels, step):
        labels = tf.convert_to_tensor(labels)
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.maximum(labels, 0), logits=self.logits(embeddings))
        return tf.where(labels >= 0, values, tf.zeros_like(values))
