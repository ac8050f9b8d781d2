"""Adam whose step is scaled to the length of each weight tensor, for very large batches."""

import warnings

from keras_apps.optimizers.sgd import NOT_DECAYED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")     # it tells at every start that its development has ended
    from tensorflow_addons.optimizers import LAMB


class LambOptimizer(LAMB):
    """LAMB: Adam's direction, scaled so that every weight tensor moves by the same share of its own length.

    u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w
    w = w - rate trust u,  trust = |w| / |u|, 1 where either is 0; biases, gains and shifts: trust 1, decay 0

    Args:    rate: > 0, before the schedule.  beta_1, beta_2: in [0, 1).  epsilon: > 0.
             decay: of the weights, inside the trust; 0 = none.
             schedule: Keras learning-rate schedule around `rate`; the loop's fact.
    Raises:  ValueError for rate or epsilon <= 0, a beta outside [0, 1) or decay < 0. Classes in shards are refused:
             none knows the length of the whole.
    Source:  You et al., ICLR 2020, arXiv:1904.00962, algorithm 2; the class of tensorflow-addons.
    """

    def __init__(self, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-6, decay=0.0, schedule=None):
        if rate <= 0 or epsilon <= 0 or not 0 <= beta_1 < 1 or not 0 <= beta_2 < 1 or decay < 0:
            raise ValueError(f"lamb(rate={rate}, beta_1={beta_1}, beta_2={beta_2}, epsilon={epsilon}, decay={decay}) "
                             "needs rate and epsilon > 0, betas in [0, 1) and decay >= 0.")
        super().__init__(schedule(rate) if schedule else float(rate), float(beta_1), float(beta_2), float(epsilon),
                         float(decay), exclude_from_weight_decay=list(NOT_DECAYED))

    # What Keras's newer optimizers have and this older kind lacks.

    def build(self, variables):
        """Makes the step count, hyper-parameters and moments, so that a checkpoint finds them."""
        self._create_all_weights(variables)

    def apply_gradients(self, pairs, skip_gradients_aggregation=False):
        return super().apply_gradients(pairs, experimental_aggregate_gradients=not skip_gradients_aggregation)

    @property
    def _learning_rate(self):
        return self._get_hyper("learning_rate")
