"""CosFace: softmax on the unit sphere with a margin on the cosine."""

import tensorflow as tf

from keras_apps.heads import normalised


class CosfaceHead(normalised.NormalisedHead):
    """CosFace (AM-softmax): the own class must win by a margin on the cosine.

    value_i = logsumexp_j z_ij - z_iy,   z_iy = s (cos_iy - m),   z_ij = s cos_ij for j != y

    Args:    classes: K >= 2.  dimension: D >= 1.  seed: int, fixes the first weights.
             scale: s > 0; None = log((K - 1) P / (1 - P)) with P = 0.99 (see NormalisedHead); published
             nets with thousands of classes use 64.
             margin: m in [0, 1).  warmup: steps over which the margin grows linearly from 0; 0 = at once.
    Call:    .loss(embeddings [b, D], any length (normalised here); labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings) -> [b, K] = s cos, without the margin.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0 where the label is below 0.
    Raises:  ValueError for fewer than 2 classes, scale <= 0, a margin outside [0, 1) or warmup < 0.
    Source:  Wang et al., CVPR 2018, arXiv:1801.09414, eq. 4.   Differs: no (warmup is an addition).
    """

    def __init__(self, classes, dimension, seed=0, scale=None, margin=0.35, warmup=0):
        super().__init__(classes, dimension, seed, scale)
        if not 0 <= margin < 1:
            raise ValueError(f"`margin` is {margin} but must lie in [0, 1); use 0.35.")
        if warmup < 0:
            raise ValueError(f"`warmup` is {warmup} but must be a number of steps, 0 or more; use 0.")
        self.margin = float(margin)
        self.warmup = warmup

    def _target(self, cosine, step):
        return cosine - tf.cast(self.margin * normalised.grown(step, self.warmup), cosine.dtype)
