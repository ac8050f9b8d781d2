"""Query expansion: a query asks again, together with what it found first."""

import math
import numbers

import numpy as np

from keras_apps.rerankers._rows import unit


class QueryExpansionReranker:
    """Searches by the mean of the query and what it found first, weighted by how near that is.

    score_ij = unit(q_i + sum_{n in top(i)} max(q_i . g_n, 0)^power g_n) . g_j          (all rows at length one)

    power = 0 is the average query expansion: all weigh alike, also those of negative cosine.

    Args:    count: entries that join a query, at most all there are.  power: alpha >= 0; large = near ones only.
    Call:    query [q, D], gallery [N, D], any length (normalised here).
    Returns: scores [q, N], cosines in [-1, 1]; float32, or float64 of such rows.  Memory: twice the scores.
    Raises:  ValueError for a count that is not whole or below 1, a power that is negative or not finite, shapes that do
             not fit or values that are not finite.
    Source:  Chum et al., ICCV 2007 (average); Radenovic et al., TPAMI 2019, arXiv:1711.02512, section 5.2 (alpha).
    """

    def __init__(self, count=5, power=0.0):
        if not isinstance(count, numbers.Integral) or count < 1:
            raise ValueError(f"`count` is {count} but must be a whole number of at least 1; use 5.")
        if not 0 <= power < math.inf:
            raise ValueError(f"`power` is {power} but must be finite and not negative; 0 weights all alike.")
        self.count, self.power = count, power

    def __call__(self, query, gallery):
        query, gallery = unit(query, gallery)
        scores = query @ gallery.T
        count = min(self.count, len(gallery))
        top = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        weights = np.maximum(np.take_along_axis(scores, top, axis=1), 0) ** query.dtype.type(self.power)
        expanded = query + np.einsum("qn,qnd->qd", weights, gallery[top])
        return unit(expanded, gallery)[0] @ gallery.T
