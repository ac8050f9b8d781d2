import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.cases import CasesSampler

CASES = np.array([0, 0, 0, 1, 2, 2, -1, -1, 3, 3])
DATA = Table(np.arange(10), np.full(10, -1), {"case": CASES}, {"case": list("abcd")})


def test_different_images_of_a_case_side_by_side():
    draw = CasesSampler(batch=4)
    for epoch in range(10):
        rows = draw(DATA, 0, epoch)
        assert rows.shape == (2, 4)
        pairs = rows.reshape(-1, 2)
        assert sorted(CASES[pairs[:, 0]]) == [0, 1, 2, 3] and (CASES[pairs[:, 0]] == CASES[pairs[:, 1]]).all()
        alone = CASES[pairs[:, 0]] == 1
        assert (pairs[alone] == 3).all() and (pairs[~alone, 0] != pairs[~alone, 1]).all()


def test_refusals():
    with pytest.raises(ValueError, match="`images` is 1"):
        CasesSampler(batch=4, images=1)
    with pytest.raises(ValueError, match="`batch` is 9"):
        CasesSampler(batch=9)
    with pytest.raises(ValueError, match="needs the column `case`, which no row to draw from has"):
        CasesSampler(batch=4)(Table(np.arange(6, 8), np.zeros(10, int), {"case": CASES}), 0, 0)
