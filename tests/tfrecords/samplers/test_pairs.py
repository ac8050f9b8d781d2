import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.pairs import PairsSampler


def test_pairs_alternate_same_and_different_and_use_every_row():
    labels = np.repeat(np.arange(5), [4, 3, 1, 6, 2])
    data = Table(np.arange(len(labels)), labels)
    rows = PairsSampler(batch=8)(data, seed=0, epoch=0)
    assert rows.shape == (4, 8)
    pairs = rows.reshape(-1, 2)
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    np.testing.assert_array_equal(same, np.arange(len(pairs)) % 2 == 0)
    assert sorted(pairs[:, 0]) == list(range(16))
    alone = pairs[::2][labels[pairs[::2, 0]] == 2]
    twins = pairs[::2][labels[pairs[::2, 0]] != 2]
    assert (alone[:, 0] == alone[:, 1]).all() and (twins[:, 0] != twins[:, 1]).all()


def test_partners_are_spread_evenly():
    labels = np.repeat(np.arange(4), 5)
    data, sampler = Table(np.arange(20), labels), PairsSampler(batch=20)
    pairs = np.concatenate([sampler(data, 0, epoch).reshape(-1, 2) for epoch in range(400)])
    seen = np.bincount(pairs[:, 1], minlength=20)
    assert seen.min() > 0.8 * seen.mean() and seen.max() < 1.2 * seen.mean()


def test_refusals():
    with pytest.raises(ValueError, match="`batch` is 10 but must be a multiple of 4"):
        PairsSampler(batch=10)
    with pytest.raises(ValueError, match="at least two identities"):
        PairsSampler(batch=4)(Table(np.arange(3), np.zeros(3, int)), 0, 0)
