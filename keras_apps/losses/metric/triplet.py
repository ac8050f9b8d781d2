"""Triplet loss with batch-hard, semi-hard, random or no mining over the global batch."""

import math

import tensorflow as tf

from keras_apps import geometry, pairs

_MININGS = ("batch_hard", "semi_hard", "all", "random")
_DISTANCES = ("euclidean", "squared", "cosine")


class TripletLoss:
    """Triplet loss: an anchor lies nearer to its positive than to a negative, by a margin.

    t(p, n) = [d_ip - d_in + m]+, or softplus(d_ip - d_in) with soft=True
    batch_hard:  value_i = t(farthest p, nearest n)
    semi_hard:   value_i = mean_p t(p, n_p);  n_p = the nearest n with d_in > d_ip, else the farthest n
    all:         value_i = mean_p mean_n t(p, n), triplets that already hold included
    random:      value_i = mean_p t(p, n_p);  n_p = any n: which one, the places in the batch decide alone
    p runs over the other members of i's class, n over the members of other classes, in the global batch.

    Args:    margin: m >= 0; plays no part with soft=True.  mining: see above.
             distance: "euclidean" |a - b|, "squared" |a - b|^2 or "cosine" 1 - cos.
             normalise: bring embeddings to length one first; False not with cosine.
    Call:    embeddings [b, D], any length (normalised here unless normalise=False); labels [b] int.
             A label below 0 is unknown: no anchor (value 0) and neither positive nor negative of anyone.
    Returns: [b], >= 0; exactly 0, with gradient 0, for an anchor without a positive or without a negative.
             Memory O(b B).  Time: one matrix product; semi_hard and all add c passes over [b, B] for the
             largest class, c members, in the batch.  The choice of triplets carries no gradient.
    Raises:  ValueError for a negative margin, an unknown mining or distance, or cosine with normalise=False.
    Source:  Schroff et al., CVPR 2015, arXiv:1503.03832 (semi_hard); Hermans et al., 2017, arXiv:1703.07737
             (batch_hard, all, soft).
    Differs: values are averaged per anchor first. semi_hard has no upper bound d_ip + m on the negative and
             falls back to the farthest one, as tensorflow-addons does. random leaves the chance to the sampler, which
             shuffles the batch: it needs no seed and is the same on any replicas, but of a batch in another
             order it takes other triplets.
    """

    def __init__(self, margin=0.2, mining="batch_hard", soft=False, distance="euclidean", normalise=True):
        if mining not in _MININGS:
            raise ValueError(f"`mining` is {mining!r} but must be one of {', '.join(_MININGS)}.")
        geometry.check_distance(distance, _DISTANCES, normalise)
        if not (math.isfinite(margin) and margin >= 0):
            raise ValueError(f"`margin` is {margin} but must be a finite number of at least 0; use 0.2.")
        self.margin = float(margin)
        self.mining = mining
        self.soft = soft
        self.distance = distance
        self.normalise = normalise

    def __call__(self, embeddings, labels):
        embeddings, labels = geometry.wide(embeddings), tf.convert_to_tensor(labels)
        if self.normalise:
            embeddings = geometry.unit(embeddings)
        everyone, all_labels, offset = pairs.across(embeddings, labels)

        # Classes as runs of the sorted labels: the members of i's class are order[start : start + count].
        order = tf.argsort(all_labels, stable=True)
        runs = tf.gather(all_labels, order)
        start = tf.searchsorted(runs, labels, side="left")
        count = tf.searchsorted(runs, labels, side="right") - start
        known = tf.math.count_nonzero(all_labels >= 0, dtype=tf.int32)
        anchor = (labels >= 0) & (count >= 2) & (count < known)

        if self.mining == "batch_hard":
            return self._batch_hard(embeddings, labels, everyone, all_labels, anchor)

        distances = geometry.distances(embeddings, everyone, self.distance)
        slots = tf.range(tf.maximum(tf.reduce_max(tf.where(anchor, count, 0)), 1))
        positives = tf.gather(order, tf.minimum(start[:, None] + slots, tf.shape(order)[0] - 1))
        own = offset + tf.range(tf.shape(labels)[0])
        valid = anchor[:, None] & (slots < count[:, None]) & (positives != own[:, None])  # [b, slots]
        negative = (labels[:, None] != all_labels[None]) & (all_labels >= 0)[None]
        if self.mining == "random":
            rank = tf.gather(tf.math.invert_permutation(order), own) - start
            return self._random(distances, positives, valid, negative, own, rank, count)
        mine = self._semi_hard if self.mining == "semi_hard" else self._all
        return mine(distances, positives, valid, negative)

    def _batch_hard(self, embeddings, labels, everyone, all_labels, anchor):
        columns = tf.stop_gradient(everyone)
        rows = tf.stop_gradient(embeddings)
        lowest = columns.dtype.min / 8
        if self.distance == "cosine":
            bias = tf.zeros_like(columns[:, 0])
        else:
            # Of |a - b|^2 the anchor's own length is constant in a row: a.b - |b|^2 / 2 ranks the same.
            # Scale and centre as geometry.euclidean_distances does; ranks do not notice.
            largest = tf.reduce_max(tf.abs(columns))
            scale = tf.where(largest > 0, largest, tf.ones_like(largest))
            centre = tf.reduce_mean(columns / scale, axis=0)
            rows, columns = rows / scale - centre, columns / scale - centre
            bias = -tf.reduce_sum(tf.square(columns), axis=1) / 2
        bias = tf.where(all_labels >= 0, bias, lowest)  # an unknown is never the nearest negative
        # The bias rides in the product as one more dimension: no pass of its own over [b, B].
        rows = tf.concat([rows, tf.ones_like(rows[:, :1])], axis=1)
        columns = tf.concat([columns, bias[:, None]], axis=1)
        nearness = tf.matmul(rows, columns, transpose_b=True)
        same = labels[:, None] == all_labels[None]
        # The anchor itself is among `same`, but at distance 0 it is farthest only if all positives are there.
        farthest = tf.argmin(tf.where(same, nearness, columns.dtype.max), axis=1)
        nearest = tf.argmax(tf.where(same, columns.dtype.min, nearness), axis=1)

        positive, negative = geometry.take(everyone, farthest), geometry.take(everyone, nearest)
        if self.distance == "cosine":
            excess = tf.reduce_sum(embeddings * (negative - positive), axis=1)
        elif self.distance == "squared":
            excess = tf.reduce_sum(
                tf.square(embeddings - positive) - tf.square(embeddings - negative), axis=1)
        else:
            excess = geometry.lengths(embeddings - positive) - geometry.lengths(embeddings - negative)
        value = self._penalty(excess)
        return tf.where(anchor, value, tf.zeros_like(value))

    def _semi_hard(self, distances, positives, valid, negative):
        fixed = tf.stop_gradient(distances)
        away = tf.where(negative, fixed, fixed.dtype.min)
        farthest = tf.argmax(away, axis=1, output_type=tf.int32)

        def nearest_beyond(column):
            reach = tf.gather(fixed, column, batch_dims=1)
            # `away` is below every reach where there is no negative, so one comparison does both tests.
            beyond = tf.where(away > reach[:, None], away, fixed.dtype.max)
            nearest = tf.argmin(beyond, axis=1, output_type=tf.int32)
            found = tf.gather(beyond, nearest, batch_dims=1) < fixed.dtype.max
            return tf.where(found, nearest, farthest)

        # One positive of every anchor at a time: all at once would be a [b, slots, B] array.
        negatives = tf.transpose(tf.map_fn(nearest_beyond, tf.transpose(positives), parallel_iterations=1))
        return self._mean_over_positives(distances, positives, negatives, valid)

    def _random(self, distances, positives, valid, negative, own, rank, count):
        # Negatives are counted from the anchor's own place on, around the batch: the first for a class's first
        # member, the next for its second, one more than the class has members further for the next positive. In a
        # P x K batch every image is then the negative of about as many.
        seen = tf.cumsum(tf.cast(negative, tf.int32), axis=1)
        before = tf.gather(seen, own, batch_dims=1)
        step = (count[:, None] + 1) * tf.range(tf.shape(positives)[1])
        wanted = ((before + rank)[:, None] + step) % tf.maximum(seen[:, -1:], 1) + 1
        negatives = tf.minimum(tf.searchsorted(seen, wanted), tf.shape(distances)[1] - 1)
        return self._mean_over_positives(distances, positives, negatives, valid)

    def _mean_over_positives(self, distances, positives, negatives, valid):
        excess = tf.gather(distances, positives, batch_dims=1) - tf.gather(distances, negatives, batch_dims=1)
        values = tf.where(valid, self._penalty(excess), tf.zeros_like(excess))
        return tf.reduce_sum(values, axis=1) / _at_least_one(valid, values.dtype)

    def _all(self, distances, positives, valid, negative):
        @tf.custom_gradient
        def values(distances):
            # d value_i / d d_ij is kept beside the sum: autodiff would store a [b, B] array for every slot.
            share = 1 / (_at_least_one(valid, distances.dtype) * _at_least_one(negative, distances.dtype))

            def add(slot, total, slopes, pulls):
                reach = tf.gather(distances, positives[:, slot], batch_dims=1)[:, None]
                counted = negative & valid[:, slot, None]
                excess = reach - distances
                zero = tf.zeros_like(excess)
                total += tf.reduce_sum(tf.where(counted, self._penalty(excess), zero), axis=1)
                slope = tf.where(counted, self._slope(excess), zero)
                return slot + 1, total, slopes - slope, pulls.write(slot, tf.reduce_sum(slope, axis=1))

            slots = tf.shape(positives)[1]
            pulls = tf.TensorArray(distances.dtype, size=slots, element_shape=distances.shape[:1])
            _, total, slopes, pulls = tf.while_loop(
                lambda slot, *_: slot < slots, add,
                (0, tf.zeros_like(distances[:, 0]), tf.zeros_like(distances), pulls), parallel_iterations=1)

            def gradient(upstream):
                rows = tf.broadcast_to(tf.range(tf.shape(positives)[0])[:, None], tf.shape(positives))
                at = tf.stack([rows, positives], axis=-1)
                whole = tf.tensor_scatter_nd_add(slopes, at, tf.transpose(pulls.stack()))
                return (upstream * share)[:, None] * whole

            return total * share, gradient

        return values(distances)

    def _penalty(self, excess):
        return tf.math.softplus(excess) if self.soft else tf.nn.relu(excess + self.margin)

    def _slope(self, excess):
        return tf.sigmoid(excess) if self.soft else tf.cast(excess + self.margin > 0, excess.dtype)


def _at_least_one(mask, dtype):
    return tf.cast(tf.maximum(tf.math.count_nonzero(mask, axis=1), 1), dtype)
