"""The score is its formula; each branch takes the pairs it is for; one vector an image is enough."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.matchers.oriented import OrientedMatcher

RANDOM = np.random.default_rng(0)


def make(dimension=6, kinds=3, **changes):
    matcher = OrientedMatcher(dimension, kinds, **{"branch": 4, **changes})
    matcher.kinds.assign(RANDOM.normal(size=[dimension, kinds]))
    return matcher


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def naive(x, weights, margin, positive, negative):
    rows = unit(x @ weights.numpy())
    values = np.zeros(len(x)), np.zeros(len(x))
    for i in range(len(x)):
        away = [np.linalg.norm(rows[i] - rows[j]) for j in range(len(x)) if j != i and positive(i, j)]
        near = [np.linalg.norm(rows[i] - rows[j]) for j in range(len(x)) if negative(i, j)]
        if away and near:
            values[0][i], values[1][i] = max(max(away) - min(near) + margin, 0), 1
    return values


def test_terms_are_those_of_a_naive_loop():
    matcher, x = make(), RANDOM.normal(size=[14, 6]).astype(np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, -1, 4, 4, 5, 5])
    kinds = np.array([0, 1, 0, 0, 1, 2, 2, 2, 0, 1, -1, 0, 1, -1])
    found = matcher.losses(tf.constant(x), tf.constant(labels), tf.constant(kinds))

    def same(i, j):
        return labels[i] == labels[j] >= 0

    def other(i, j):
        return min(labels[i], labels[j]) >= 0 and labels[i] != labels[j]

    def known(i, j):
        return min(kinds[i], kinds[j]) >= 0
    wanted = {
        "same": naive(x, matcher.same, 0.3, same, lambda i, j: other(i, j) and known(i, j) and kinds[i] == kinds[j]),
        "other": naive(x, matcher.other, 0.3, lambda i, j: same(i, j) and known(i, j) and kinds[i] != kinds[j], other)}
    for name, (values, weight) in wanted.items():
        np.testing.assert_allclose(found[name][0], values, atol=1e-5)
        np.testing.assert_array_equal(found[name][1], weight)
        assert 0 < weight.sum() < len(x), "else nothing is told apart here"
    logits = x @ matcher.kinds.numpy()
    wanted = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), np.maximum(kinds, 0)]
    np.testing.assert_allclose(found["kind"][0][kinds >= 0], wanted[kinds >= 0], rtol=1e-5)
    np.testing.assert_array_equal(found["kind"][1], kinds >= 0)


def test_the_product_of_two_vectors_is_the_score():
    matcher, x = make(), RANDOM.normal(size=[9, 6]).astype(np.float32)

    def look(images):
        return tf.constant(images), None
    asked, offered = (side(x, look).numpy() for side in (matcher.asked, matcher.offered))
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(offered, axis=1), 1, atol=1e-6)
    p = np.exp(x @ matcher.kinds.numpy())
    p /= p.sum(1, keepdims=True)
    s, d = (unit(x @ weights.numpy()) for weights in (matcher.same, matcher.other))
    u = p @ p.T
    assert u.min() < 0.2 and u.max() > 0.8, "else one similarity alone would do"
    np.testing.assert_allclose(asked @ offered.T, (u * (s @ s.T) + (1 - u) * (d @ d.T)) / 3, atol=1e-6)


def test_gradients_are_finite_and_reach_all_weights():
    matcher = make()
    x = tf.constant(np.repeat(RANDOM.normal(size=[1, 6]), 8, 0), tf.float32)     # all alike
    labels, kinds = tf.constant([0, 0, 0, 0, 1, 1, 1, 1]), tf.constant([0, 1, 0, 1, 0, 1, 0, 1])
    for rows in (x, x + RANDOM.normal(size=[8, 6])):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            terms = matcher.losses(rows, labels, kinds)
            total = sum(tf.reduce_sum(values * weight) for values, weight in terms.values())
        slopes = tape.gradient(total, [rows, *matcher.trainable_variables])
        assert all(np.isfinite(slope).all() for slope in slopes)
    assert all(np.abs(slope).max() > 0 for slope in slopes)


@pytest.mark.parametrize("changes, message", [
    ({"kinds": 1}, "the data name 1 orientations but an oriented matcher needs 2"),
    ({"branch": 0}, "needs a whole branch >= 1"), ({"branch": 2.5}, "needs a whole branch"),
    ({"margin": -1.0}, "all others finite and >= 0"), ({"same": float("nan")}, "all others finite")])
def test_mistakes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        OrientedMatcher(**{"dimension": 6, "kinds": 3, **changes})
