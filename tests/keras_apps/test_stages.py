"""Stages in a run: where they begin, and which of them the schedule goes over together."""

import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.stages import parts, placed, scheduled

STAGES = [{"name": "first", "steps": 30, "phases": {"a": 2}},
          {"name": "second", "steps": 20, "phases": {"a": 1, "b": 1}, "anew": True},
          {"name": "third", "steps": 10, "phases": {"b": 3}}]


def test_a_stage_begins_behind_the_steps_and_draws_of_those_before():
    found, steps = placed(STAGES)
    assert steps == 60 and [(stage["first"], stage["last"], stage["draw"]) for stage in found] == [
        (0, 30, 0), (30, 50, 60), (50, 60, 100)]
    assert "first" not in STAGES[0], "the app's own are left alone"
    with pytest.raises(ValueError, match=r"`rounds` of stage 'first' is 31 but must lie in \[1, 30\]"):
        placed([{**STAGES[0], "rounds": 31}])


def test_the_schedule_begins_anew_with_a_stage_that_says_so():
    assert parts(STAGES) == [30, 30] and parts(STAGES[:1]) == [30]
    factor = tf.function(scheduled("cosine(warmup=5)", STAGES))
    alone = build("schedules", "cosine(warmup=5)", steps=30)
    for step in (0, 4, 15, 29, 30, 34, 45, 59):
        assert float(factor(tf.constant(step, tf.int64))) == pytest.approx(float(alone(tf.constant(step % 30)))), step


def test_without_such_a_stage_it_goes_over_all():
    stages = [{**stage, "anew": False} for stage in STAGES]
    factor, whole = scheduled("cosine()", stages), build("schedules", "cosine()", steps=60)
    assert parts(stages) == [60] and all(float(factor(tf.constant(step))) == float(whole(tf.constant(step)))
                                         for step in (0, 17, 59))


def test_empty_parts_do_not_count_and_a_part_too_short_is_told():
    assert parts([{"steps": 0}, {"steps": 9, "anew": True}]) == [9]
    with pytest.raises(ValueError, match=r"`warmup` is 25 but must be in \[0, 10\)"):
        scheduled("cosine(warmup=25)", [{"steps": 50}, {"steps": 10, "anew": True}])
