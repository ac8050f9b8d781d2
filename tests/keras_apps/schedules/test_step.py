import pytest
import tensorflow as tf

from keras_apps.schedules.step import StepSchedule


def naive(step, places, factor, warmup):
    value = 1.0
    for place in places:
        if step >= place:
            value *= factor
    return min(value, (step + 1) / warmup) if warmup else value


@pytest.mark.parametrize("at", [(400, 800), (0.4, 0.8), (400, 0.8)])
def test_every_milestone_multiplies_after_the_warm_up(at):
    schedule = tf.function(StepSchedule(steps=1000, at=at, factor=0.2, warmup=50))
    for step in (0, 10, 48, 49, 50, 399, 400, 401, 799, 800, 999, 5000):
        assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(
            naive(step, (400, 800), 0.2, 50), rel=1e-6), step


def test_the_first_step_is_full_without_a_warm_up():
    assert float(StepSchedule(steps=10)(0)) == 1


def test_refusals():
    for at in ((), (0,), (5, 5), (8, 4), (10,), (2.5,), (-1, 3), (1.0, 0.05)):
        with pytest.raises(ValueError, match="`at` is .* below 10"):
            StepSchedule(steps=10, at=at)
    for factor in (0, 1, 1.5):
        with pytest.raises(ValueError, match=f"`factor` is {factor} but"):
            StepSchedule(steps=10, factor=factor)
    for warmup in (-1, 6):
        with pytest.raises(ValueError, match=f"`warmup` is {warmup} but must be in .0, 5."):
            StepSchedule(steps=10, warmup=warmup)
