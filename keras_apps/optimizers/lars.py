"""Momentum whose step is scaled to the length of each weight tensor, for very large batches."""

import tensorflow as tf

from keras_apps.optimizers.sgd import NOT_DECAYED


class LarsOptimizer(tf.keras.optimizers.Optimizer):
    """LARS: every weight tensor moves by about the same share of its own length.

    v = momentum v + rate trust (g + decay w);  w = w - v
    trust = coefficient |w| / (|g| + decay |w|), 1 where |w| or |g| is 0; biases, gains and shifts: trust 1, decay 0

    Args:    rate: > 0, before the schedule; with the trust about 100 times that of SGD.  momentum: in [0, 1).
             decay: of the weights, inside the trust; 0 = none.  coefficient: > 0, share of |w| that a step moves.
             schedule: Keras learning-rate schedule around `rate`; the loop's fact.
    Raises:  ValueError for rate or coefficient <= 0, momentum outside [0, 1) or decay < 0; at the first step for
             classes in shards over several replicas, none of which knows the length of the whole.
    Source:  You et al., 2017, arXiv:1708.03888, algorithm 1.
    Differs: biases, gains and shifts take plain momentum steps, as in what is trained with it since.
    """

    def __init__(self, rate, momentum=0.9, decay=0.0, coefficient=0.001, schedule=None):
        if rate <= 0 or coefficient <= 0 or not 0 <= momentum < 1 or decay < 0:
            raise ValueError(f"lars(rate={rate}, momentum={momentum}, decay={decay}, coefficient={coefficient}) needs "
                             "rate and coefficient > 0, momentum in [0, 1) and decay >= 0.")
        super().__init__(name="lars", weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(schedule(rate) if schedule else rate)
        self.momentum, self.decay, self.coefficient = momentum, decay, coefficient
        self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))

    def build(self, var_list):
        """Makes one velocity a variable; once."""
        super().build(var_list)
        if not hasattr(self, "velocities"):
            self.velocities = [self.add_variable_from_reference(variable, "velocity") for variable in var_list]
        self._built = True

    def update_step(self, gradient, variable):
        _require_whole(variable)
        rate = tf.cast(self.learning_rate, variable.dtype)
        velocity = self.velocities[self._index_dict[self._var_key(variable)]]
        if self._use_weight_decay(variable):
            length, slope = tf.norm(variable), tf.norm(gradient)
            trust = tf.where((length > 0) & (slope > 0),
                             tf.math.divide_no_nan(self.coefficient * length, slope + self.decay * length), 1.0)
            gradient = trust * (gradient + self.decay * variable)
        velocity.assign(self.momentum * velocity + rate * gradient)
        variable.assign_sub(velocity)


def _require_whole(variable):
    """Refuses a plain variable among replicas: a shard."""
    context = tf.distribute.get_replica_context()
    mirrored = isinstance(variable, tf.distribute.DistributedValues) or hasattr(variable, "_distributed_container")
    if context and context.num_replicas_in_sync > 1 and not mirrored:
        raise ValueError(f"`{variable.name}` holds a share of the classes but lars needs the length of all; use sgd or "
                         "adam for this group.")
