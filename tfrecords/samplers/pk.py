"""P identities times K images a batch."""

import numpy as np

from tfrecords.samplers import _groups


class PkSampler:
    """Each epoch visits the identities once in random order, P = B / K of them a batch, K images of each.

    An identity with fewer than K images gives all of them and then repeats some, so that it is neither lost nor seen
    more seldom; the repeats differ by their augmentation. Fewer identities than P come several times, each time with
    other images. The K images of one identity lie side by side, and a replica never gets half of them.

    Args:    images: K >= 2.  batch: B, global, a multiple of K; the caller's fact.
    Call:    table (rows [n], labels [N] with -1 = no label; its arrays must not change), seed, epoch.
    Returns: int64 [max(1, identities // P), B]; the rows [i K, (i + 1) K) of a batch share their label.
    Raises:  ValueError for K < 2, B not a multiple of K, or no labelled row.
    Source:  Hermans, Beyer and Leibe, arXiv:1703.07737, section 2.
    """

    def __init__(self, batch, images=4):
        if images < 2:
            raise ValueError(f"`images` is {images} but a positive pair needs at least 2 images of an identity.")
        _groups.require_multiple(batch, images, f"{images} images")
        self.batch, self.group = batch, images
        self._sorted = None, None           # of the last table: sorting costs more than an epoch

    def __call__(self, table, seed, epoch):
        if self._sorted[0] is not table:
            self._sorted = table, _groups.grouped(table.rows, table.labels)
        groups = self._sorted[1]
        if not len(groups.counts):
            raise ValueError("`pk` has no labelled row to draw from; check the config's `data` keys.")
        return _groups.some_of_each(groups, np.random.default_rng([seed, epoch]), self.batch, self.group)
