"""The pairs that the data list, half of them same."""

import numpy as np

from tfrecords.samplers import _groups


class ListedPairsSampler:
    """For data that know of pairs only whether they are the same: same and different ones take turns.

    Pairs lie side by side: rows (2 i, 2 i + 1) of a batch; even i are listed as same, odd i as different. An epoch goes
    once through the more frequent kind; the other one's pairs come again, each time in a new order. Pairs of which a
    row is not eligible are left out.

    Args:    batch: B = 2 x pairs, global, a multiple of 4; the caller's fact.
    Call:    table (rows [n], pairs (first [M], second [M], same [M] of 0 or 1)), seed, epoch.
    Returns: int64 [max(1, pairs of the more frequent kind // (B / 4)), B].
    Raises:  ValueError for B not a multiple of 4, data without pairs, or pairs of one kind only.
    """

    group = 4

    def __init__(self, batch):
        _groups.require_multiple(batch, 4, "4 (a same and a different pair)")
        self.batch = batch

    def __call__(self, table, seed, epoch):
        if table.pairs is None:
            raise ValueError("`listed_pairs` needs data that list pairs; write them with --pairs or use the sampler "
                             "`pairs`.")
        random = np.random.default_rng([seed, epoch])
        first, second, same = (np.asarray(values) for values in table.pairs)
        usable = np.isin(first, table.rows) & np.isin(second, table.rows)
        kinds = [np.flatnonzero(usable & (same == kind)) for kind in (1, 0)]
        if not all(map(len, kinds)):
            raise ValueError(f"`listed_pairs` needs same and different pairs but of the {len(same):,} listed ones "
                             f"{len(kinds[0]):,} and {len(kinds[1]):,} lie in the rows to draw from; list both kinds.")
        each = self.batch // 4
        steps = max(1, max(map(len, kinds)) // each)
        pairs = np.stack([_groups.repeated(kind, steps * each, random) for kind in kinds], axis=1).ravel()
        return np.stack([first[pairs], second[pairs]], axis=1).reshape(steps, self.batch).astype(np.int64)
