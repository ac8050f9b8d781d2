"""Dropout that knows its images: the surer one is, the more of its strongest units are taken away."""

import math

import tensorflow as tf

from keras_apps import geometry


class GuidedMaxoutLayer(tf.keras.layers.Layer):
    """Probability-guided maxout: y keeps the weakest units of each image and loses the strongest.

    y = alpha / r x on the round(r D) smallest entries of x, 0 on the others;   r = 1 - a q

    q is the probability that the classifier gives to the true class of x as it is, so an application asks it twice: of
    x for q, of y for the loss. An image that is sure already must be told by its other units as well. Without training
    y is x: no mask, no alpha.

    Args:    share: a in [0, 1), of the units that a sure image loses; 0 = none.
    Call:    features x [b, D]; probability q [b], cut to [0, 1], 0 for an image without a label, needed in training
             alone; training -> [b, D] in the same dtype, computed in float32 or wider. No gradient passes through q or
             the choice of units. A half is rounded to the even number; of equal entries the first are the smaller.
    Raises:  ValueError for a share out of range and, in training, for features or a probability of other shapes.
    Source:  Ferrari, Berretti, Del Bimbo, Probability Guided Maxout, ICPR 2020. alpha is one trainable number that
             starts at 1, as in its code.
    Differs: no.
    """

    def __init__(self, share=0.5):
        super().__init__(autocast=False)
        if not (math.isfinite(share) and 0 <= share < 1):
            raise ValueError(f"`share` is {share} but must lie in [0, 1); use 0.5.")
        self.share = float(share)

    def build(self, shape):
        self.alpha = self.add_weight("alpha", [], tf.float32, "ones", experimental_autocast=False)
        super().build(shape)

    def call(self, features, probability=None, training=False):
        if not training:
            return features
        wide = geometry.wide(features)
        probability = probability if probability is None else tf.stop_gradient(tf.cast(probability, wide.dtype))
        # A column would give every image the probabilities of all.
        if wide.shape.rank != 2 or probability is None or not wide.shape[:1].is_compatible_with(probability.shape):
            told = probability if probability is None else f"of shape {probability.shape}"
            raise ValueError(f"`features` has shape {wide.shape} and `probability` is {told} but they must be [b, D] "
                             "and [b] in training; give each image the probability of its class.")
        kept = 1 - self.share * tf.clip_by_value(probability, 0, 1)[:, None]
        count = tf.cast(tf.round(kept * tf.cast(tf.shape(wide)[1], wide.dtype)), tf.int32)
        rank = tf.argsort(tf.argsort(wide, stable=True))
        scaled = tf.cast(self.alpha, wide.dtype) / kept * wide
        return tf.cast(tf.where(rank < count, scaled, tf.zeros_like(scaled)), features.dtype)
