"""Every image several times side by side, for several augmentations of it."""

import numpy as np

from tfrecords.samplers import _groups


class ViewsSampler:
    """As `shuffle`, each row `views` times side by side; labels play no part.

    Args:    views: V >= 2.  batch: B, global, a multiple of V; the caller's fact.
    Call:    table (rows [n]), seed, epoch.
    Returns: int64 [max(1, n // (B / V)), B]; the rows [i V, (i + 1) V) of a batch are the same.
    Raises:  ValueError for V < 2, B not a multiple of V, or no row.
    """

    def __init__(self, batch, views=2):
        if views < 2:
            raise ValueError(f"`views` is {views} but must be at least 2; for one use the sampler `shuffle`.")
        _groups.require_multiple(batch, views, f"{views} views")
        self.batch, self.group = batch, views

    def __call__(self, table, seed, epoch):
        if not len(table.rows):
            raise ValueError("`views` has no row to draw from; check the config's `data` keys.")
        images = self.batch // self.group
        steps = max(1, len(table.rows) // images)
        rows = _groups.repeated(table.rows, steps * images, np.random.default_rng([seed, epoch]))
        return np.repeat(rows, self.group).reshape(steps, self.batch)
