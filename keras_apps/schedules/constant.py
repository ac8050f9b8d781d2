"""Constant rate after an optional warm-up."""

import tensorflow as tf


class ConstantSchedule:
    """The full rate, after a linear rise where asked for.

    factor(step) = min(1, (step + 1) / warmup)

    Args:    warmup: steps of linear rise; 0 = none.
    Call:    step, int64 scalar tensor.
    Returns: float32 scalar in (0, 1].
    Raises:  ValueError for warmup < 0.
    """

    def __init__(self, warmup=0):
        if warmup < 0:
            raise ValueError(f"`warmup` is {warmup} but must not be negative.")
        self.warmup = warmup

    def __call__(self, step):
        return tf.minimum(1.0, (tf.cast(step, tf.float32) + 1.0) / max(1, self.warmup))
