import numpy as np
import pytest

from keras_apps.metrics import consistency as module
from keras_apps.metrics.consistency import shift_consistency


def draw(seed):
    generator = np.random.default_rng(seed)
    first, gallery = generator.normal(size=[30, 4]), generator.normal(size=[20, 4])
    return first, first + generator.normal(size=[30, 4]) / 2, gallery, generator.integers(0, 6, 20)


def naive(first, second, gallery, ids):
    def answer(row):
        return ids[max(range(len(gallery)), key=lambda j: row @ gallery[j] / np.linalg.norm(gallery[j]))]
    return np.mean([answer(one) == answer(two) for one, two in zip(first, second)])


@pytest.mark.parametrize("block", [1 << 23, 45, 1])
def test_equals_the_loop(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    for seed in range(3):
        got = shift_consistency(*draw(seed))
        assert got == pytest.approx(naive(*draw(seed)), abs=1e-9) and 0 < got < 1 and type(got) is float


@pytest.mark.parametrize("block", [1 << 23, 45])
def test_entries_left_out_are_not_searched(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    first, second, gallery, ids = draw(0)
    out = np.random.default_rng(1).random([30, 20]) < 0.5
    out[3] = True                       # searches nothing: not in the share
    answers = [[ids[max(np.flatnonzero(~out[i]), key=lambda j: row @ gallery[j] / np.linalg.norm(gallery[j]))]
                for i, row in enumerate(rows) if i != 3] for rows in (first, second)]
    got = shift_consistency(first, second, gallery, ids, lambda start, stop: out[start:stop])
    assert got == pytest.approx(np.mean(np.equal(*answers))) and 0 < got < 1
    assert got != shift_consistency(first, second, gallery, ids)
    assert np.isnan(shift_consistency(first, second, gallery, ids, lambda start, stop: out[start:stop] | True))


def test_identities_count_not_entries_and_being_right_does_not():
    gallery, ids = np.eye(3), np.array(["a", "a", "b"])
    assert shift_consistency([[1, 0, 0]], [[0, 1, 0]], gallery, ids) == 1
    assert shift_consistency([[1, 0, 0]], [[0, 0, 1]], gallery, ids) == 0
    assert shift_consistency([[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 2, 0]], gallery, ids) == 0.5


def test_equal_shifts_and_a_collapsed_network_are_consistent():
    first, _, gallery, ids = draw(4)
    assert shift_consistency(first, 7 * first, gallery, ids) == 1
    assert shift_consistency(np.ones([5, 4]), np.ones([5, 4]), np.ones([20, 4]), ids) == 1


def test_smaller_shifts_are_more_consistent():
    first, second, gallery, ids = draw(5)
    found = [shift_consistency(first, first + step * (second - first), gallery, ids) for step in (0, 0.5, 8)]
    assert found[0] == 1 and found[0] > found[1] > found[2]


DATA = draw(6)


@pytest.mark.parametrize("call, told", [
    (lambda: shift_consistency(DATA[0], DATA[1][:5], *DATA[2:]), r"`second` \(5, 4\)"),
    (lambda: shift_consistency(DATA[0][:, :2], DATA[1], *DATA[2:]), r"`first` has shape \(30, 2\)"),
    (lambda: shift_consistency(DATA[0], DATA[1], DATA[2][:, :2], DATA[3]), r"`gallery` \(20, 2\)"),
    (lambda: shift_consistency(DATA[0][:0], DATA[1][:0], *DATA[2:]), "`first` has 0 rows"),
    (lambda: shift_consistency(DATA[0], DATA[1], DATA[2], DATA[3][:4]), r"`gallery_identities` has shape \(4,\)"),
    (lambda: shift_consistency(DATA[0], DATA[1] * np.nan, *DATA[2:]), "`second` row 0 has a value that is not finite"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
