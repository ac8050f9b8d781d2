"""Labelled and unlabelled images in a fixed ratio."""

import numpy as np

from tfrecords.samplers import _groups


class MixedSampler:
    """Groups of one labelled row and U unlabelled ones behind it; an epoch sees the unlabelled rows once.

    Both kinds come without replacement over epochs of their own, which run on from one epoch to the next: after any
    number of batches two rows of a kind differ by at most one in how often they came.

    Args:    unlabelled: U >= 1.  batch: B, global, a multiple of 1 + U; the caller's fact.
    Call:    table (rows [n] of both kinds, labels [N] with -1 = no label), seed, epoch.
    Returns: int64 [max(1, unlabelled rows // (B U / (1 + U))), B].
    Raises:  ValueError for U < 1, B not a multiple of 1 + U, or rows of one kind only.
    Source:  Sohn et al., NeurIPS 2020, arXiv:2001.07685, section 2.2 (ratio mu = 7); order and epochs are ours.
    """

    def __init__(self, batch, unlabelled=7):
        if unlabelled < 1:
            raise ValueError(f"`unlabelled` is {unlabelled} but must be at least 1 image for each labelled one.")
        self.group = 1 + unlabelled
        _groups.require_multiple(batch, self.group, f"{self.group} (1 labelled and {unlabelled} unlabelled images)")
        self.batch = batch

    def __call__(self, table, seed, epoch):
        known = table.labels[table.rows] >= 0
        kinds = table.rows[known], table.rows[~known]
        if not all(map(len, kinds)):
            raise ValueError(f"`mixed` needs labelled and unlabelled rows but the data have {len(kinds[0]):,} and "
                             f"{len(kinds[1]):,}; give it rows of both kinds or use the sampler `shuffle`.")
        groups = self.batch // self.group
        steps = max(1, len(kinds[1]) // (groups * (self.group - 1)))
        parts = [_run(rows, steps * groups * each, seed, epoch, kind)
                 for kind, (rows, each) in enumerate(zip(kinds, (1, self.group - 1)))]
        rows = np.concatenate([part.reshape(steps * groups, -1) for part in parts], axis=1)
        return rows.reshape(steps, self.batch)


def _run(rows, count, seed, epoch, kind):
    """What `count` rows an epoch come to in this one, of an endless row of permutations."""
    first = epoch * count // len(rows)
    last = ((epoch + 1) * count - 1) // len(rows)
    passes = [np.random.default_rng([seed, kind, number]).permutation(rows) for number in range(first, last + 1)]
    start = epoch * count - first * len(rows)
    return np.concatenate(passes)[start:start + count]
