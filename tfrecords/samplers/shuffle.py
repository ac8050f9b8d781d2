"""Every image once an epoch, in random order."""

import numpy as np

from tfrecords.samplers import _groups


class ShuffleSampler:
    """A permutation of the rows, cut into batches; the rest of an epoch that fills no batch is left out.

    A set smaller than a batch is repeated, each time in a new order.

    Args:    batch: B, global; the caller's fact.
    Call:    table (rows [n], with a label or without), seed, epoch.
    Returns: int64 [max(1, n // B), B].
    Raises:  ValueError where there is no row.
    """

    group = 1

    def __init__(self, batch):
        self.batch = batch

    def __call__(self, table, seed, epoch):
        if not len(table.rows):
            raise ValueError("`shuffle` has no row to draw from; check the config's `data` keys.")
        steps = max(1, len(table.rows) // self.batch)
        rows = _groups.repeated(table.rows, steps * self.batch, np.random.default_rng([seed, epoch]))
        return rows.reshape(steps, self.batch)
