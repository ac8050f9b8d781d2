"""Full rate, cut by a factor at each of a few milestones."""

import tensorflow as tf


class StepSchedule:
    """A linear rise, then the full rate, multiplied by `factor` at every milestone.

    factor(step) = min((step + 1) / warmup, factor^k),  k = number of milestones <= step

    Args:    at: rising milestones, each a step >= 1 or a share of the run in (0, 1).  factor: in (0, 1).
             warmup: steps of linear rise, at most up to the first milestone; 0 = none.
             steps: of the run; the caller's fact.
    Call:    step, int64 scalar tensor.
    Returns: float32 scalar in (0, 1].
    Raises:  ValueError for milestones that do not rise inside the run, a factor outside (0, 1), or a warm-up that is
             negative or outlasts the first milestone.
    Source:  He et al., CVPR 2016, arXiv:1512.03385, section 3.4 (factor 0.1); warm-up: Goyal et al., arXiv:1706.02677.
    """

    def __init__(self, steps, at=(0.5, 0.75), factor=0.1, warmup=0):
        places = [round(place * steps) if 0 < place < 1 else place for place in at]
        if not places or any(a >= b for a, b in zip([0, *places], [*places, steps])) or any(
                place != int(place) for place in places):
            raise ValueError(f"`at` is {tuple(at)} but must be rising whole steps below {steps}, the steps of the run, "
                             "or rising shares of it; use --config.schedule=\"step(at=(0.5, 0.75))\".")
        if not 0 < factor < 1:
            raise ValueError(f"`factor` is {factor} but must lie in (0, 1); use 0.1.")
        if not 0 <= warmup <= places[0]:
            raise ValueError(f"`warmup` is {warmup} but must be in [0, {places[0]}], the first milestone; use "
                             f"{places[0] // 5}.")
        self.places, self.factor, self.warmup = [int(place) for place in places], factor, warmup

    def __call__(self, step):
        passed = tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) >= self.places, tf.float32))
        return tf.minimum(self.factor ** passed, (tf.cast(step, tf.float32) + 1.0) / max(1, self.warmup))
