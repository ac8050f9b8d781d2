import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.classify.cost_sensitive import CostSensitiveLoss
from keras_apps.losses.classify.cross_entropy import CrossEntropyLoss

LOGITS = 2 * np.random.default_rng(0).normal(size=[7, 4])
LABELS = np.array([0, 3, -1, 2, 1, 1, 0])
SHARES = np.random.default_rng(1).dirichlet(np.ones(4), size=7)
COUNTS = (500, 40, 7, 1)
FORMS = [{}, {"costs": "effective"}, {"costs": "effective", "beta": 0.9}, {"costs": (1, 2.5, 0.5, 30)}]


def naive_weights(costs="inverse", beta=0.999):
    if costs == "inverse":
        costs = [1 / n for n in COUNTS]
    elif costs == "effective":
        costs = [1 / sum(beta ** i for i in range(n)) for n in COUNTS]      # (1 - beta^n) / (1 - beta), summed
    images = [costs[label] for label, n in enumerate(COUNTS) for _ in range(n)]
    return [cost / np.mean(images) for cost in costs]


def naive(logits, target, **words):
    values, weights = [], naive_weights(**words)
    for z, t in zip(logits, target):
        t = np.eye(4)[t] * (t >= 0) if np.ndim(t) == 0 else t
        p = np.exp(z) / sum(np.exp(z))
        values.append(-sum(t[j] * weights[j] * np.log(p[j]) for j in range(4)))
    return np.array(values)


@pytest.mark.parametrize("words", FORMS)
@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_equals_the_loop(target, words):
    loss = CostSensitiveLoss(COUNTS, **words)
    np.testing.assert_allclose(loss.weights, naive_weights(**words), rtol=1e-9)
    np.testing.assert_allclose(loss(LOGITS, target), naive(LOGITS, target, **words), atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("words", FORMS)
def test_gradient_matches_central_differences_of_the_loop(words):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = CostSensitiveLoss(COUNTS, **words)(logits, SHARES)
    way = np.random.default_rng(2).normal(size=LOGITS.shape)
    rise = naive(LOGITS + 1e-6 * way, SHARES, **words) - naive(LOGITS - 1e-6 * way, SHARES, **words)
    np.testing.assert_allclose(np.sum(tape.gradient(value, logits) * way), rise.sum() / 2e-6, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("words", FORMS)
def test_the_mean_weight_of_the_training_images_is_one(words):
    weights = CostSensitiveLoss(COUNTS, **words).weights
    assert np.dot(weights, COUNTS) / sum(COUNTS) == pytest.approx(1, abs=1e-12)


def test_by_inverse_frequency_all_classes_count_alike_in_sum():
    weights = CostSensitiveLoss(COUNTS).weights
    np.testing.assert_allclose(np.multiply(weights, COUNTS), sum(COUNTS) / 4)


def test_the_effective_number_lies_between_all_alike_and_inverse_frequency():
    ratios = [np.divide(*np.array(CostSensitiveLoss(COUNTS, "effective", beta).weights)[[3, 0]])
              for beta in (0, 0.5, 0.9, 0.99, 0.999, 1 - 1e-9)]
    assert ratios[0] == 1 and (np.diff(ratios) > 0).all()
    assert ratios[-1] == pytest.approx(500, rel=1e-3)


def test_equal_costs_and_equal_counts_are_cross_entropy():
    plain = CrossEntropyLoss()(LOGITS, SHARES)
    for loss in (CostSensitiveLoss(COUNTS, costs=[7] * 4), CostSensitiveLoss([3] * 4),
                 CostSensitiveLoss(COUNTS, "effective", beta=0)):
        np.testing.assert_allclose(loss(LOGITS, SHARES), plain, atol=1e-9)


def test_of_given_costs_the_proportions_count():
    value = CostSensitiveLoss(COUNTS, (1, 2, 3, 4))(LOGITS, LABELS)
    np.testing.assert_allclose(CostSensitiveLoss(COUNTS, [10, 20, 30, 40])(LOGITS, LABELS), value, atol=1e-9)


@pytest.mark.parametrize("words, told", [
    ({"costs": "inverted"}, "^`costs` is 'inverted' but must be one of inverse, effective; or give a number a class.$"),
    ({"costs": (1, 2, 3)}, r"`costs` is \[1.0, 2.0, 3.0\] but .* each of the 4 classes"),
    ({"costs": (1, 2, 3, 0)}, "above 0"), ({"costs": (1, 2, 3, float("inf"))}, "finite"),
    ({"beta": 1.0}, r"^`beta` is 1.0 but must lie in \[0, 1\); use 0.999.$"), ({"beta": -0.1}, "`beta` is -0.1 "),
    ({"beta": float("nan")}, "`beta` is nan"),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        CostSensitiveLoss(COUNTS, **words)
