import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.pk import PkSampler


def table(counts):
    labels = np.concatenate([np.full(count, label) for label, count in enumerate(counts)] + [np.full(3, -1)])
    return Table(np.arange(len(labels)), labels)


def test_every_batch_is_p_times_k_of_different_identities():
    data = table([5] * 10)
    rows = PkSampler(batch=8, images=4)(data, seed=0, epoch=0)
    assert rows.shape == (5, 8)
    groups = data.labels[rows].reshape(-1, 2, 4)
    assert (groups == groups[..., :1]).all() and (groups[:, 0, 0] != groups[:, 1, 0]).all()
    assert sorted(groups[:, :, 0].ravel()) == list(range(10))       # each identity once an epoch
    for group in rows.reshape(-1, 4):
        assert len(set(group)) == 4                                  # and no image twice while there are enough


def test_small_identities_repeat_and_unlabelled_rows_never_come():
    data = table([2, 1, 3, 2])
    rows = PkSampler(batch=8, images=4)(data, seed=1, epoch=3)
    assert (data.labels[rows] >= 0).all()
    for group in rows.reshape(-1, 4):
        label = data.labels[group[0]]
        assert set(group) == set(np.flatnonzero(data.labels == label)), "every image of a small identity comes"


def test_fewer_identities_than_p_come_again_with_other_images():
    data = table([8, 8])
    rows = PkSampler(batch=16, images=4)(data, seed=0, epoch=0)
    assert rows.shape == (1, 16) and len(set(rows[0])) == 16


def test_a_function_of_seed_and_epoch():
    data, sampler = table([6] * 7), PkSampler(batch=8, images=2)
    np.testing.assert_array_equal(sampler(data, 3, 5), sampler(data, 3, 5))
    assert (sampler(data, 3, 5) != sampler(data, 3, 6)).any() and (sampler(data, 3, 5) != sampler(data, 4, 5)).any()


def test_images_of_an_identity_are_drawn_evenly_and_so_are_their_pairs():
    data, sampler = table([6, 3, 6]), PkSampler(batch=2, images=2)
    groups = np.concatenate([sampler(data, 0, epoch) for epoch in range(3000)])
    first = groups[data.labels[groups[:, 0]] == 0]
    seen = np.zeros((6, 6))
    np.add.at(seen, tuple(first.T), 1)
    assert (np.diag(seen) == 0).all()
    others = seen[~np.eye(6, dtype=bool)]           # 3,000 draws of 30 ordered pairs
    assert others.min() > 60 and others.max() < 140


def test_another_table_is_sorted_anew():
    sampler = PkSampler(batch=4, images=2)
    for counts in ([5, 5], [2, 2, 2], [5, 5]):
        data = table(counts)
        rows = sampler(data, 0, 0)
        np.testing.assert_array_equal(rows, PkSampler(batch=4, images=2)(data, 0, 0))
        assert (data.labels[rows] >= 0).all()


def test_refusals():
    with pytest.raises(ValueError, match="`batch` is 30 but must be a multiple of 4 images; use 28 or 32."):
        PkSampler(batch=30, images=4)
    with pytest.raises(ValueError, match="`images` is 1"):
        PkSampler(batch=30, images=1)
    with pytest.raises(ValueError, match="no labelled row"):
        PkSampler(batch=4, images=2)(Table(np.arange(3), np.full(3, -1)), 0, 0)
