"""Training without one source, to be judged on it."""

import numpy as np

from tfrecords.samplers import _groups


class LeaveOneSourceOutSampler:
    """The labelled rows of all sources but one, each source equally often in a batch.

    Sources take turns within a batch, so that they differ by one image at most where B is no multiple of their number,
    and the next batch begins with the next source. A source's rows come in random order; a small one's come again. Rows
    without a source never come. By label the classes take turns as well, and the sources within their class: half a
    batch real and half of it fake, whatever the number of generators.

    Args:    out: name of the source that is left out; "" = none.  by_label: see above.
             batch: B, global; the caller's fact.
    Call:    table (rows [n], labels [N], columns["source"] [N], -1 = none, names["source"]), seed, epoch.
    Returns: int64 [max(1, rows of the other sources // B), B].
    Raises:  ValueError for data without the column `source`, a name that is no source, no row besides, or by_label
             with a source of several classes.
    Source:  Gulrajani and Lopez-Paz, arXiv:2007.01434, section 3 (leave-one-domain-out).
    """

    group = 1

    def __init__(self, batch, out="", by_label=False):
        self.batch, self.out, self.by_label = batch, out, by_label

    def __call__(self, table, seed, epoch):
        random = np.random.default_rng([seed, epoch])
        names = table.names.get("source", [])
        if not names:
            raise ValueError("`leave_one_source_out` needs the column `source`, which the data lack; write them with "
                             "it or use the sampler `shuffle`.")
        if self.out and self.out not in names:
            raise ValueError(f"`out` is {self.out!r} but the sources of the data are {', '.join(names)}.")
        groups = _groups.grouped(table.rows[table.labels[table.rows] >= 0], table.columns["source"])
        if self.out:
            groups = groups.kept(groups.values != names.index(self.out))
        sources = len(groups.counts)
        if not sources:
            raise ValueError(f"`leave_one_source_out` has no labelled row of another source than {self.out!r}; the "
                             f"sources of the data are {', '.join(names)}.")
        steps = max(1, int(groups.counts.sum()) // self.batch)
        order = random.permutation(sources)
        turn = np.arange(steps * self.batch) % sources
        if self.by_label:
            _require_one_class(groups, table, names)
            turn = _by_class(table.labels[groups.rows[groups.starts[order]]], steps * self.batch)
        rows = np.empty(len(turn), np.int64)
        for place, source in enumerate(order):
            start, mine = groups.starts[source], turn == place
            own = groups.rows[start:start + groups.counts[source]]
            rows[mine] = _groups.repeated(own, mine.sum(), random)
        return rows.reshape(steps, self.batch)


def _require_one_class(groups, table, names):
    for start, count, value in zip(groups.starts, groups.counts, groups.values):
        if len(np.unique(table.labels[groups.rows[start:start + count]])) > 1:
            raise ValueError(f"`by_label` is True but the source {names[value]!r} has images of several classes; give "
                             "each class sources of its own.")


def _by_class(labels, count):
    """Places 0 ... count - 1 -> the source whose turn it is: the classes in turn, in each its sources in turn.

    Args:    labels: the class of each source.
    """
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    place = np.arange(count)
    own, round_ = place % len(classes), place // len(classes)
    turn = np.empty(count, np.int64)
    for number, sources in enumerate(classes):
        mine = own == number
        turn[mine] = sources[round_[mine] % len(sources)]
    return turn
