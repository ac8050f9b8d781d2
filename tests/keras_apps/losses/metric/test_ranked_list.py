import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.metric.ranked_list import RankedListLoss

LABELS = np.array([0, 0, 0, 1, 1, 2, -1, -1, 3])
EMBEDDINGS = np.random.default_rng(0).normal(size=[9, 4])
FORMS = [{}, {"alpha": 2.0, "margin": 1.3, "temperature": 1.0}, {"temperature": 0.0}, {"temperature": 300.0},
         {"balance": 0.0}, {"balance": 1.0}, {"alpha": 1.5, "margin": 0.0, "balance": 0.3}]


def naive(embeddings, labels, alpha=1.2, margin=0.4, temperature=10.0, balance=0.5, frozen=None):
    """`frozen`: embeddings from which the weights are taken instead."""
    def between(points, i, j):
        return np.linalg.norm(points[i] / np.linalg.norm(points[i]) - points[j] / np.linalg.norm(points[j]))

    values = []
    for i in range(len(labels)):
        pulls, pushes, weights = [], [], []
        for j in range(len(labels)):
            if j == i or labels[i] < 0 or labels[j] < 0:
                continue
            d = between(embeddings, i, j)
            if labels[i] == labels[j] and d > alpha - margin:
                pulls.append(d - (alpha - margin))
            if labels[i] != labels[j] and d < alpha:
                pushes.append(alpha - d)
                weights.append(np.exp(temperature * (alpha - between(embeddings if frozen is None else frozen, i, j))))
        pull = np.mean(pulls) if pulls else 0.0
        push = np.dot(pushes, weights) / np.sum(weights) if pushes else 0.0
        values.append((1 - balance) * pull + balance * push)
    return np.array(values)


def gradient_of(loss, embeddings, labels=LABELS, shares=1.0):
    embeddings = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        total = tf.reduce_sum(loss(embeddings, labels) * shares)
    return tape.gradient(total, embeddings).numpy()


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_loop(form):
    wanted = naive(EMBEDDINGS, LABELS, **form)
    assert wanted.max() > 0.05
    np.testing.assert_allclose(RankedListLoss(**form)(EMBEDDINGS, LABELS), wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_that_of_the_value_with_weights_held_fast(form):
    generator, step = np.random.default_rng(6), 1e-5
    shares = generator.normal(size=9)
    gradient = gradient_of(RankedListLoss(**form), EMBEDDINGS, shares=shares)
    for _ in range(3):
        way = generator.normal(size=EMBEDDINGS.shape)
        ends = [naive(EMBEDDINGS + sign * step * way, LABELS, frozen=EMBEDDINGS, **form) for sign in (1, -1)]
        np.testing.assert_allclose(np.sum(gradient * way), np.sum((ends[0] - ends[1]) * shares) / (2 * step), atol=1e-6)


def test_points_placed_by_hand():
    # Angles 0, 60, 180 degrees: distances 1, 2 and sqrt 3. The first two are one class.
    angles = np.deg2rad([0, 60, 180])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1], [2], [5]]
    value = RankedListLoss(alpha=1.8, margin=1.0, temperature=0.0, balance=0.25)(points, [4, 4, 9])
    near = 1.8 - 3**0.5
    # At 0 the stranger is beyond 1.8; at 60 it is not; the stranger has one near and no positive.
    np.testing.assert_allclose(value, [0.75 * 0.2, 0.75 * 0.2 + 0.25 * near, 0.25 * near], atol=1e-9)


def test_without_temperature_negatives_weigh_alike_and_with_much_only_the_nearest_counts():
    generator = np.random.default_rng(3)
    points, labels = 1 + 0.3 * generator.normal(size=[5, 4]), np.arange(5)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    near = 1.2 - np.linalg.norm(unit[:, None] - unit[None], axis=2)
    assert near.min() > 0
    others = near[~np.eye(5, dtype=bool)].reshape(5, 4)
    np.testing.assert_allclose(RankedListLoss(temperature=0.0)(points, labels), 0.5 * others.mean(1), atol=1e-9)
    np.testing.assert_allclose(RankedListLoss(temperature=1e5)(points, labels), 0.5 * others.max(1), atol=1e-9)


def test_pairs_in_their_place_give_exactly_nothing():
    generator, labels = np.random.default_rng(4), np.repeat(np.arange(4), 3)
    points = np.eye(4)[labels] + 0.02 * generator.normal(size=[12, 4])
    assert not RankedListLoss()(points, labels).numpy().any()
    assert not gradient_of(RankedListLoss(), points, labels).any()
    assert np.isfinite(gradient_of(RankedListLoss(temperature=1e30), np.ones([12, 4], np.float32), labels)).all()


@pytest.mark.parametrize("words, told", [
    ({"alpha": 0}, "`alpha` is 0 "), ({"alpha": 2.5}, "`alpha` is 2.5 "), ({"alpha": float("nan")}, "`alpha` is nan "),
    ({"margin": -0.1}, "`margin` is -0.1 "), ({"margin": 1.3}, "between 0 and alpha, 1.2"),
    ({"temperature": -1}, "`temperature` is -1 "), ({"temperature": float("inf")}, "`temperature` is inf "),
    ({"balance": 1.5}, "`balance` is 1.5 "),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        RankedListLoss(**words)
