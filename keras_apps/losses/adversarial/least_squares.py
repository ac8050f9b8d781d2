"""A critic that regresses on 1 for real and 0 for fake."""

import tensorflow as tf

from keras_apps import geometry


class LeastSquaresLoss:
    """Least-squares loss (LSGAN): fakes far on the right side of the boundary are still pulled to it.

    critic_i = ((c(x_i) - 1)^2 + c(f_i)^2) / 2      generator_i = (c(f_i) - 1)^2 / 2

    Call:    .critic(real [b], fake [b]) -> [b]; .generator(fake [b]) -> [b]; .penalty(...) -> None: it has none.
    Returns: [b], >= 0, computed in float32 (float64 for float64).
    Source:  Mao et al., ICCV 2017, arXiv:1611.04076, eq. 9 (a = 0, b = c = 1).   Differs: no.
    """

    clip, penalised = 0.0, False

    def critic(self, real, fake):
        real, fake = geometry.wide(real), geometry.wide(fake)
        return (tf.square(real - 1) + tf.square(fake)) / 2

    def generator(self, fake):
        return tf.square(geometry.wide(fake) - 1) / 2

    def penalty(self, critic, real, fake, seed):
        return None
