"""Half a cosine from full rate to a floor, after a warm-up."""

import math

import tensorflow as tf


class CosineSchedule:
    """A linear rise, then half a cosine down to a floor.

    factor = min((step + 1) / warmup, floor + (1 - floor) (1 + cos(pi t)) / 2),  t = progress after the warm-up

    Args:    warmup: steps of linear rise; 0 = none.  floor: the last factor, in [0, 1).
             steps: of the run; the caller's fact.
    Call:    step, int64 scalar tensor.
    Returns: float32 scalar.
    Raises:  ValueError for a warm-up that is negative or as long as the run, or a floor outside [0, 1).
    Source:  Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983, eq. 5 without restarts.
    """

    def __init__(self, steps, warmup=0, floor=0.0):
        if not 0 <= warmup < steps:
            raise ValueError(f"`warmup` is {warmup} but must be in [0, {steps}), the steps of the run; use "
                             f"--config.schedule=\"cosine(warmup={steps // 10})\".")
        if not 0 <= floor < 1:
            raise ValueError(f"`floor` is {floor} but must lie in [0, 1).")
        self.steps, self.warmup, self.floor = steps, warmup, floor

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        t = tf.clip_by_value((step - self.warmup) / (self.steps - self.warmup), 0.0, 1.0)
        fall = self.floor + (1.0 - self.floor) * 0.5 * (1.0 + tf.cos(math.pi * t))
        return tf.minimum(fall, (step + 1.0) / max(1, self.warmup))
