import numpy as np
import tensorflow as tf

from keras_apps.losses.adversarial.hinge import HingeLoss

REAL, FAKE = 2 * np.random.default_rng(0).normal(size=[2, 7])


def test_equals_the_loop():
    loss = HingeLoss()
    critic = [(max(0, 1 - x) + max(0, 1 + f)) / 2 for x, f in zip(REAL, FAKE)]
    np.testing.assert_allclose(loss.critic(REAL, FAKE), critic, atol=1e-9, rtol=0)
    np.testing.assert_array_equal(loss.generator(FAKE), -FAKE)


def test_points_placed_by_hand():
    loss = HingeLoss()
    np.testing.assert_array_equal(loss.critic([0.0, 2.0, -1.0, 0.5], [0.0, -3.0, -1.0, 1.5]), [1, 0, 1, 1.5])
    np.testing.assert_array_equal(loss.generator([0.0, 2.0, -3.0]), [0, -2, 3])


def test_beyond_the_margin_nothing_moves_the_critic_but_all_moves_the_generator():
    scores = tf.constant([[1.5, 30.0, 0.5], [-1.5, -30.0, -0.5]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(scores)
        critic, generator = HingeLoss().critic(scores[0], scores[1]), HingeLoss().generator(scores[1])
    np.testing.assert_array_equal(tape.gradient(critic, scores), [[0, 0, -0.5], [0, 0, 0.5]])
    np.testing.assert_array_equal(tape.gradient(generator, scores), [[0, 0, 0], [-1, -1, -1]])
