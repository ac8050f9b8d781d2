"""Linear softmax head."""

import tensorflow as tf

from keras_apps import geometry


class LinearHead(tf.Module):
    """Linear head: ordinary softmax cross-entropy on W x + b.

    value_i = - sum_j t_ij log softmax_j(z_i),   z = x W^T + b,   t_i = (1 - e) onehot(y_i) + e / K

    Args:    classes: K >= 2.  dimension: D >= 1.  seed: int, fixes the first weights.
             bias: whether there is a b; without it the head suits a batch-normalised neck.
             smoothing: e in [0, 1), the share of the target that all classes have alike; 0 = the label alone.
    Call:    .loss(embeddings [b, D], any length, not normalised; labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings, training=False) -> [b, K], the same in training.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0 where the label is below 0.
    Raises:  ValueError for fewer than 2 classes, a dimension below 1 or a smoothing outside [0, 1).
    Source:  the usual softmax regression; smoothing: Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7.
    Differs: no.
    """

    local = ()

    def __init__(self, classes, dimension, seed=0, bias=True, smoothing=0.0):
        super().__init__()
        if classes < 2:
            raise ValueError(f"`classes` is {classes} but must be at least 2; add images of another class.")
        if dimension < 1:
            raise ValueError(f"`dimension` is {dimension} but must be at least 1; use 128.")
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` is {smoothing} but must lie in [0, 1); use 0.1.")
        self.smoothing = float(smoothing)
        # Small weights: the first loss is log K, whatever the length of the embeddings.
        first = 0.01 * tf.random.stateless_normal([classes, dimension], seed=[seed, 0])
        self.weights = tf.Variable(first, name="head_weights")
        self.bias = tf.Variable(tf.zeros([classes]), name="head_bias") if bias else None

    def logits(self, embeddings, training=False):
        embeddings = geometry.wide(embeddings)
        logits = tf.matmul(embeddings, tf.cast(self.weights, embeddings.dtype), transpose_b=True)
        return logits if self.bias is None else logits + tf.cast(self.bias, logits.dtype)

    def loss(self, embeddings, labels, step):
        labels = tf.convert_to_tensor(labels)
        logits = self.logits(embeddings)
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(labels, 0), logits=logits)
        if self.smoothing:
            evenly = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)
            values = (1 - self.smoothing) * values + self.smoothing * evenly
        return tf.where(labels >= 0, values, tf.zeros_like(values))
