import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.schedules.one_cycle import OneCycleSchedule


def naive(step, steps, rise, start, end, shape):
    top, last = rise * (steps - 1), steps - 1
    if step < top:
        up = step / top
        if shape == "cosine":
            up = (1 - math.cos(math.pi * up)) / 2
        return 1 / start + (1 - 1 / start) * up
    return 1 / end + (1 - 1 / end) * (1 + math.cos(math.pi * min(1, (step - top) / (last - top)))) / 2


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_rise_and_fall(shape):
    schedule = tf.function(OneCycleSchedule(steps=101, rise=0.2, start_div=10, end_div=1000, shape=shape))
    found = [float(schedule(tf.constant(step, tf.int64))) for step in (*range(101), 200)]
    expected = [naive(step, 101, 0.2, 10, 1000, shape) for step in (*range(101), 200)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[0] == pytest.approx(0.1) and found[20] == pytest.approx(1) and found[100] == pytest.approx(0.001)
    assert (np.diff(found[:21]) > 0).all() and (np.diff(found[20:101]) < 0).all()


def test_runs_of_a_few_steps_stay_finite():
    for steps in (1, 2, 3):
        values = [float(OneCycleSchedule(steps=steps)(step)) for step in range(steps)]
        assert all(0 < value <= 1 for value in values)


def test_refusals():
    for rise in (0, 1):
        with pytest.raises(ValueError, match=f"`rise` is {rise} but"):
            OneCycleSchedule(steps=10, rise=rise)
    with pytest.raises(ValueError, match="end_div=0.5.* needs divisors"):
        OneCycleSchedule(steps=10, end_div=0.5)
    with pytest.raises(ValueError, match="`shape` is 'square' but must be one of cosine, linear"):
        OneCycleSchedule(steps=10, shape="square")
