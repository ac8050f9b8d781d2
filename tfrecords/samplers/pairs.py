"""Pairs, half of them of the same identity."""

import numpy as np


class PairsSampler:
    """Each epoch uses every labelled row once as the first of a pair; its partner is drawn at random.

    Pairs lie side by side: rows (2 i, 2 i + 1) of a batch; even i are of the same identity, odd i of two. A row whose
    identity has no other image is paired with itself (two augmentations of one image).

    Args:    batch: B = 2 x pairs, global, a multiple of 4; the caller's fact.
    Call:    table (rows [n], labels [N] with -1 = no label), seed, epoch.
    Returns: int64 [max(1, 2 n // B), B].
    Raises:  ValueError for B not a multiple of 4 or fewer than two identities.
    Source:  Hadsell, Chopra and LeCun, CVPR 2006, section 2 (pairs); balance and order are ours.
    """

    group = 4

    def __init__(self, batch):
        if batch % 4:
            raise ValueError(f"`batch` is {batch} but must be a multiple of 4 (a same and a different pair); "
                             f"use {max(4, batch - batch % 4)}.")
        self.batch = batch

    def __call__(self, table, seed, epoch):
        random = np.random.default_rng([seed, epoch])
        rows = table.rows[table.labels[table.rows] >= 0]
        rows = rows[np.argsort(table.labels[rows], kind="stable")]
        labels = table.labels[rows]
        starts = np.searchsorted(labels, labels, "left")
        counts = np.searchsorted(labels, labels, "right") - starts
        if not len(rows) or counts[0] == len(rows):
            raise ValueError("`pairs` needs at least two identities to form different pairs but the data have "
                             f"{min(1, len(rows))}; use data with more identities.")
        pairs = self.batch // 2
        steps = max(1, len(rows) // pairs)
        first = np.concatenate([random.permutation(len(rows)) for _ in range(-(-steps * pairs // len(rows)))])
        first = first[:steps * pairs]
        place = first - starts[first]
        step_on = 1 + random.integers(np.maximum(counts[first] - 1, 1))
        same = starts[first] + (place + step_on) % counts[first]
        # A random place among the rows outside the own identity's block [start, start + count).
        other = random.integers(len(rows) - counts[first])
        other += np.where(other >= starts[first], counts[first], 0)
        second = np.where(np.arange(len(first)) % 2 == 0, same, other)
        return np.stack([rows[first], rows[second]], axis=1).reshape(steps, self.batch)
