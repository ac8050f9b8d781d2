"""Contrastive loss over all pairs of the global batch."""

import tensorflow as tf

from keras_apps import geometry, pairs
from keras_apps.losses import _contrastive


class ContrastiveLoss:
    """Contrastive loss: pairs of one class are pulled together, others pushed beyond a margin.

    squared:      value_i = mean_p d_ip^2 / 2 + w mean_n [m - d_in]+^2 / 2
    not squared:  value_i = mean_p d_ip       + w mean_n [m - d_in]+
    p runs over the other members of i's class, n over the members of other classes, in the global batch.
    The two means are taken apart, so the few positives of a P x K batch weigh as much as its many negatives:
    the squared form is twice the expected pair loss under a sampler that draws half its pairs from each kind.

    Args:    margin: m > 0 (for cosine at most 2).
             distance: "cosine" (1 - cos, in [0, 2]) or "euclidean" (|a - b|).
             squared: the squared form or the plain hinge.
             normalise: bring embeddings to length one first. False is for Euclidean only, where m needs a
             scale from elsewhere, such as batch normalisation of the embedding.
             negatives: w >= 0, the weight of the push. 0 = pairs of one class alone, which a constant embedding
             solves: to show that, not to train with.
    Call:    embeddings [b, D], any length (normalised here unless normalise=False); labels [b] int.
             A label below 0 is unknown: no anchor (value 0) and neither positive nor negative of anyone.
    Returns: [b], >= 0; a mean over no pairs is exactly 0, and so is its gradient.  Memory O(b B).
    Raises:  ValueError for a margin out of range, an unknown distance, cosine with normalise=False, or a
             negative weight.
    Source:  Hadsell, Chopra, LeCun, CVPR 2006, eq. 4.
    Differs: all pairs of the batch instead of sampled ones, the two kinds averaged apart; the unsquared
             form and the cosine are options.
    """

    def __init__(self, margin=0.5, distance="cosine", squared=True, normalise=True, negatives=1.0):
        _contrastive.check(margin, distance, normalise, negatives)
        self.margin = float(margin)
        self.negatives = float(negatives)
        self.distance = distance
        self.squared = squared
        self.normalise = normalise

    def __call__(self, embeddings, labels):
        embeddings, labels = geometry.wide(embeddings), tf.convert_to_tensor(labels)
        if self.normalise:
            embeddings = geometry.unit(embeddings)
        everyone, all_labels, offset = pairs.across(embeddings, labels)

        known = (labels >= 0)[:, None] & (all_labels >= 0)[None]
        same = labels[:, None] == all_labels[None]
        own = (offset + tf.range(tf.shape(labels)[0]))[:, None] == tf.range(tf.shape(all_labels)[0])[None]

        distances = geometry.distances(embeddings, everyone, self.distance)
        pull, push = _contrastive.pull_and_push(distances, self.margin, self.squared)
        return _row_means(pull, same & known & ~own) + self.negatives * _row_means(push, known & ~same)


def _row_means(values, mask):
    """Mean of each row's masked entries; exactly 0, with gradient 0, for a row without any."""
    total = tf.reduce_sum(tf.where(mask, values, tf.zeros_like(values)), axis=1)
    return total / tf.cast(tf.maximum(tf.math.count_nonzero(mask, axis=1), 1), total.dtype)
