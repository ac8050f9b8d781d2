"""Head for labels at any level of a hierarchy of classes, such as "bird" beside "snow bunting"."""

import collections.abc
import math

import numpy as np
import tensorflow as tf

from keras_apps import geometry
from keras_apps.build import neighbours

_WEIGHTS = ("uniform", "equalize", "descendants", "leaves")
_NEVER = -1e4       # the log probability of what is never answered: its exp is 0, and float16 holds it


class HierarchyHead(tf.Module):
    """Hierarchy head: one sigmoid a node, s_n = P(n | one of its parents), learned from labels that may be imprecise.

    value_i = sum_n m_n w_n BCE(s_n, y_n),   s = sigmoid(x W^T + b)
    y_n = 1 for the label and its ancestors, else 0
    m_n = 1 for the label, its ancestors and the children of these, but not for what lies below the label: of that the
          label says nothing. With stop_inside for these and the children of the label, as it means none of them.
    P(n) = s_n (1 - prod_p (1 - P(p))) over the parents p of n; what has no parent hangs on a root that always holds

    The answer is the most likely leaf: P(n) of the leaves, renormalised. With stop_inside it is the most likely label,
    P(n) prod_c (1 - s_c) over the children c of n, renormalised over all labels: to be n and nothing below.

    Args:    classes: K >= 2, the labels.  dimension: D >= 1.  seed: int; plays no part, as all weights start at zero.
             names: the K labels' names; None = "0", "1", ...
             parents: {child: parent or (parent, parent, ...)}, by name; None = the labels are the leaves of one root.
             A child is a label or the parent of another. Parents that are no label become inner nodes; labels that
             are parents are imprecise.
             weights: w_n, of mean 1 over the nodes. "uniform"; "equalize", 1 / the training images that have n in m;
             "descendants", that times one plus the nodes below n; "leaves", that times the leaves below n (1 for a
             leaf).
             counts: the training images a label, K numbers of at least 0; for all weights but "uniform".
             stop_inside: whether an inner label is an answer of its own rather than an imprecise one.
    Call:    .loss(embeddings [b, D], any length, not normalised; labels [b] int, -1 = none; step) -> [b];
             .logits(embeddings, training=False) -> [b, K], log probabilities, the same in training; -1e4 for an inner
             label without stop_inside: exp of it is 0;
             .beliefs(embeddings) -> [b, N], log P(n) in the order of .nodes, the labels first.
    Returns: [b], >= 0, computed in float32 (float64 for float64); exactly 0 where the label is below 0.
    Raises:  ValueError for fewer than 2 classes, a dimension below 1, names that are not K different ones, a child that
             is neither a label nor a parent, a cycle, unknown weights, or weights that lack K counts.
    Source:  Brust, Barz, Denzler, Making Every Label Count, ICPR 2020, arXiv:2010.06469.
    Differs: what lies below the label and is also a child of an ancestor is left out of m, as the label may mean it.
             The root has no sigmoid. Images with n in m are counted, there leaves. Stopping inside needs that no child
             holds, there P(n) alone is compared.
    """

    local = ()

    def __init__(self, classes, dimension, seed=0, names=None, parents=None, weights="uniform", counts=None,
                 stop_inside=False):
        super().__init__()
        if classes < 2:
            raise ValueError(f"`classes` is {classes} but must be at least 2; add images of another class.")
        if dimension < 1:
            raise ValueError(f"`dimension` is {dimension} but must be at least 1; use 128.")
        if weights not in _WEIGHTS:
            raise ValueError(f"`weights` is {weights!r} but must be one of {', '.join(_WEIGHTS)}.")
        names = [str(name) for name in (range(classes) if names is None else names)]
        if len(names) != classes or len(set(names)) != classes:
            raise ValueError(f"`names` holds {len(names)} names, {len(set(names))} of them different, but must hold "
                             f"one for each of the {classes} classes; name each class once.")
        self._graph = graph = _Graph(names, parents or {})
        self.classes, self.nodes, self.stop_inside = classes, graph.nodes, bool(stop_inside)
        mask = graph.mask(self.stop_inside)[:classes]
        self._truth = graph.up[:classes].astype(np.float32)
        self._share = (mask * graph.weights(weights, mask, counts)).astype(np.float32)
        self._answers = graph.leaves[:classes] | self.stop_inside
        self.weights = tf.Variable(tf.zeros([len(self.nodes), dimension]), name="head_weights")
        self.bias = tf.Variable(tf.zeros([len(self.nodes)]), name="head_bias")

    def logits(self, embeddings, training=False):
        scores = self._scores(embeddings)
        logs = self._graph.beliefs(scores)
        if self.stop_inside:
            # log(1 - s) = -softplus
            logs -= tf.matmul(tf.math.softplus(scores), tf.cast(self._graph.children, scores.dtype), transpose_b=True)
        logs = logs[:, :self.classes]
        total = tf.reduce_logsumexp(tf.where(self._answers, logs, logs.dtype.min), axis=1, keepdims=True)
        return tf.where(self._answers, logs - total, _NEVER)

    def beliefs(self, embeddings):
        return self._graph.beliefs(self._scores(embeddings))

    def loss(self, embeddings, labels, step):
        scores, labels = self._scores(embeddings), tf.convert_to_tensor(labels)
        rows = tf.maximum(labels, 0)
        truth, share = (tf.cast(tf.gather(table, rows), scores.dtype) for table in (self._truth, self._share))
        values = tf.reduce_sum(share * tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=scores), axis=1)
        return tf.where(labels >= 0, values, tf.zeros_like(values))

    def _scores(self, embeddings):
        embeddings = geometry.wide(embeddings)
        weights, bias = (tf.cast(values, embeddings.dtype) for values in (self.weights, self.bias))
        return tf.matmul(embeddings, weights, transpose_b=True) + bias


class _Graph:
    """The hierarchy by numbers: a label has its own, inner nodes follow.

    nodes: their names.  leaves: [N] bool, without a child.  up: [N, N] bool, the column's node is the row's or lies
    above it.  children: [N, N] bool, the column's node is a child of the row's.
    """

    def __init__(self, names, parents):
        if not isinstance(parents, collections.abc.Mapping):
            raise ValueError(f"`parents` is {parents!r} but must be a dictionary; write {{'child': 'parent'}}.")
        above = {str(child): [str(one) for one in (given if isinstance(given, (tuple, list)) else [given])]
                 for child, given in parents.items()}
        self.nodes = tuple(dict.fromkeys([*names, *(one for given in above.values() for one in given)]))
        for child in above:
            if child not in self.nodes:
                raise ValueError(f"`parents` has the child {child!r}, which is neither a label nor a parent; did you "
                                 f"mean {', '.join(neighbours(child, self.nodes)[:3])}?")
        number = {name: n for n, name in enumerate(self.nodes)}
        above = [[number[one] for one in dict.fromkeys(above.get(name, ()))] for name in self.nodes]
        self._levels, self._order = self._sorted(above)
        self.up = np.eye(len(above), dtype=bool)
        self.children = np.zeros_like(self.up)
        for n in np.argsort(self._order):
            for parent in above[n]:
                self.up[n] |= self.up[parent]
                self.children[parent, n] = True
        self.leaves = ~self.children.any(axis=1)

    def beliefs(self, scores):
        """log P(n) [b, N], one level after the other from the top."""
        known = None
        for nodes, places in self._levels:
            logs = tf.math.log_sigmoid(tf.gather(scores, nodes, axis=1))
            if known is None:
                known = logs
                continue
            any_of = tf.gather(known, places[:, 0], axis=1)
            for more in places[:, 1:].T:
                both = _either(any_of, tf.gather(known, np.maximum(more, 0), axis=1))
                any_of = tf.where(more >= 0, both, any_of)
            known = tf.concat([known, logs + any_of], axis=1)
        return tf.gather(known, self._order, axis=1)

    def mask(self, stop_inside):
        """[N, N] bool: m of each label, one a row."""
        top = ~self.children.any(axis=0)        # the children of the root, which is above all
        ancestors = self.up & ~np.eye(len(self.up), dtype=bool)
        beside = top | (ancestors.astype(np.float32) @ self.children > 0)
        return self.up | beside | self.children if stop_inside else self.up | beside & ~ancestors.T

    def weights(self, kind, mask, counts):
        """[N] of mean 1."""
        if kind == "uniform":
            return np.ones(len(self.nodes))
        if counts is None or len(counts) != len(mask) or not min(counts) >= 0:
            told = None if counts is None else list(counts)
            raise ValueError(f"`weights` is {kind!r} but `counts` is {told}; give the training images of each of the "
                             f"{len(mask)} labels or use 'uniform'.")
        weights = 1 / np.maximum(np.asarray(counts, float) @ mask, 1)       # what no image is about: as if one were
        if kind == "descendants":
            weights *= self.up.sum(axis=0)
        elif kind == "leaves":
            weights *= self.up[self.leaves].sum(axis=0)
        return weights / np.mean(weights)

    def _sorted(self, above):
        """[(the nodes of a level, where their parents stand among all of earlier levels, -1 = no more)]; each node's
        place.

        A node's level is one below the deepest of its parents'.
        """
        found, levels = {}, []
        while len(found) < len(above):
            now = [n for n in range(len(above)) if n not in found and all(parent in found for parent in above[n])]
            if not now:
                raise ValueError(f"`parents` has a cycle, {' below '.join(self._cycle(above, found))}; leave one of "
                                 "these out.")
            places = np.full([len(now), max(len(above[n]) for n in now)], -1)
            for row, n in zip(places, now):
                row[:len(above[n])] = [found[parent] for parent in above[n]]
            levels.append((np.array(now), places))
            found.update({n: len(found) + i for i, n in enumerate(now)})
        return levels, np.array([found[n] for n in range(len(above))])

    def _cycle(self, above, found):
        """The names along one; a node that is not found has a parent that is not."""
        path = [next(n for n in range(len(above)) if n not in found)]
        while path[-1] not in path[:-1]:
            path.append(next(parent for parent in above[path[-1]] if parent not in found))
        return [self.nodes[n] for n in path[path.index(path[-1]):]]


def _either(first, second):
    """log(1 - (1 - P) (1 - Q)) of log P and log Q, as P + (1 - P) Q: small and large ones alike keep their digits."""
    first_not = tf.minimum(first, -1e-30)       # log 0 would have an infinite slope
    near = first_not > -math.log(2)
    first_not = tf.where(near, tf.math.log(-tf.math.expm1(tf.where(near, first_not, -1.0))),
                         tf.math.log1p(-tf.exp(tf.where(~near, first_not, -1.0))))
    return tf.minimum(tf.reduce_logsumexp(tf.stack([first, second + first_not]), axis=0), 0.0)
