"""Training without one source, to be judged on it."""

import numpy as np

from tfrecords.samplers import _groups


class LeaveOneSourceOutSampler:
    """The labelled rows of all sources but one, each source equally often in a batch.

    Sources take turns within a batch, so that they differ by one image at most where B is no multiple of their number,
    and the next batch begins with the next source. A source's rows come in random order; a small one's come again. Rows
    without a source never come.

    Args:    out: name of the source that is left out; "" = none.  batch: B, global; the caller's fact.
    Call:    table (rows [n], labels [N], columns["source"] [N], -1 = none, names["source"]), seed, epoch.
    Returns: int64 [max(1, rows of the other sources // B), B].
    Raises:  ValueError for data without the column `source`, a name that is no source, or no row besides.
    Source:  Gulrajani and Lopez-Paz, arXiv:2007.01434, section 3 (leave-one-domain-out).
    """

    group = 1

    def __init__(self, batch, out=""):
        self.batch, self.out = batch, out

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
        turn = np.arange(steps * self.batch) % sources
        rows = np.empty(len(turn), np.int64)
        for place, source in enumerate(random.permutation(sources)):
            start, mine = groups.starts[source], turn == place
            own = groups.rows[start:start + groups.counts[source]]
            rows[mine] = _groups.repeated(own, mine.sum(), random)
        return rows.reshape(steps, self.batch)
