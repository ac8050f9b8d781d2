"""RMSProp."""

import tensorflow as tf

from keras_apps.optimizers.sgd import NOT_DECAYED


class RmspropOptimizer(tf.keras.optimizers.RMSprop):
    """RMSProp: each weight's step is scaled by the recent size of its own gradient, without momentum.

    v = rho v + (1 - rho) g^2;   w = w - rate g / sqrt(v + epsilon)

    Args:    rate: > 0, before the schedule.  rho: in [0, 1).  epsilon: > 0.
             decay: decoupled weight decay on everything but biases, gains and shifts; 0 = none.
             schedule: Keras learning-rate schedule around `rate`; the loop's fact.
    Raises:  ValueError for rate or epsilon <= 0, a rho outside [0, 1) or decay < 0.
    Source:  Tieleman and Hinton, Coursera lecture 6e, 2012.
    """

    def __init__(self, rate, rho=0.9, epsilon=1e-7, decay=0.0, schedule=None):
        if rate <= 0 or epsilon <= 0 or not 0 <= rho < 1 or decay < 0:
            raise ValueError(f"rmsprop(rate={rate}, rho={rho}, epsilon={epsilon}, decay={decay}) needs rate and "
                             "epsilon > 0, rho in [0, 1) and decay >= 0.")
        super().__init__(schedule(rate) if schedule else rate, rho=rho, epsilon=epsilon,
                         weight_decay=decay or None, jit_compile=False)
        self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
