import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.listed_pairs import ListedPairsSampler

FIRST, SECOND = np.arange(0, 24, 2), np.arange(1, 25, 2)
SAME = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0])


def data(rows=24, same=SAME):
    return Table(np.arange(rows), np.full(24, -1), pairs=(FIRST, SECOND, same))


def test_same_and_different_take_turns():
    rows = ListedPairsSampler(batch=8)(data(), 0, 0)
    assert rows.shape == (9 // 2, 8)
    pairs = rows.reshape(-1, 2)
    np.testing.assert_array_equal(pairs[:, 1], pairs[:, 0] + 1)
    same = SAME[pairs[:, 0] // 2]
    np.testing.assert_array_equal(same, np.arange(len(pairs)) % 2 == 0)
    assert len(set(pairs[1::2, 0])) == 8, "the more frequent kind once"
    assert set(np.bincount(pairs[::2, 0] // 2, minlength=12)[SAME == 1]) <= {2, 3}, "the other equally often"


def test_pairs_outside_the_rows_never_come():
    rows = ListedPairsSampler(batch=4)(data(rows=17), 0, 0)
    assert set(rows.ravel()) <= set(range(16)), "row 16 is eligible, its partner 17 is not"
    assert len(rows) == 6


def test_refusals():
    with pytest.raises(ValueError, match="`batch` is 6 but must be a multiple of 4"):
        ListedPairsSampler(batch=6)
    with pytest.raises(ValueError, match="of the 12 listed ones 0 and 12 lie"):
        ListedPairsSampler(batch=4)(data(same=0 * SAME), 0, 0)
    with pytest.raises(ValueError, match="needs data that list pairs"):
        ListedPairsSampler(batch=4)(Table(np.arange(4), np.zeros(4, int)), 0, 0)
