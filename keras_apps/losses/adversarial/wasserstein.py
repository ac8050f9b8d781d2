"""The difference of mean scores as a distance of distributions, held by clipped weights."""

import math

from keras_apps import geometry


class WassersteinLoss:
    """Wasserstein loss (WGAN): mean score of fakes minus mean score of reals, the critic's weights clipped.

    critic_i = c(f_i) - c(x_i)      generator_i = -c(f_i)      after each critic step: w = clip(w, -clip, clip)

    The clipping is done by who trains (`clip` is read after the critic's optimizer); without it the critic's loss has
    no end.

    Args:    clip: > 0.
    Call:    .critic(real [b], fake [b]) -> [b]; .generator(fake [b]) -> [b]; .penalty(...) -> None: it has none.
    Returns: [b], of any sign, computed in float32 (float64 for float64).
    Raises:  ValueError for a clip that is not a finite number above 0.
    Source:  Arjovsky, Chintala, Bottou, ICML 2017, arXiv:1701.07875, algorithm 1.   Differs: no.
    """

    penalised = False

    def __init__(self, clip=0.01):
        if not (math.isfinite(clip) and clip > 0):
            raise ValueError(f"`clip` is {clip} but must be a finite number above 0; use 0.01.")
        self.clip = float(clip)

    def critic(self, real, fake):
        return geometry.wide(fake) - geometry.wide(real)

    def generator(self, fake):
        return -geometry.wide(fake)

    def penalty(self, critic, real, fake, seed):
        return None
