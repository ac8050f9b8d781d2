"""Classes as often as each other, or nearer to it than they are."""

import numpy as np

from tfrecords.samplers import _groups


class BalancedSampler:
    """An epoch of n // B batches in which class c comes in proportion to n_c^(1 - power).

    Each class has its share of the epoch to one image; its images come equally often, to one. The order is random.

    Args:    power: in [0, 1]; 1 = every class equally often, 0 = as in the data, 0.5 = by the square root.
             batch: B, global; the caller's fact.
    Call:    table (rows [n], labels [N] with -1 = no label), seed, epoch.
    Returns: int64 [max(1, n // B), B].
    Raises:  ValueError for a power outside [0, 1] or no labelled row.
    Source:  Mahajan et al., ECCV 2018, arXiv:1805.00932, section 2.2 (square root).  Differs: shares to one image
             instead of at random.
    """

    group = 1

    def __init__(self, batch, power=1.0):
        if not 0 <= power <= 1:
            raise ValueError(f"`power` is {power} but must lie in 0 (as in the data) to 1 (all classes equally often).")
        self.batch, self.power = batch, power

    def __call__(self, table, seed, epoch):
        random = np.random.default_rng([seed, epoch])
        groups = _groups.grouped(random.permutation(table.rows), table.labels)
        if not len(groups.counts):
            raise ValueError("`balanced` has no labelled row to draw from; check the config's `data` keys.")
        total = max(1, len(groups.rows) // self.batch) * self.batch
        share = groups.counts ** (1.0 - self.power)
        # Equal steps along the classes laid end to end, begun at random: to one image what is due to each. They lie in
        # a random order, so that what a class gets in one epoch does not depend on its neighbours.
        order = random.permutation(len(share))
        ends = np.cumsum(share[order])
        bounds = np.ceil(ends / ends[-1] * total - random.random()).clip(0, total).astype(np.int64)
        bounds[-1] = total
        due = np.empty(len(share), np.int64)
        due[order] = np.diff(bounds, prepend=0)
        place = np.arange(len(groups.rows)) - np.repeat(groups.starts, groups.counts)
        times = np.repeat(due // groups.counts, groups.counts) + (place < np.repeat(due % groups.counts, groups.counts))
        return random.permutation(np.repeat(groups.rows, times)).reshape(-1, self.batch)
