"""The rows of one class, case or source together, and random ones of each."""

import typing

import numpy as np


class Groups(typing.NamedTuple):
    """Rows sorted by their group: those of group g are rows[starts[g]:starts[g] + counts[g]].

    Args:    rows: [n].  starts, counts: [groups].  values: [groups], the group's label (or case, or source).
    """

    rows: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    def kept(self, which):
        """Only some of the groups; the rows of the others are just never pointed to."""
        return self._replace(starts=self.starts[which], counts=self.counts[which], values=self.values[which])


def grouped(rows, values):
    """Groups of the rows [n] whose value is not -1; `values` [N] by global row."""
    rows = rows[values[rows] >= 0]
    own = values[rows]
    order = np.argsort(own, kind="stable")
    own = own[order]
    starts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]]) if len(own) else np.zeros(0, np.int64)
    return Groups(rows[order], starts, np.diff(np.r_[starts, len(own)]), own[starts])


def shuffled_heads(groups, random, most):
    """The rows with `most` (or all) random ones at the head of each group, without replacement.

    The first steps of Fisher and Yates's shuffle for all groups at once: what is not asked for is not shuffled.
    """
    rows, left, starts = groups.rows.copy(), groups.counts, groups.starts
    for place in range(min(most, int(groups.counts.max()) - 1)):
        if place >= left.min():
            larger = left > place
            left, starts = left[larger], starts[larger]
        here = starts + place
        other = here + (random.random(len(left)) * (left - place)).astype(np.int64)
        rows[here], rows[other] = rows[other], rows[here]
    return rows


def some_of_each(groups, random, batch, images):
    """Each group once in random order, `images` rows of it side by side: [steps, batch].

    A group with fewer rows repeats some; fewer groups than a batch holds come several times, each time with other rows.
    """
    together, count = batch // images, len(groups.counts)
    steps = max(1, count // together)
    again = np.arange(steps * together) // count                # how often the group was taken before
    chosen = np.concatenate([random.permutation(count) for _ in range(again[-1] + 1)])[:len(again)]
    rows = shuffled_heads(groups, random, images * (again[-1] + 1))
    picks = (again[:, None] * images + np.arange(images)) % groups.counts[chosen, None]
    return rows[groups.starts[chosen, None] + picks].reshape(steps, batch)


def repeated(rows, count, random):
    """`count` of the rows: all in random order, again in another order, and so on."""
    return np.concatenate([random.permutation(rows) for _ in range(max(1, -(-count // len(rows))))])[:count]


def require_multiple(batch, unit, what):
    """Raises: ValueError where the batch is no multiple of `unit`, which is `what`."""
    if batch < 1 or batch % unit:
        down = max(unit, batch - batch % unit)
        use = f"{down} or {down + unit}" if down < batch else f"{down}"
        raise ValueError(f"`batch` is {batch} but must be a multiple of {what}; use {use}.")
