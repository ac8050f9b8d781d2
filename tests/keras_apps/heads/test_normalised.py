import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.heads.normalised import NormalisedHead

LABELS = np.array([0, 3, 2, -1, 3, 1])


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=[6, 5])


@pytest.fixture
def head():
    return NormalisedHead(classes=4, dimension=5, seed=1, scale=7.0)


def naive(embeddings, labels, head):
    weights = head.weights.numpy().astype(np.float64)
    values = []
    for x, label in zip(embeddings, labels):
        cosines = [x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in weights]
        logits = head.scale * np.array(cosines)
        values.append(0.0 if label < 0 else np.log(np.sum(np.exp(logits))) - logits[label])
    return np.array(values)


def test_equals_the_loop(embeddings, head):
    value = head.loss(embeddings, LABELS, 0)
    assert value.dtype == tf.float64
    np.testing.assert_allclose(value, naive(embeddings, LABELS, head), atol=1e-9, rtol=0)


def test_gradient_matches_central_differences(embeddings, head):
    exact, differences = tf.test.compute_gradient(
        lambda x: head.loss(x, LABELS, 0), [tf.constant(embeddings)], delta=1e-5)
    np.testing.assert_allclose(exact[0], differences[0], atol=1e-6)


def test_order_length_rotation_and_renamed_classes_play_no_part(embeddings, head):
    value = head.loss(embeddings, LABELS, 0).numpy()
    order = np.random.default_rng(2).permutation(6)
    np.testing.assert_allclose(head.loss(embeddings[order], LABELS[order], 0), value[order], atol=1e-12)
    np.testing.assert_allclose(head.loss(embeddings * np.arange(1, 7)[:, None], LABELS, 0), value, atol=1e-12)
    names = np.array([2, 0, 3, 1])  # class j becomes names[j]
    head.weights.assign(head.weights.numpy()[np.argsort(names)])
    renamed = np.where(LABELS < 0, -1, names[LABELS])
    np.testing.assert_allclose(head.loss(embeddings, renamed, 0), value, atol=1e-12)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=[5, 5]))[0]
    head.weights.assign(2 * head.weights.numpy() @ turn)  # float32 weights: rounded
    np.testing.assert_allclose(head.loss(embeddings @ turn, renamed, 0), value, atol=1e-5)


def test_a_batch_without_labels_is_zero_with_zero_gradient(embeddings, head):
    x = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = head.loss(x, np.full(6, -1), 0)
    gradients = tape.gradient(value, [x, head.weights])
    assert not value.numpy().any()
    assert not any(tf.convert_to_tensor(part).numpy().any() for part in gradients)


@pytest.mark.parametrize("size", [0, 1e-30, 1e30])
def test_zero_tiny_and_huge_inputs_stay_finite(size, embeddings, head):
    x = tf.constant(size * embeddings, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = head.loss(x, LABELS, 0)
    assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, head.weights)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_embeddings_on_their_class_vector_or_opposite_have_finite_gradients(sign, head):
    x = sign * tf.constant(head.weights.numpy())
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = head.loss(x, np.arange(4), 0)
    assert np.isfinite(value).all() and np.abs(tape.gradient(value, x)).max() < 50


def test_better_embeddings_have_a_smaller_loss(head):
    own, labels = head.weights.numpy(), np.arange(4)
    away = np.random.default_rng(4).normal(size=own.shape)
    losses = [np.mean(head.loss(way, labels, 0)) for way in (own, own + 0.5 * away, -own)]
    assert losses[0] < losses[1] < losses[2]


def test_logits_are_scaled_cosines_without_margin(embeddings, head):
    weights = head.weights.numpy() / np.linalg.norm(head.weights.numpy(), axis=1, keepdims=True)
    wanted = 7 * embeddings @ weights.T / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(head.logits(embeddings), wanted, atol=1e-5)
    assert [variable.shape.as_list() for variable in head.trainable_variables] == [[4, 5]]
    assert head.local == ()


def test_first_weights_follow_the_seed_and_have_length_one():
    one, again, other = (NormalisedHead(40, 64, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.weights, again.weights)
    assert np.abs(one.weights.numpy() - other.weights.numpy()).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(one.weights, axis=1), 1, atol=0.4)


def test_scale_none_lets_a_perfect_embedding_reach_99_percent():
    for classes in (2, 10, 1000):
        scale = NormalisedHead(classes, 2, scale=None).scale
        assert math.exp(scale) / (math.exp(scale) + classes - 1) == pytest.approx(0.99)


def test_half_precision_is_computed_in_float32(embeddings, head):
    half = tf.cast(embeddings, tf.float16)
    value = head.loss(half, LABELS, 0)
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, head.loss(tf.cast(half, tf.float32), LABELS, 0))


def test_default_scale():
    assert NormalisedHead(3, 4).scale == 16


@pytest.mark.parametrize("words, told", [
    ({"classes": 1}, "`classes` is 1 "), ({"dimension": 0}, "`dimension` is 0 "),
    ({"scale": 0}, "`scale` is 0 "), ({"scale": float("nan")}, "`scale` is nan "),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        NormalisedHead(**{"classes": 3, "dimension": 4, **words})
