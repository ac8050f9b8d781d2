import numpy as np

from keras_apps.losses.adversarial.least_squares import LeastSquaresLoss

REAL, FAKE = 2 * np.random.default_rng(0).normal(size=[2, 7])


def test_equals_the_loop():
    loss = LeastSquaresLoss()
    critic = [((x - 1) ** 2 + f ** 2) / 2 for x, f in zip(REAL, FAKE)]
    np.testing.assert_allclose(loss.critic(REAL, FAKE), critic, atol=1e-9, rtol=0)
    np.testing.assert_allclose(loss.generator(FAKE), [(f - 1) ** 2 / 2 for f in FAKE], atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    loss = LeastSquaresLoss()
    np.testing.assert_array_equal(loss.critic([1.0, 0.0, 3.0, 1.0], [0.0, 1.0, 0.0, -2.0]), [0, 1, 2, 2])
    np.testing.assert_array_equal(loss.generator([1.0, 0.0, 3.0, -1.0]), [0, 0.5, 2, 2])
