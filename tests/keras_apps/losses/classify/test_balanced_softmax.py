import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.losses.classify.balanced_softmax import BalancedSoftmaxLoss
from keras_apps.losses.classify.cross_entropy import CrossEntropyLoss

LOGITS = 2 * np.random.default_rng(0).normal(size=[7, 4])
LABELS = np.array([0, 3, -1, 2, 1, 1, 0])
SHARES = np.random.default_rng(1).dirichlet(np.ones(4), size=7)
COUNTS = (500, 40, 7, 1)


def naive(logits, target, counts):
    values = []
    for z, t in zip(logits, target):
        parts = [n * np.exp(value) for n, value in zip(counts, z)]
        costs = [np.log(sum(parts)) - np.log(part) for part in parts]
        values.append(sum(a * b for a, b in zip(t, costs)) if np.ndim(t) else costs[t] if t >= 0 else 0.0)
    return np.array(values)


@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_equals_the_loop(target):
    wanted = naive(LOGITS, target, COUNTS)
    np.testing.assert_allclose(BalancedSoftmaxLoss(COUNTS)(LOGITS, target), wanted, atol=1e-9, rtol=0)


def test_gradient_matches_central_differences_of_the_loop():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = BalancedSoftmaxLoss(COUNTS)(logits, LABELS)
    way = np.random.default_rng(2).normal(size=LOGITS.shape)
    rise = naive(LOGITS + 1e-6 * way, LABELS, COUNTS) - naive(LOGITS - 1e-6 * way, LABELS, COUNTS)
    np.testing.assert_allclose(np.sum(tape.gradient(value, logits) * way), rise.sum() / 2e-6, atol=1e-6)


@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_only_proportions_count_and_equal_ones_for_nothing(target):
    value = BalancedSoftmaxLoss(COUNTS)(LOGITS, target)
    for factor in (0.001, 1e9):
        np.testing.assert_allclose(BalancedSoftmaxLoss([factor * n for n in COUNTS])(LOGITS, target), value, atol=1e-9)
    plain = CrossEntropyLoss()(LOGITS, target)
    np.testing.assert_allclose(BalancedSoftmaxLoss(np.full(4, 9))(LOGITS, target), plain, atol=1e-9)


def test_an_image_of_a_rare_class_costs_more_than_one_of_a_frequent_class():
    value = BalancedSoftmaxLoss(COUNTS)(np.zeros([4, 4]), np.arange(4))
    assert (np.diff(value) > 0).all()
    np.testing.assert_allclose(value, np.log(sum(COUNTS) / np.array(COUNTS)), atol=1e-9)


def test_logits_that_follow_the_images_alone_are_the_best_however_classes_are_distributed():
    """Images of one kind, whose class is 9 : 1 by frequency alone: the best logits are alike for both."""
    loss, labels = BalancedSoftmaxLoss([9, 1]), np.repeat([0, 1], [9, 1])
    gaps = np.linspace(-3, 3, 61)
    means = [np.mean(loss(np.tile([gap, 0], [10, 1]), labels)) for gap in gaps]
    assert abs(gaps[np.argmin(means)]) < 1e-9
    plain = [np.mean(CrossEntropyLoss()(np.tile([gap, 0], [10, 1]), labels)) for gap in gaps]
    assert gaps[np.argmin(plain)] == pytest.approx(np.log(9), abs=0.1)


def test_the_counts_are_a_fact_that_the_caller_tells():
    loss = build("losses/classify", "balanced_softmax()", classes=4, counts=COUNTS, dimension=7)
    np.testing.assert_array_equal(loss(LOGITS, LABELS), BalancedSoftmaxLoss(COUNTS)(LOGITS, LABELS))
    with pytest.raises(ValueError, match="`counts` is not a hyper-parameter"):
        build("losses/classify", "balanced_softmax(counts=(1, 2))", counts=COUNTS)
    for name in ("focal(gamma=1)", "cross_entropy(smoothing=0.1)"):
        build("losses/classify", name, classes=4, counts=COUNTS)
