import pytest

from keras_apps.schedules.constant import ConstantSchedule


def test_linear_warm_up_then_one():
    schedule = ConstantSchedule(warmup=4)
    assert [float(schedule(step)) for step in (0, 1, 3, 4, 100)] == [0.25, 0.5, 1, 1, 1]
    assert float(ConstantSchedule()(0)) == 1


def test_refusal():
    with pytest.raises(ValueError, match="`warmup` is -1"):
        ConstantSchedule(warmup=-1)
