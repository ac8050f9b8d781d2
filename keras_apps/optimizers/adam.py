"""Adam, with decoupled weight decay where asked for."""

import tensorflow as tf

from keras_apps.optimizers.sgd import NOT_DECAYED


class AdamOptimizer(tf.keras.optimizers.Adam):
    """Adam (AdamW with decay): each weight's step is scaled by the history of its own gradient.

    w = w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon) - rate decay w.

    Args:    rate: > 0, before the schedule.  beta_1, beta_2: in [0, 1).  epsilon: > 0.
             decay: decoupled weight decay (AdamW) on everything but biases, gains and shifts; 0 = none.
             schedule: Keras learning-rate schedule around `rate`; the loop's fact.
    Raises:  ValueError for rate or epsilon <= 0, a beta outside [0, 1) or decay < 0.
    Source:  Kingma and Ba, ICLR 2015, arXiv:1412.6980; decay: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101.
    """

    def __init__(self, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7, decay=0.0, schedule=None):
        if rate <= 0 or epsilon <= 0 or not 0 <= beta_1 < 1 or not 0 <= beta_2 < 1 or decay < 0:
            raise ValueError(f"adam(rate={rate}, beta_1={beta_1}, beta_2={beta_2}, epsilon={epsilon}, decay={decay}) "
                             "needs rate and epsilon > 0, betas in [0, 1) and decay >= 0.")
        super().__init__(schedule(rate) if schedule else rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
                         weight_decay=decay or None, jit_compile=False)
        self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
