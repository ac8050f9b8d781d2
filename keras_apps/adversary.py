"""A critic's turn in apps that make images: its terms, and what critic and loss must keep to."""

import tensorflow as tf

from keras_apps.step import BATCH_NORMS


def require_fit(config, critic, loss):
    """Refuses a critic that looks across the batch where its loss has a penalty.   Raises: ValueError."""
    if loss.penalised and any(isinstance(layer, BATCH_NORMS) for layer in critic.submodules):
        raise ValueError(f"`critic` is {config.critic!r} with batch norm but `{config.loss}` has a penalty on the "
                         "slope at each image, which must not see the others; use norm='layer' or 'none'.")


def terms(loss, score, real, fake, seeds):
    """The terms of a phase that trains a critic; nothing of them reaches what made the fakes.

    Args:    loss: of losses/adversarial.  score: (images [b,H,W,C], seed) -> [b]; without a seed as they are.
             real, fake: [b,H,W,C].  seeds: three, of reals, fakes and penalty; None for the first two = no seed.
    Returns: {"critic", "real_score", "fake_score": [b]} and, where the loss has one, "penalty".
    """
    fake = tf.stop_gradient(fake)
    on_real, on_fake = score(real, seeds[0]), score(fake, seeds[1])
    found = {"critic": loss.critic(on_real, on_fake), "real_score": on_real, "fake_score": on_fake}
    penalty = loss.penalty(score, real, fake, seeds[2])
    return found if penalty is None else {**found, "penalty": penalty}


def clip(variables, bound):
    """Clips variables to [-bound, bound] on all replicas, which some losses ask for; in replica context."""
    def update(strategy, variables):
        for variable in variables:
            strategy.extended.update(variable, lambda v: v.assign(tf.clip_by_value(v, -bound, bound)))
    if bound:
        tf.distribute.get_replica_context().merge_call(update, args=(variables,))
