"""P identities times K images a batch."""

import numpy as np


class PkSampler:
    """Each epoch visits the identities once in random order, P = B / K of them a batch, K images of each.

    An identity with fewer than K images repeats some; fewer identities than P come several times, each time with other
    images. The K images of one identity lie side by side, and a replica never gets half of them.

    Args:    images: K >= 2.  batch: B, global, a multiple of K; the caller's fact.
    Call:    table (rows [n], labels [N] with -1 = no label), seed, epoch.
    Returns: int64 [max(1, identities // P), B]; the rows [i K, (i + 1) K) of a batch share their label.
    Raises:  ValueError for K < 2, B not a multiple of K, or no labelled row.
    Source:  Hermans, Beyer and Leibe, arXiv:1703.07737, section 2.
    """

    def __init__(self, batch, images=4):
        if images < 2:
            raise ValueError(f"`images` is {images} but a positive pair needs at least 2 images of an identity.")
        if batch % images:
            down = max(images, batch - batch % images)
            raise ValueError(f"`batch` is {batch} but must be a multiple of {images} images; "
                             f"use {down} or {down + images}.")
        self.batch, self.group = batch, images

    def __call__(self, table, seed, epoch):
        random = np.random.default_rng([seed, epoch])
        rows = table.rows[table.labels[table.rows] >= 0]
        rows = random.permutation(rows)
        labels = table.labels[rows]
        order = np.argsort(labels, kind="stable")       # rows of one label together, in random order inside
        rows = rows[order]
        if not len(rows):
            raise ValueError("`pk` has no labelled row to draw from; check the config's `data` keys.")
        starts = np.flatnonzero(np.r_[True, np.diff(labels[order]) > 0])
        counts = np.diff(np.r_[starts, len(rows)])
        together = self.batch // self.group
        steps = max(1, len(starts) // together)
        again = np.arange(steps * together) // len(starts)          # how often the identity was taken before
        chosen = np.concatenate([random.permutation(len(starts)) for _ in range(again[-1] + 1)])[:len(again)]
        picks = (again[:, None] * self.group + np.arange(self.group)) % counts[chosen, None]
        return rows[starts[chosen, None] + picks].reshape(steps, self.batch)
