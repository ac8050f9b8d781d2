import math

import numpy as np

from keras_apps.losses.adversarial.logistic import LogisticLoss

REAL, FAKE = 2 * np.random.default_rng(0).normal(size=[2, 7])


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


def test_equals_the_loop():
    """Binary cross-entropy on probabilities, as the paper writes it; the generator's form that does not saturate."""
    loss = LogisticLoss()
    critic = [-(math.log(sigmoid(x)) + math.log(1 - sigmoid(f))) / 2 for x, f in zip(REAL, FAKE)]
    np.testing.assert_allclose(loss.critic(REAL, FAKE), critic, atol=1e-9, rtol=0)
    np.testing.assert_allclose(loss.generator(FAKE), [-math.log(sigmoid(f)) for f in FAKE], atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    loss, odds = LogisticLoss(), math.log(3)        # a score of log 3 is a probability of 3/4
    np.testing.assert_allclose(loss.critic(np.array([0, odds]), np.array([0, -odds])), np.log([2, 4 / 3]), atol=1e-9)
    np.testing.assert_allclose(loss.generator(np.array([0, odds, -odds])), np.log([2, 4 / 3, 4]), atol=1e-9)


def test_a_hopeless_fake_still_has_a_full_slope():
    scores = np.array([-50.0, -49.0])
    assert np.ptp(LogisticLoss().generator(scores)) > 0.999
