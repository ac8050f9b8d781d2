"""Every adversarial loss on eight clouds around a circle: generated points are in all of them."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods
from keras_apps.critics.mlp import MlpCritic
from keras_apps.generators.mlp import MlpGenerator
from keras_apps.losses.adversarial import _penalties
from keras_apps.metrics.generation import class_shares, coverage, nearest_mode

MODES, BATCH, LATENT, STEPS = 8, 128, 8, 2000
INSIDE = 0.5        # of the points; of a Gaussian over all clouds .25, of noise .33
NAMES = methods("losses/adversarial")
# (words of the loss, weight of R1, steps of the critic for each of the generator): it takes a bound on the critic's
# slope to keep a generator from dropping clouds.
PLAIN = "", 0.02, 1
NEEDS = {"wasserstein": ("clip=0.1", 0.0, 3), "wasserstein_gp": ("weight=0.1", 0.0, 3)}


def drawn(count, seed):
    """Points [count,1,1,2] of eight clouds in the unit square, and their clouds."""
    random = np.random.default_rng(seed)
    modes = random.integers(0, MODES, count)
    angles = 2 * np.pi * modes / MODES
    points = 0.5 + 0.4 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + 0.04 * random.normal(size=(count, 2))
    return points.astype(np.float32)[:, None, None], modes


def trained(name, steps):
    """A generator after so many steps of the loss."""
    words, r1, turns = NEEDS.get(name, PLAIN)
    tf.keras.utils.set_random_seed(0)
    loss = build("losses/adversarial", f"{name}({words})")
    generator, critic = MlpGenerator(LATENT, 1, 2, width=64), MlpCritic(1, 2, width=64)
    rate = tf.keras.optimizers.schedules.PolynomialDecay(2e-3, steps)       # towards the end they stop circling
    optimizers = [tf.keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9) for _ in range(2)]
    for optimizer, net in zip(optimizers, (generator, critic)):
        optimizer.build(net.trainable_variables)
    real = tf.constant(drawn(steps * turns * BATCH, 1)[0])

    def step(place):
        seed = tf.stack([place, 3])
        for turn in range(turns):
            own = seed + turn
            batch = real[(place * turns + turn) * BATCH:][:BATCH]
            fake = generator(tf.random.stateless_normal([BATCH, LATENT], own))
            with tf.GradientTape() as tape:
                total = tf.reduce_mean(loss.critic(critic(batch), critic(fake)))
                penalty = loss.penalty(critic, batch, fake, own)
                if penalty is not None:
                    total += tf.reduce_mean(penalty)
                if r1:
                    total += r1 / 2 * tf.reduce_mean(_penalties.slope(critic, batch))
            optimizers[1].apply_gradients(zip(tape.gradient(total, critic.trainable_variables),
                                              critic.trainable_variables))
            if getattr(loss, "clip", 0):
                for variable in critic.trainable_variables:
                    variable.assign(tf.clip_by_value(variable, -loss.clip, loss.clip))
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(loss.generator(critic(generator(tf.random.stateless_normal(
                [BATCH, LATENT], seed + 1000)))))
        optimizers[0].apply_gradients(zip(tape.gradient(total, generator.trainable_variables),
                                          generator.trainable_variables))

    @tf.function
    def run():
        for place in tf.range(steps):
            step(place)
    run()       # one graph with the loop inside: a second instead of ten
    return generator


def covered(generator):
    made = generator(tf.random.stateless_normal([2000, LATENT], [7, 7])).numpy()
    return shown(made.reshape(-1, 2))


def shown(made):
    """What of points [n,2] lies in the clouds."""
    real, modes = drawn(2000, 2)
    shares = class_shares(nearest_mode(real.reshape(-1, 2), modes, made), MODES)
    return {**coverage(shares), "inside": shares.sum()}


@pytest.mark.parametrize("name", NAMES)
def test_all_clouds_are_found(name):
    found = covered(trained(name, STEPS))
    assert found["classes_covered"] == MODES and found["inside"] > INSIDE, found


def test_neither_an_untrained_generator_nor_a_blur_over_all_clouds_passes():
    assert covered(trained("logistic", 1))["classes_covered"] == 0
    points, random = drawn(2000, 3)[0].reshape(-1, 2), np.random.default_rng(4)
    blur = random.multivariate_normal(points.mean(axis=0), np.cov(points.T), 2000)
    assert shown(blur)["inside"] < 0.4 and shown(random.random((2000, 2)))["inside"] < 0.4
