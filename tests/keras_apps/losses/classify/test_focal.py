import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.classify.cross_entropy import CrossEntropyLoss
from keras_apps.losses.classify.focal import FocalLoss

LOGITS = 2 * np.random.default_rng(0).normal(size=[7, 4])
LABELS = np.array([0, 3, -1, 2, 1, 1, 0])
SHARES = np.random.default_rng(1).dirichlet(np.ones(4), size=7)
GAMMAS = [0, 0.5, 1, 2.0, 5]


def naive(logits, target, gamma):
    values = []
    for z, t in zip(logits, target):
        p = np.exp(z) / sum(np.exp(z))
        if np.ndim(t):
            values.append(-sum(t[j] * (1 - p[j]) ** gamma * np.log(p[j]) for j in range(4)))
        else:
            values.append(-((1 - p[t]) ** gamma) * np.log(p[t]) if t >= 0 else 0.0)
    return np.array(values)


def value_and_gradient(loss, logits, target):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits, target)
    return value.numpy(), tape.gradient(value, logits).numpy()


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_equals_the_loop(target, gamma):
    np.testing.assert_allclose(FocalLoss(gamma)(LOGITS, target), naive(LOGITS, target, gamma), atol=1e-9, rtol=0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_matches_central_differences_of_the_loop(gamma):
    _, gradient = value_and_gradient(FocalLoss(gamma), LOGITS, SHARES)
    for seed in range(3):
        way = np.random.default_rng(seed).normal(size=LOGITS.shape)
        rise = naive(LOGITS + 1e-6 * way, SHARES, gamma) - naive(LOGITS - 1e-6 * way, SHARES, gamma)
        np.testing.assert_allclose(np.sum(gradient * way), rise.sum() / 2e-6, atol=1e-6)


@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_without_gamma_it_is_cross_entropy(target):
    for size in (1, 1e3):
        np.testing.assert_array_equal(FocalLoss(0)(size * LOGITS, target), CrossEntropyLoss()(size * LOGITS, target))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_near_and_at_certainty_it_stays_finite_and_moves_nothing(gamma):
    logits = np.array([[5.0, 0.0], [20, 0], [200, 0], [1e9, 0]])
    for dtype in (np.float32, np.float64):
        value, gradient = value_and_gradient(FocalLoss(gamma), logits.astype(dtype), np.zeros(4, int))
        assert (value >= 0).all() and np.isfinite(gradient).all() and np.abs(gradient[1:]).max() < 1e-6
        wrong, gradient = value_and_gradient(FocalLoss(gamma), logits.astype(dtype), np.ones(4, int))
        np.testing.assert_allclose(wrong, naive_far(logits, gamma), rtol=1e-5)
        np.testing.assert_allclose(gradient[1:], [[1, -1]] * 3, atol=1e-5)


def naive_far(logits, gamma):
    gap = logits[:, 0]
    return (1 / (1 + np.exp(-gap))) ** gamma * np.logaddexp(0, gap)


def test_the_surer_an_image_the_less_it_counts():
    logits = np.stack([np.linspace(-4, 6, 40), np.zeros(40)], axis=1)
    shares = [FocalLoss(gamma)(logits, np.zeros(40, int)) / CrossEntropyLoss()(logits, np.zeros(40, int))
              for gamma in (0.5, 2, 5)]
    assert all((np.diff(share) < 0).all() for share in shares)
    assert (shares[0] > shares[1]).numpy().all() and (shares[1] > shares[2]).numpy().all()


@pytest.mark.parametrize("gamma", [-1, float("nan"), float("inf")])
def test_a_gamma_out_of_range_is_refused(gamma):
    with pytest.raises(ValueError, match=f"^`gamma` is {gamma} but must be a finite number of at least 0; use 2.$"):
        FocalLoss(gamma)
