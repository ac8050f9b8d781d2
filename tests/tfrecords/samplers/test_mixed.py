import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.mixed import MixedSampler

LABELS = np.where(np.arange(100) % 10 == 0, 3, -1)
DATA = Table(np.arange(100), LABELS)


def test_one_labelled_then_the_unlabelled():
    rows = MixedSampler(batch=16, unlabelled=3)(DATA, 0, 0)
    assert rows.shape == (90 // 12, 16)
    known = LABELS[rows].reshape(-1, 4) >= 0
    np.testing.assert_array_equal(known, np.broadcast_to([True, False, False, False], known.shape))
    unlabelled = rows.reshape(-1, 4)[:, 1:].ravel()
    assert len(set(unlabelled)) == len(unlabelled) == 84


@pytest.mark.parametrize("batch, unlabelled", [(16, 3), (8, 7), (200, 1)])
def test_no_row_comes_more_often_than_another_across_epochs(batch, unlabelled):
    draw = MixedSampler(batch=batch, unlabelled=unlabelled)
    rows = np.concatenate([draw(DATA, 5, epoch) for epoch in range(6)])
    for batches in range(1, len(rows) + 1):
        seen = np.bincount(rows[:batches].ravel(), minlength=100)
        assert np.ptp(seen[LABELS >= 0]) <= 1 and np.ptp(seen[LABELS < 0]) <= 1


def test_refusals():
    with pytest.raises(ValueError, match="`unlabelled` is 0"):
        MixedSampler(batch=8, unlabelled=0)
    with pytest.raises(ValueError, match="`batch` is 30 but must be a multiple of 8 .1 labelled and 7 unlabelled"):
        MixedSampler(batch=30)
    with pytest.raises(ValueError, match="the data have 10 and 0"):
        MixedSampler(batch=8)(Table(np.flatnonzero(LABELS >= 0), LABELS), 0, 0)
