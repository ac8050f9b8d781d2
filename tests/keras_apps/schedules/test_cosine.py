import math

import pytest

from keras_apps.schedules.cosine import CosineSchedule


def test_warm_up_then_half_a_cosine_to_the_floor():
    schedule = CosineSchedule(steps=110, warmup=10, floor=0.2)
    for step in (0, 4, 9, 10, 35, 60, 109, 110, 500):
        t = min(1, max(0, (step - 10) / 100))
        expected = min((step + 1) / 10, 0.2 + 0.8 * (1 + math.cos(math.pi * t)) / 2)
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="`warmup` is 100"):
        CosineSchedule(steps=100, warmup=100)
    with pytest.raises(ValueError, match="`floor` is 1"):
        CosineSchedule(steps=100, floor=1)
