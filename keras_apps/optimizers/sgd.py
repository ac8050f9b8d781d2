"""Stochastic gradient descent with momentum."""

import tensorflow as tf

# Decay shrinks weights that a later normalisation or the loss scales; gains, shifts and powers are left alone.
NOT_DECAYED = ("bias", "gamma", "beta", "raw_power")


class SgdOptimizer(tf.keras.optimizers.SGD):
    """Momentum, with decoupled weight decay where asked for.

    v = momentum v - rate g;  w = w + v - rate decay w

    Args:    rate: > 0, before the schedule.  momentum: in [0, 1).  nesterov: look-ahead form.
             decay: decoupled weight decay on everything but biases, gains and shifts; 0 = none.
             schedule: Keras learning-rate schedule around `rate`; the loop's fact.
    Raises:  ValueError for rate <= 0, momentum outside [0, 1) or decay < 0.
    Source:  Sutskever et al., ICML 2013; decoupled decay: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101.
    """

    def __init__(self, rate, momentum=0.9, nesterov=False, decay=0.0, schedule=None):
        if rate <= 0 or not 0 <= momentum < 1 or decay < 0:
            raise ValueError(f"sgd(rate={rate}, momentum={momentum}, decay={decay}) needs rate > 0, "
                             "momentum in [0, 1) and decay >= 0.")
        super().__init__(schedule(rate) if schedule else rate, momentum=momentum, nesterov=nesterov,
                         weight_decay=decay or None, jit_compile=False)
        self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
