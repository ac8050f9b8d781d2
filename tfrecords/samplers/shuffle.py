"""Every image once an epoch, in random order."""

import numpy as np


class ShuffleSampler:
    """A permutation of the rows, cut into batches; the rest of an epoch that fills no batch is left out.

    A set smaller than a batch is repeated, each time in a new order.

    Args:    batch: B, global; the caller's fact.
    Call:    table (rows [n], labels [N]), seed, epoch.
    Returns: int64 [max(1, n // B), B].
    """

    group = 1

    def __init__(self, batch):
        self.batch = batch

    def __call__(self, table, seed, epoch):
        random = np.random.default_rng([seed, epoch])
        steps = max(1, len(table.rows) // self.batch)
        repeats = -(-steps * self.batch // len(table.rows))
        order = np.concatenate([random.permutation(table.rows) for _ in range(repeats)])
        return order[:steps * self.batch].reshape(steps, self.batch)
