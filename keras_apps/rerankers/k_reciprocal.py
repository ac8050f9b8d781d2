"""k-reciprocal re-ranking: near is who has the same neighbours, and is theirs."""

import numbers

import numpy as np

from keras_apps.rerankers._rows import unit


class KReciprocalReranker:
    """Ranks by the overlap of k-reciprocal neighbourhoods beside the distance itself.

    All rows, queries and gallery, are points.  d_ij = |x_i - x_j|^2 / max_j |x_i - x_j|^2     (x at length one)
    N(i, k)  = i and its k nearest points
    R(i, k)  = {j in N(i, k): i in N(j, k)}
    R*_i     = R(i, k1) and every R(c, k1 / 2), c in R(i, k1), of which more than 2/3 lie in R(i, k1)
    V_ij     = exp(-d_ij) for j in R*_i, else 0, divided by its sum over j
    V_i     <- mean of V over the first k2 points of N(i, k1)                                  (local query expansion)
    J_ij     = 1 - s / (2 - s),  s = sum_n min(V_in, V_jn)
    score_ij = -((1 - weight) J_ij + weight d_ij)

    Args:    k1: neighbours, at most all there are.  k2: points of the local expansion; 1 = none.
             weight: lambda in [0, 1] of the distance; 1 = by the distance alone.
    Call:    query [q, D], gallery [N, D], any length (normalised here).
    Returns: scores [q, N] in [-1, 0]; float32, or float64 of such rows.
    Raises:  ValueError for a k1 or k2 that is not whole or below 1, weight outside [0, 1], shapes that do not fit or
             values that are not finite.
    Cost:    with n = q + N: one product of n^2 D, then q N times the neighbours that a point ends with (about k1 to
             k1 k2).  Memory: plain dense form, four tables of n^2 numbers at the most (float32: 16 n^2 bytes, 1.6 GB at
             n = 10,000); the scores of one query depend on all others.
    Source:  Zhong et al., CVPR 2017, arXiv:1701.08398, eqs. 1 to 12.
    Differs: the division by the row's largest distance and "more than" 2/3 are those of the authors' program, not of
             the paper, so that figures compare; of the points at one distance the earlier is nearer, and a point is
             always its own first neighbour.
    """

    def __init__(self, k1=20, k2=6, weight=0.3):
        if not all(isinstance(k, numbers.Integral) and k >= 1 for k in (k1, k2)):
            raise ValueError(f"`k1` is {k1} and `k2` {k2} but both must be whole numbers of at least 1; use 20 and 6.")
        if not 0 <= weight <= 1:
            raise ValueError(f"`weight` is {weight} but must lie in [0, 1]; use 0.3.")
        self.k1, self.k2, self.weight = k1, k2, weight

    def __call__(self, query, gallery):
        points = np.concatenate(unit(query, gallery))
        distances = self._distances(points)
        order = self._neighbours(distances)
        encoded = self._expanded(self._encoded(distances, order), order)
        distances = distances[:len(query), len(query):]
        return -((1 - self.weight) * _jaccard(encoded, len(query)) + self.weight * distances)

    def _distances(self, points):
        distances = points @ points.T
        distances *= -2
        distances += 2
        np.maximum(distances, 0, out=distances)
        np.fill_diagonal(distances, 0)
        largest = distances.max(axis=1, keepdims=True)
        distances /= np.where(largest > 0, largest, 1)
        return distances

    def _neighbours(self, distances):
        """N(i, k1) of every point, nearest first: [n, k1 + 1]."""
        count = min(self.k1 + 1, len(distances))
        found = np.empty([len(distances), count], np.int64)
        for i, row in enumerate(distances):
            row = row.copy()
            row[i] = -1
            # Of ties at the border a partition would keep any; the stable sort of the whole row keeps the earlier.
            found[i] = np.argsort(row, kind="stable")[:count]
        return found

    def _encoded(self, distances, order):
        """V before the local expansion, [n, n]."""
        points = np.arange(len(order))[:, None]
        near = _reciprocal(order)
        few = order[:, :round(self.k1 / 2) + 1]
        fewer = _reciprocal(few)
        members = np.zeros(distances.shape, bool)
        members[np.broadcast_to(points, order.shape)[near], order[near]] = True     # R(i, k1)
        chosen = members.copy()                 # R*
        for place in range(order.shape[1]):     # the candidate that stands there in each point's list
            candidate = order[:, place]
            theirs, of_them = few[candidate], fewer[candidate]
            inside = (members[points, theirs] & of_them).sum(axis=1)
            joins = near[:, place] & (3 * inside > 2 * of_them.sum(axis=1))
            joins = joins[:, None] & of_them
            chosen[np.broadcast_to(points, theirs.shape)[joins], theirs[joins]] = True
        encoded = np.exp(-distances)
        encoded *= chosen
        encoded /= encoded.sum(axis=1, keepdims=True)
        return encoded

    def _expanded(self, encoded, order):
        count = min(self.k2, order.shape[1])
        if count == 1:
            return encoded
        total = encoded.copy()      # a point is its own first
        for place in range(1, count):
            total += encoded[order[:, place]]
        total /= count
        return total


def _reciprocal(order):
    """Whether i is in the list of the point at order[i, a]: [n, k]."""
    return (order[order] == np.arange(len(order))[:, None, None]).any(axis=2)


def _jaccard(encoded, queries):
    """J of the queries to the gallery, [q, N]."""
    columns = np.ascontiguousarray(encoded[queries:].T)
    result = np.empty([queries, columns.shape[1]], encoded.dtype)
    for row, own in zip(result, encoded):
        used = np.flatnonzero(own)
        shared = np.minimum(columns[used], own[used, None]).sum(axis=0)
        row[:] = 1 - shared / (2 - shared)
    return result
