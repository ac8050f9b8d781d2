"""Different images of one case side by side."""

import numpy as np

from tfrecords.samplers import _groups


class CasesSampler:
    """Each epoch visits the cases once in random order, B / K of them a batch, K images of each.

    Images of one patient, scene or field are each other's views, with labels or without: rows without a label come
    too, rows without a case do not. A case with fewer than K images repeats them.

    Args:    images: K >= 2.  batch: B, global, a multiple of K; the caller's fact.
    Call:    table (rows [n], columns["case"] [N] with -1 = none), seed, epoch.
    Returns: int64 [max(1, cases // (B / K)), B]; the rows [i K, (i + 1) K) of a batch share their case.
    Raises:  ValueError for K < 2, B not a multiple of K, or data without the column `case`.
    Source:  Azizi et al., ICCV 2021, arXiv:2101.05224, section 3.2 (positive pairs of one patient).
    """

    def __init__(self, batch, images=2):
        if images < 2:
            raise ValueError(f"`images` is {images} but must be at least 2 different images of a case.")
        _groups.require_multiple(batch, images, f"{images} images")
        self.batch, self.group = batch, images

    def __call__(self, table, seed, epoch):
        groups = _groups.grouped(table.rows, table.columns["case"]) if "case" in table.columns else None
        if groups is None or not len(groups.counts):
            raise ValueError("`cases` needs the column `case`, which no row to draw from has; write the data with it "
                             "or use the sampler `views`.")
        return _groups.some_of_each(groups, np.random.default_rng([seed, epoch]), self.batch, self.group)
