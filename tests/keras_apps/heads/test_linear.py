import numpy as np
import pytest
import tensorflow as tf

from keras_apps.heads.linear import LinearHead

LABELS = np.array([0, 3, 2, -1, 3, 1])


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=[6, 5])


@pytest.fixture
def head():
    head = LinearHead(classes=4, dimension=5, seed=1)
    head.weights.assign(np.random.default_rng(1).normal(size=[4, 5]))
    head.bias.assign([0.5, -1, 0, 2])
    return head


def naive(embeddings, labels, head):
    weights, bias = head.weights.numpy().astype(np.float64), head.bias.numpy().astype(np.float64)
    values = []
    for x, label in zip(embeddings, labels):
        logits = [x @ w + b for w, b in zip(weights, bias)]
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


def test_order_and_renamed_classes_play_no_part(embeddings, head):
    value = head.loss(embeddings, LABELS, 0).numpy()
    order = np.random.default_rng(2).permutation(6)
    np.testing.assert_allclose(head.loss(embeddings[order], LABELS[order], 0), value[order], atol=1e-12)
    names = np.array([2, 0, 3, 1])  # class j becomes names[j]
    head.weights.assign(head.weights.numpy()[np.argsort(names)])
    head.bias.assign(head.bias.numpy()[np.argsort(names)])
    renamed = np.where(LABELS < 0, -1, names[LABELS])
    np.testing.assert_allclose(head.loss(embeddings, renamed, 0), value, atol=1e-12)


def test_a_batch_without_labels_is_zero_with_zero_gradient(embeddings, head):
    x = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = head.loss(x, np.full(6, -1), 0)
    gradients = tape.gradient(value, [x, *head.trainable_variables])
    assert not value.numpy().any()
    assert not any(tf.convert_to_tensor(part).numpy().any() for part in gradients)


def test_better_embeddings_have_a_smaller_loss(head):
    own = head.weights.numpy()[[0, 1, 2, 3]]
    labels = np.arange(4)
    assert np.mean(head.loss(3 * own, labels, 0)) < np.mean(head.loss(0.1 * own, labels, 0)) < np.mean(
        head.loss(-own, labels, 0))


def test_huge_inputs_stay_finite(embeddings, head):
    assert np.isfinite(head.loss((1e30 * embeddings).astype(np.float32), LABELS, 0)).all()


def test_first_weights_follow_the_seed_and_the_first_loss_is_log_k(embeddings):
    one, again, other = (LinearHead(4, 5, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.weights, again.weights)
    assert np.abs(one.weights.numpy() - other.weights.numpy()).max() > 1e-3
    np.testing.assert_allclose(one.loss(embeddings, LABELS, 0).numpy()[LABELS >= 0], np.log(4), atol=0.1)


def test_variables_and_logits(embeddings):
    assert len(LinearHead(4, 5).trainable_variables) == 2 and LinearHead.local == ()
    bare = LinearHead(4, 5, bias=False)
    assert [variable.shape.as_list() for variable in bare.trainable_variables] == [[4, 5]]
    np.testing.assert_allclose(bare.logits(embeddings), embeddings @ bare.weights.numpy().T, atol=1e-7)


def test_half_precision_is_computed_in_float32(embeddings, head):
    half = tf.cast(embeddings, tf.float16)
    value = head.loss(half, LABELS, 0)
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, head.loss(tf.cast(half, tf.float32), LABELS, 0))


@pytest.mark.parametrize("words, told", [
    ({"classes": 1, "dimension": 4}, "`classes` is 1 "),
    ({"classes": 3, "dimension": 0}, "`dimension` is 0 "),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        LinearHead(**words)
