"""Orientation-conditioned matching: one similarity for views alike, another for views that differ."""

import math

import tensorflow as tf

from keras_apps import geometry, pairs


class OrientedMatcher(tf.Module):
    """Oriented matcher: the orientations of both images weigh two similarities, each learned for its own pairs.

    score = (u cos_s + (1 - u) cos_d) / 3,   u = p . p',   p = softmax(W_o x),   s = unit(W_s x),   d = unit(W_d x)

    same_i  = [|s_i - s_p| - |s_i - s_n| + m]+;  p the farthest of i's label, n the nearest other of i's orientation
    other_i = [|d_i - d_p| - |d_i - d_n| + m]+;  p the farthest of i's label in another orientation, n the nearest other
    kind_i  = cross-entropy of p_i and i's orientation

    p, n run over the global batch. x is the network's embedding (behind BNNeck: else all directions would be one at
    first), shared by all three. The score is the product of a vector of the asking image and one of the offered image,
    both of length one, so that any search can compute it:

    asked = [p (x) s, d, -p (x) d, r, 0] / sqrt(3),  offered = [p (x) s, d, p (x) d, 0, r] / sqrt(3),
    r = sqrt(2 - 2 |p|^2),  (x) the outer product

    Args:    dimension: D of x.  kinds: K >= 2 orientations.  seed: int, fixes the first weights.  (The caller's facts.)
             branch: length of s and of d.  margin: m.  same, other, kind: weights of the terms.
    Call:    .prepare(images, kinds, seed) -> both as they are;  .losses(embedding [b,D], labels [b], kinds [b] int,
             -1 = not known) -> {"same", "other", "kind"}: (values [b], weight [b]), weight 0 where there is no p or no
             n, or the orientation is not known;  .asked, .offered(images, look) -> [n, 2 K branch + branch + 2], with
             look(images) -> (x, any);  .kind(x) -> p [n,K].
    Raises:  ValueError for fewer than 2 orientations, a branch below 1 or a negative margin or weight.
    Source:  inspired by Re-ID with orientation constraints (known from an abstract); batch-hard as Hermans et al.,
             2017, arXiv:1703.07737.
    Differs: the losses of the branches, the shared x and the form as one product are ours.
    """

    column = "orientation"      # of the data; its names are the kinds
    across = True               # a term looks across the batch

    def __init__(self, dimension, kinds, seed=0, branch=64, margin=0.3, same=1.0, other=1.0, kind=1.0):
        super().__init__()
        if kinds < 2:
            raise ValueError(f"the data name {kinds} orientations but an oriented matcher needs 2; write them with an "
                             "`orientation` column of more values, or use matcher=\"\".")
        if not isinstance(branch, int) or branch < 1 or not all(
                math.isfinite(value) and value >= 0 for value in (margin, same, other, kind)):
            raise ValueError(f"oriented(branch={branch}, margin={margin}, same={same}, other={other}, kind={kind}) "
                             "needs a whole branch >= 1 and all others finite and >= 0.")
        self.margin = float(margin)
        self.weights = {"same": float(same), "other": float(other), "kind": float(kind)}
        draws = [tf.random.stateless_normal([dimension, width], [seed, number]) / dimension ** 0.5
                 for number, width in enumerate((branch, branch, kinds))]
        self.same = tf.Variable(draws[0], name="matcher_same")
        self.other = tf.Variable(draws[1], name="matcher_other")
        self.kinds = tf.Variable(0.1 * draws[2], name="matcher_kinds")

    def prepare(self, images, kinds, seed):
        return images, kinds

    def losses(self, embedding, labels, kinds):
        embedding = geometry.wide(embedding)
        labels, kinds = (tf.cast(values, tf.int64) for values in (labels, kinds))
        count = tf.cast(tf.shape(self.kinds)[1], tf.int64) + 1
        # One number holds label and orientation, so that one gather brings both from the other replicas.
        both = tf.where(labels >= 0, labels * count + kinds + 1, -1)
        width = self.same.shape[1]
        branches = tf.concat([self._branch(embedding, self.same), self._branch(embedding, self.other)], axis=1)
        everyone, codes, offset = pairs.across(branches, both)
        own = tf.one_hot(offset + tf.range(tf.shape(labels)[0]), tf.shape(codes)[0], True, False, dtype=tf.bool)
        known = (labels >= 0)[:, None] & (codes >= 0)
        same_label = (labels[:, None] == codes // count) & known
        their_kinds = codes % count - 1
        of_kinds = known & (kinds >= 0)[:, None] & (their_kinds >= 0)
        alike = (kinds[:, None] == their_kinds) & of_kinds
        terms = {
            "same": self._hardest(branches[:, :width], everyone[:, :width], same_label & ~own,
                                  ~same_label & alike),
            "other": self._hardest(branches[:, width:], everyone[:, width:], same_label & of_kinds & ~alike,
                                   ~same_label & known)}
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(kinds, 0), self._logits(embedding))
        return {**terms, "kind": (values, tf.cast(kinds >= 0, values.dtype))}

    def _hardest(self, rows, everyone, positive, negative):
        distances = geometry.distances(rows, everyone, "euclidean")
        farthest = tf.reduce_max(tf.where(positive, distances, 0), axis=1)
        nearest = tf.reduce_min(tf.where(negative, distances, distances.dtype.max), axis=1)
        judged = tf.reduce_any(positive, axis=1) & tf.reduce_any(negative, axis=1)
        values = tf.where(judged, tf.nn.relu(farthest - tf.where(judged, nearest, 0) + self.margin), 0)
        return values, tf.cast(judged, values.dtype)

    def _branch(self, embedding, weights):
        return geometry.unit(tf.matmul(embedding, tf.cast(weights, embedding.dtype)))

    def _logits(self, embedding):
        return tf.matmul(embedding, tf.cast(self.kinds, embedding.dtype))

    def kind(self, embedding):
        return tf.nn.softmax(self._logits(geometry.wide(embedding)))

    def asked(self, images, look):
        return self._vectors(look(images)[0], asking=True)

    def offered(self, images, look):
        return self._vectors(look(images)[0], asking=False)

    def _vectors(self, embedding, asking):
        embedding = geometry.wide(embedding)
        kinds, same, other = self.kind(embedding), *(self._branch(embedding, one) for one in (self.same, self.other))
        rest = tf.sqrt(tf.maximum(2 - 2 * tf.reduce_sum(tf.square(kinds), axis=1, keepdims=True), 0))
        none = tf.zeros_like(rest)
        turned = _outer(kinds, other)
        parts = [_outer(kinds, same), other, -turned if asking else turned,
                 *((rest, none) if asking else (none, rest))]
        return tf.concat(parts, axis=1) / 3 ** 0.5


def _outer(first, second):
    return tf.reshape(first[:, :, None] * second[:, None], [-1, first.shape[1] * second.shape[1]])
