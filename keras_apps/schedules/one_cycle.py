"""One rise to a high rate and one long fall to almost nothing."""

import math

import tensorflow as tf

SHAPES = ("cosine", "linear")


class OneCycleSchedule:
    """From a low rate up to the full one, then half a cosine down to a much lower one.

    factor = 1/s + (1 - 1/s) up(t / top)                        for t < top = rise (steps - 1)
    factor = 1/e + (1 - 1/e) (1 + cos(pi (t - top) / (steps - 1 - top))) / 2     afterwards
    up(x) = x (linear) or (1 - cos(pi x)) / 2 (cosine); the first step has 1/s, the last one 1/e.

    Args:    rise: share of the steps, in (0, 1).  start_div: s >= 1.  end_div: e >= 1.  shape: "cosine" | "linear",
             of the rise.  steps: of the run; the caller's fact.
    Call:    step, int64 scalar tensor.
    Returns: float32 scalar in (0, 1].
    Raises:  ValueError for a rise outside (0, 1), a divisor below 1 or another shape.
    Source:  Smith and Topin, 2018, arXiv:1708.07120, section 3.
    Differs: the momentum is not cycled; the fall is one cosine, not a linear fall and a steeper one after it.
    """

    def __init__(self, steps, rise=0.3, start_div=25.0, end_div=1e4, shape="cosine"):
        if not 0 < rise < 1:
            raise ValueError(f"`rise` is {rise} but must lie in (0, 1), a share of the steps; use 0.3.")
        if start_div < 1 or end_div < 1:
            raise ValueError(f"one_cycle(start_div={start_div}, end_div={end_div}) needs divisors >= 1; use 25 and "
                             "10000.")
        if shape not in SHAPES:
            raise ValueError(f"`shape` is {shape!r} but must be one of {', '.join(SHAPES)}.")
        self.last, self.top, self.shape = steps - 1, rise * (steps - 1), shape
        self.first, self.end = 1.0 / start_div, 1.0 / end_div

    def __call__(self, step):
        t = tf.cast(step, tf.float32)
        up = tf.minimum(1.0, t / max(self.top, 1e-6))
        if self.shape == "cosine":
            up = 0.5 * (1.0 - tf.cos(math.pi * up))
        down = tf.clip_by_value((t - self.top) / max(self.last - self.top, 1e-6), 0.0, 1.0)
        down = 0.5 * (1.0 + tf.cos(math.pi * down))
        return tf.where(t < self.top, self.first + (1.0 - self.first) * up, self.end + (1.0 - self.end) * down)
