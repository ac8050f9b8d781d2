import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.views import ViewsSampler


def test_each_row_stands_beside_itself_and_comes_once():
    data = Table(np.arange(50, 71), np.full(100, -1))
    rows = ViewsSampler(batch=12, views=3)(data, 0, 0)
    assert rows.shape == (21 // 4, 12)
    groups = rows.reshape(-1, 3)
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == len(groups)


def test_a_small_set_is_repeated():
    rows = ViewsSampler(batch=12, views=2)(Table(np.arange(4), np.zeros(4, int)), 0, 0)
    assert rows.shape == (1, 12) and set(rows[0, :8]) == {0, 1, 2, 3}


def test_refusals():
    with pytest.raises(ValueError, match="`views` is 1"):
        ViewsSampler(batch=4, views=1)
    with pytest.raises(ValueError, match="`batch` is 7 but must be a multiple of 2 views; use 6 or 8."):
        ViewsSampler(batch=7)
