import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.balanced import BalancedSampler

COUNTS = np.array([1, 50, 9, 300, 40])
LABELS = np.concatenate([np.repeat(np.arange(5), COUNTS), np.full(7, -1)])
DATA = Table(np.arange(len(LABELS)), LABELS)


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_classes_get_their_share_to_one_image(power):
    for epoch in range(5):
        rows = BalancedSampler(batch=8, power=power)(DATA, 0, epoch)
        assert rows.shape == (50, 8)
        seen = np.bincount(LABELS[rows].ravel(), minlength=5)
        due = 400 * COUNTS ** (1.0 - power) / (COUNTS ** (1.0 - power)).sum()
        assert (np.abs(seen - due) < 1 + 1e-9).all()
        times = np.bincount(rows.ravel(), minlength=len(LABELS))
        for label in range(5):
            assert np.ptp(times[LABELS == label]) <= 1, "images of a class come equally often, to one"


def test_as_in_the_data_every_row_comes_once():
    assert sorted(BalancedSampler(batch=8, power=0)(DATA, 0, 0).ravel()) == list(range(400))


def test_what_is_not_whole_is_dealt_fairly():
    data = Table(np.arange(30), np.repeat(np.arange(3), 10))
    draw = BalancedSampler(batch=10)
    seen = sum(np.bincount(data.labels[draw(data, 0, epoch)[0]], minlength=3) for epoch in range(300))
    assert np.abs(seen - 1000).max() < 60
    images = sum(np.bincount(draw(data, 0, epoch)[0], minlength=30) for epoch in range(300))
    assert np.abs(images - 100).max() < 40


def test_refusals():
    with pytest.raises(ValueError, match="`power` is 1.5"):
        BalancedSampler(batch=8, power=1.5)
