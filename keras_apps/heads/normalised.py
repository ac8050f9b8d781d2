"""Softmax on the unit sphere, and the frame of the margin heads."""

import math

import tensorflow as tf

from keras_apps import geometry


class NormalisedHead(tf.Module):
    """Normalised softmax: cross-entropy on scaled cosines between the embedding and one vector a class.

    value_i = logsumexp_j(s cos_ij) - s cos_iy,   cos_ij = <x_i / |x_i|, w_j / |w_j|>

    Args:    classes: K >= 2.  dimension: D >= 1.  seed: int, fixes the first weights.
             scale: s > 0; None = log((K - 1) P / (1 - P)) with P = 0.99, the least scale at which a perfect
             embedding (own cosine 1, others 0) reaches probability P.
    Call:    .loss(embeddings [b, D], any length (normalised here); labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings) -> [b, K] = s cos.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0 where the label is below 0.
    Raises:  ValueError for fewer than 2 classes, a dimension below 1 or scale <= 0.
    Source:  Wang et al., NormFace, ACM MM 2017, arXiv:1704.06369.   Differs: s is fixed, not learned.
    """

    local = ()

    def __init__(self, classes, dimension, seed=0, scale=16.0):
        super().__init__()
        if classes < 2:
            raise ValueError(f"`classes` is {classes} but must be at least 2; add images of another class.")
        if dimension < 1:
            raise ValueError(f"`dimension` is {dimension} but must be at least 1; use 128.")
        if scale is None:
            scale = math.log((classes - 1) * 0.99 / 0.01)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"`scale` is {scale} but must be a finite number above 0; use 16 or None.")
        self.scale = float(scale)
        # Rows of length about one for every K and D: the gradient of a direction goes with 1 / length.
        first = tf.random.stateless_normal([classes, dimension], seed=[seed, 0]) / math.sqrt(dimension)
        self.weights = tf.Variable(first, name="head_weights")

    def logits(self, embeddings):
        return self.scale * self._cosines(embeddings)

    def loss(self, embeddings, labels, step):
        labels = tf.convert_to_tensor(labels)
        targets = tf.maximum(labels, 0)
        cosines = self._cosines(embeddings)
        own = self._target(tf.gather(cosines, targets, batch_dims=1), step)
        hit = targets[:, None] == tf.range(tf.shape(cosines)[1], dtype=targets.dtype)[None]
        logits = self.scale * tf.where(hit, own[:, None], cosines)
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
        return tf.where(labels >= 0, values, tf.zeros_like(values))

    def _cosines(self, embeddings):
        embeddings = geometry.unit(geometry.wide(embeddings))
        return geometry.cosines(embeddings, geometry.unit(tf.cast(self.weights, embeddings.dtype)))

    def _target(self, cosine, step):
        """The own class's cosine [b] as the loss sees it: margin heads lower it here."""
        return cosine


def grown(step, warmup):
    """The share of a margin in force at `step`: min(1, step / warmup), float64; 1 without a warm-up."""
    if not warmup:
        return tf.constant(1.0, tf.float64)
    return tf.minimum(tf.cast(step, tf.float64) / warmup, 1.0)
