"""Where the stages of an app lie in a run, and the schedule over them."""

import tensorflow as tf

from keras_apps.build import build


def placed(stages):
    """The stages with the steps and draws they begin at; and the steps of all.

    A stage goes on with the draws: those of the stages before would give the same images once more.
    """
    found, first, draw = [], 0, 0
    for stage in map(dict, stages):
        steps, rounds = stage["steps"], stage.setdefault("rounds", 1)
        if not 1 <= rounds <= max(1, steps):
            raise ValueError(f"`rounds` of stage {stage['name']!r} is {rounds} but must lie in [1, {steps}], its "
                             "steps; change one of them.")
        stage.update(first=first, last=first + steps, draw=draw)
        first, draw = first + steps, draw + steps * sum(stage["phases"].values())
        found.append(stage)
    return found, first


def parts(stages):
    """The steps of each part of a run that has the schedule to itself: those from one stage that is `anew` to the next.

    Returns: [steps], without empty ones.
    """
    found = []
    for stage in stages:
        if not found or stage.get("anew"):
            found.append(0)
        found[-1] += stage["steps"]
    return [steps for steps in found if steps]


def scheduled(text, stages):
    """The schedule of a config over an app's stages: step, int64 scalar -> factor on every rate.

    Raises:  ValueError for what does not fit the steps of a part.
    """
    lengths = parts(stages)
    each = [build("schedules", text, steps=steps) for steps in lengths]
    firsts = [sum(lengths[:place]) for place in range(len(lengths))]

    def factor(step):
        step = tf.cast(step, tf.int64)
        found = [one(step - first) for one, first in zip(each, firsts)]
        return tf.stack(found)[tf.reduce_sum(tf.cast(step >= firsts[1:], tf.int32))]
    return each[0] if len(each) == 1 else factor
