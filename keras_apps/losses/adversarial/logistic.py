"""The loss of the first GANs: a critic that tells real from fake by logistic regression."""

import tensorflow as tf

from keras_apps import geometry


class LogisticLoss:
    """Logistic loss with the generator's non-saturating form, as DCGAN trains.

    critic_i = (softplus(-c(x_i)) + softplus(c(f_i))) / 2      generator_i = softplus(-c(f_i))

    softplus(-c) = -log sigmoid(c): binary cross-entropy on the scores c of real images x and fakes f.

    Call:    .critic(real [b], fake [b]) -> [b]; .generator(fake [b]) -> [b]; .penalty(...) -> None: it has none.
    Returns: [b], >= 0, computed in float32 (float64 for float64).
    Source:  Goodfellow et al., NeurIPS 2014, arXiv:1406.2661, section 3; Radford et al., ICLR 2016, arXiv:1511.06434.
    Differs: the critic's loss is halved, so that real and fake together weigh as one image.
    """

    clip, penalised = 0.0, False

    def critic(self, real, fake):
        real, fake = geometry.wide(real), geometry.wide(fake)
        return (tf.nn.softplus(-real) + tf.nn.softplus(fake)) / 2

    def generator(self, fake):
        return tf.nn.softplus(-geometry.wide(fake))

    def penalty(self, critic, real, fake, seed):
        return None
