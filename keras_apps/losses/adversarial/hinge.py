"""A critic that stops pushing scores beyond a margin."""

import tensorflow as tf

from keras_apps import geometry


class HingeLoss:
    """Hinge loss: reals above 1 and fakes below -1 no longer move the critic.

    critic_i = ([1 - c(x_i)]+ + [1 + c(f_i)]+) / 2      generator_i = -c(f_i)

    Call:    .critic(real [b], fake [b]) -> [b]; .generator(fake [b]) -> [b]; .penalty(...) -> None: it has none.
    Returns: [b], the critic's >= 0, computed in float32 (float64 for float64).
    Source:  Lim and Ye, 2017, arXiv:1705.02894, section 4; Miyato et al., ICLR 2018, arXiv:1802.05957, eq. 16.
    Differs: the critic's loss is halved, so that real and fake together weigh as one image.
    """

    clip, penalised = 0.0, False

    def critic(self, real, fake):
        real, fake = geometry.wide(real), geometry.wide(fake)
        return (tf.nn.relu(1 - real) + tf.nn.relu(1 + fake)) / 2

    def generator(self, fake):
        return -geometry.wide(fake)

    def penalty(self, critic, real, fake, seed):
        return None
