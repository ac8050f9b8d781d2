"""ArcFace: softmax on the unit sphere with a margin on the angle."""

import math

import tensorflow as tf

from keras_apps import geometry
from keras_apps.heads import normalised


class ArcfaceHead(normalised.NormalisedHead):
    """ArcFace: the own class must win by a margin on the angle.

    value_i = logsumexp_j z_ij - z_iy,   z_ij = s cos t_ij for j != y
    z_iy = s cos(t_iy + m) up to t_iy = pi - m; s (cos t_iy - m sin m) beyond, where cos(t + m) rises again

    Args:    classes: K >= 2.  dimension: D >= 1.  seed: int, fixes the first weights.
             scale: s > 0; None = log((K - 1) P / (1 - P)) with P = 0.99 (see NormalisedHead); published
             nets with thousands of classes use 64.
             margin: m in [0, pi / 2), radians.  warmup: steps over which the margin grows linearly from 0;
             0 = at once.
    Call:    .loss(embeddings [b, D], any length (normalised here); labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings) -> [b, K] = s cos t, without the margin.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0 where the label is below 0.
    Raises:  ValueError for fewer than 2 classes, scale <= 0, a margin outside [0, pi / 2) or warmup < 0.
    Source:  Deng et al., CVPR 2019, arXiv:1801.07698, eq. 3.
    Differs: cos(t + m) = cos t cos m - sin t sin m, no arc cosine: its gradient is infinite at t = 0.
             The branch beyond pi - m is not in the paper but in its public code; warmup is an addition.
    """

    def __init__(self, classes, dimension, seed=0, scale=None, margin=0.5, warmup=0):
        super().__init__(classes, dimension, seed, scale)
        if not 0 <= margin < math.pi / 2:
            raise ValueError(f"`margin` is {margin} but must lie in [0, pi / 2) radians; use 0.5.")
        if warmup < 0:
            raise ValueError(f"`warmup` is {warmup} but must be a number of steps, 0 or more; use 0.")
        self.margin = float(margin)
        self.warmup = warmup

    def _target(self, cosine, step):
        margin = self.margin * normalised.grown(step, self.warmup)  # float64: only its results are cast
        cos_m, sin_m = (tf.cast(value, cosine.dtype) for value in (tf.cos(margin), tf.sin(margin)))
        drop = tf.cast(margin, cosine.dtype) * sin_m
        squared_sine = (1 - cosine) * (1 + cosine)
        # Below rounding the sine and its slope are 0: d sin / d cos = -cos / sin would be infinite at t = 0.
        certain = squared_sine > geometry.epsilon(cosine.dtype)
        sine = tf.where(certain, tf.sqrt(tf.where(certain, squared_sine, 1.0)), 0.0)
        return tf.where(cosine > -cos_m, cosine * cos_m - sine * sin_m, cosine - drop)
