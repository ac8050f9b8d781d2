"""The difference of mean scores as a distance of distributions, held by a penalty on the critic's slope."""

import math

import tensorflow as tf

from keras_apps import geometry
from keras_apps.losses.adversarial import _penalties


class WassersteinGpLoss:
    """Wasserstein loss with a gradient penalty (WGAN-GP): the critic's slope is held near 1 between real and fake.

    critic_i = c(f_i) - c(x_i) + drift c(x_i)^2      generator_i = -c(f_i)
    penalty_i = weight (|grad c(y_i)| - 1)^2,   y_i = x_i + u_i (f_i - x_i),   u_i uniform in [0, 1]

    The critic must look at each image by itself: no batch norm in it.

    Args:    weight: > 0.  drift: >= 0, keeps the scores of reals near 0; 1e-3 in progressive growing.
    Call:    .critic(real [b], fake [b]) -> [b]; .generator(fake [b]) -> [b];
             .penalty(critic: images -> [b], real [b,...], fake [b,...], seed [2]) -> [b].
    Returns: [b], the scores' terms of any sign, the penalty >= 0; float32 (float64 for float64).
    Raises:  ValueError for a weight that is not above 0 or a negative drift.
    Source:  Gulrajani et al., NeurIPS 2017, arXiv:1704.00028, algorithm 1; drift: Karras et al., ICLR 2018,
             arXiv:1710.10196, appendix A.1.   Differs: no.
    """

    clip, penalised = 0.0, True

    def __init__(self, weight=10.0, drift=0.0):
        if not (math.isfinite(weight) and weight > 0 and math.isfinite(drift) and drift >= 0):
            raise ValueError(f"wasserstein_gp(weight={weight}, drift={drift}) needs a weight above 0 and a drift of at "
                             "least 0; use 10.0 and 0.0.")
        self.weight, self.drift = float(weight), float(drift)

    def critic(self, real, fake):
        real, fake = geometry.wide(real), geometry.wide(fake)
        return fake - real + self.drift * tf.square(real)

    def generator(self, fake):
        return -geometry.wide(fake)

    def penalty(self, critic, real, fake, seed):
        squared = geometry.wide(_penalties.slope(critic, _penalties.between(real, fake, seed)))
        # The root has no slope at 0, where the penalty is at its largest: a little is added under it.
        return self.weight * tf.square(tf.sqrt(squared + 1e-12) - 1)
