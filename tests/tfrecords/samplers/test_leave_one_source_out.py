import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.leave_one_source_out import LeaveOneSourceOutSampler

SOURCES = np.repeat([-1, 0, 1, 2, 3], [5, 4, 30, 60, 20])
DATA = Table(np.arange(119), np.where(np.arange(119) % 6, 0, -1), {"source": SOURCES},
             {"source": ["a", "b", "c", "d"]})


@pytest.mark.parametrize("out, batch", [("c", 6), ("c", 8), ("", 8), ("a", 1), ("d", 50)])
def test_the_others_come_equally_often_in_a_batch(out, batch):
    draw = LeaveOneSourceOutSampler(batch=batch, out=out)
    left = [source for source in range(4) if DATA.names["source"][source] != out]
    for epoch in range(3):
        rows = draw(DATA, 0, epoch)
        assert len(rows) == max(1, (np.isin(SOURCES, left) & (DATA.labels >= 0)).sum() // batch)
        seen = np.stack([(SOURCES[rows] == source).sum(axis=1) for source in left])
        assert (seen.sum(axis=0) == batch).all() and (np.ptp(seen, axis=0) <= 1).all()
        assert np.ptp(seen.sum(axis=1)) <= 1, "and in an epoch"
        times = np.bincount(rows.ravel(), minlength=119)
        for source in left:
            assert np.ptp(times[(SOURCES == source) & (DATA.labels >= 0)]) <= 1


def test_fewer_rows_than_sources():
    data = Table(np.arange(3), np.zeros(3, int), {"source": np.arange(3)}, {"source": list("abc")})
    assert LeaveOneSourceOutSampler(batch=2)(data, 0, 0).shape == (1, 2)


def test_refusals():
    with pytest.raises(ValueError, match="`out` is 'x' but the sources of the data are a, b, c, d."):
        LeaveOneSourceOutSampler(batch=4, out="x")(DATA, 0, 0)
    with pytest.raises(ValueError, match="needs the column `source`"):
        LeaveOneSourceOutSampler(batch=4, out="x")(Table(DATA.rows, DATA.labels), 0, 0)
    only = Table(np.flatnonzero(SOURCES == 2), DATA.labels, DATA.columns, DATA.names)
    with pytest.raises(ValueError, match="no labelled row of another source than 'c'"):
        LeaveOneSourceOutSampler(batch=4, out="c")(only, 0, 0)
