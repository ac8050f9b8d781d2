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


# Sources a and e are real, the others the fakes of three generators; of e half the rows have no label.
BY_LABEL = np.repeat([-1, 0, 1, 2, 3, 4], [6, 30, 5, 60, 20, 16])
KIND = np.select([BY_LABEL < 0, np.isin(BY_LABEL, (0, 4))], [-1, 0], 1)
KIND[-8:] = -1
KINDS = Table(np.arange(len(KIND)), KIND, {"source": BY_LABEL}, {"source": list("abcde")})


@pytest.mark.parametrize("out", ["", "c", "b", "a", "e"])
@pytest.mark.parametrize("batch", [8, 6, 7, 1, 40])
def test_by_label_the_classes_take_turns_and_the_sources_in_their_class(out, batch):
    draw = LeaveOneSourceOutSampler(batch=batch, out=out, by_label=True)
    left = [source for source in range(5) if "abcde"[source] != out]
    eligible = np.isin(BY_LABEL, left) & (KIND >= 0)
    for epoch in range(3):
        rows = draw(KINDS, 0, epoch)
        assert rows.shape == (max(1, eligible.sum() // batch), batch) and eligible[rows].all()
        fakes = (KIND[rows] == 1).sum(axis=1)
        assert (np.abs(2 * fakes - batch) <= batch % 2).all(), "half of a batch"
        assert abs(2 * fakes.sum() - rows.size) <= 1, "and of an epoch"
        for kind in (0, 1):
            own = [source for source in left if (source in (0, 4)) == (kind == 0)]
            seen = np.stack([(BY_LABEL[rows] == source).sum(axis=1) for source in own])
            assert (np.ptp(seen, axis=0) <= 1).all() and np.ptp(seen.sum(axis=1)) <= 1, "sources of a class alike"
        times = np.bincount(rows.ravel(), minlength=len(KIND))
        for source in left:
            assert np.ptp(times[(BY_LABEL == source) & (KIND >= 0)]) <= 1, "and the rows of a source"


def test_without_by_label_real_images_are_one_source_of_several():
    rows = LeaveOneSourceOutSampler(batch=8, out="e")(KINDS, 0, 0)
    assert ((KIND[rows] == 0).sum(axis=1) == 2).all()
    rows = LeaveOneSourceOutSampler(batch=8, out="e", by_label=True)(KINDS, 0, 0)
    assert ((KIND[rows] == 0).sum(axis=1) == 4).all()


def test_by_label_follows_from_seed_and_epoch_and_mixes():
    draw = LeaveOneSourceOutSampler(batch=8, by_label=True)
    np.testing.assert_array_equal(draw(KINDS, 3, 5), LeaveOneSourceOutSampler(batch=8, by_label=True)(KINDS, 3, 5))
    assert (draw(KINDS, 3, 5) != draw(KINDS, 3, 6)).any() and (draw(KINDS, 3, 5) != draw(KINDS, 4, 5)).any()


def test_by_label_with_one_class_left():
    fakes = Table(np.flatnonzero(np.isin(BY_LABEL, (1, 2, 3))), KIND, KINDS.columns, KINDS.names)
    rows = LeaveOneSourceOutSampler(batch=9, by_label=True)(fakes, 0, 0)
    assert all(((BY_LABEL[rows] == source).sum(axis=1) == 3).all() for source in (1, 2, 3))


def test_by_label_refuses_a_source_of_several_classes_unless_it_is_left_out():
    mixed = KIND.copy()
    mixed[np.flatnonzero(BY_LABEL == 2)[:1]] = 0
    data = Table(KINDS.rows, mixed, KINDS.columns, KINDS.names)
    with pytest.raises(ValueError, match="^`by_label` is True but the source 'c' has images of several classes; give "):
        LeaveOneSourceOutSampler(batch=8, by_label=True)(data, 0, 0)
    assert LeaveOneSourceOutSampler(batch=8)(data, 0, 0).shape[1] == 8, "without it there is nothing to refuse"
    rows = LeaveOneSourceOutSampler(batch=8, out="c", by_label=True)(data, 0, 0)
    assert not (BY_LABEL[rows] == 2).any()


def test_refusals():
    with pytest.raises(ValueError, match="`out` is 'x' but the sources of the data are a, b, c, d."):
        LeaveOneSourceOutSampler(batch=4, out="x")(DATA, 0, 0)
    with pytest.raises(ValueError, match="needs the column `source`"):
        LeaveOneSourceOutSampler(batch=4, out="x")(Table(DATA.rows, DATA.labels), 0, 0)
    only = Table(np.flatnonzero(SOURCES == 2), DATA.labels, DATA.columns, DATA.names)
    with pytest.raises(ValueError, match="no labelled row of another source than 'c'"):
        LeaveOneSourceOutSampler(batch=4, out="c")(only, 0, 0)
