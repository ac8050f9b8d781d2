"""Center loss: every embedding is drawn to the learned centre of its class."""

import math

import tensorflow as tf

from keras_apps import geometry


class CenterLoss(tf.Module):
    """Center loss: the squared distance to the centre of the own class; centres are learned beside the network.

    value_i = |f_i - c_y|^2     (squared, no 1/2, f at its own length)

    As a term of weight w in the total loss it should hold the embeddings only gently (w = 5e-4 in the source) while the
    centres still follow them. So the gradient of the centres is divided by w: they move as if w were 1, by the rate of
    their own optimizer (plain SGD of 0.5 in the source): that of the group "center" where an app has it as its `center`
    (vehicle_reid), of "loss" where as its `loss`, and of the network where the config names none for the group. It
    enters a clipping by global norm at that size.

    Args:    classes: K >= 1.  dimension: D >= 1.  seed: int, fixes the first centres, N(0, 1).
             weight: w > 0, the weight that this term has in the total loss.
    Call:    embeddings [b, D], any length, not normalised; labels [b] int.
             A label below 0 is unknown: value 0, and no gradient to anyone.
    Returns: [b], >= 0, computed in float32 (float64 for float64).  Memory O(b D).
    Raises:  ValueError for classes or a dimension below 1, or weight <= 0.
    Source:  Wen et al., ECCV 2016; the divided gradient: Luo et al., CVPRW 2019, arXiv:1903.07071 (in their code).
    Differs: from Wen et al.: no 1/2, and centres follow their gradient, not the mean of their class in the batch.
    """

    def __init__(self, classes, dimension, seed=0, weight=1.0):
        super().__init__()
        if classes < 1:
            raise ValueError(f"`classes` is {classes} but must be at least 1; add labelled images.")
        if dimension < 1:
            raise ValueError(f"`dimension` is {dimension} but must be at least 1; use 128.")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"`weight` is {weight} but must be a finite number above 0, that of the term; use 0.0005.")
        self.weight = float(weight)
        self.centres = tf.Variable(tf.random.stateless_normal([classes, dimension], seed=[seed, 0]), name="centres")

    def __call__(self, embeddings, labels):
        embeddings, labels = geometry.wide(embeddings), tf.convert_to_tensor(labels)
        centres = tf.cast(self.centres, embeddings.dtype)
        away = embeddings - self._reweighted(geometry.take(centres, tf.maximum(labels, 0)))
        away = tf.where((labels >= 0)[:, None], away, tf.zeros_like(away))
        return tf.reduce_sum(tf.square(away), axis=1)

    def _reweighted(self, centres):
        @tf.custom_gradient
        def same(centres):
            return tf.identity(centres), lambda upstream: upstream / self.weight

        return same(centres)
