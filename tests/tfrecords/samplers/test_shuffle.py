import numpy as np

from tfrecords.batch import Table
from tfrecords.samplers.shuffle import ShuffleSampler


def test_each_row_once_an_epoch_in_an_order_of_seed_and_epoch():
    data, sampler = Table(np.arange(100, 121), np.zeros(200, int)), ShuffleSampler(batch=4)
    rows = sampler(data, 0, 0)
    assert rows.shape == (5, 4) and len(set(rows.ravel())) == 20 and set(rows.ravel()) <= set(range(100, 121))
    np.testing.assert_array_equal(rows, sampler(data, 0, 0))
    assert (rows != sampler(data, 0, 1)).any()


def test_a_small_set_is_repeated():
    rows = ShuffleSampler(batch=8)(Table(np.arange(3), np.zeros(3, int)), 0, 0)
    assert rows.shape == (1, 8) and set(rows[0, :3]) == {0, 1, 2}
