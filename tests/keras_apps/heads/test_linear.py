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
    wanted = naive(embeddings, LABELS, head)
    np.testing.assert_allclose(head.loss(embeddings, LABELS, 0), wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothing_equals_the_loop_over_all_classes(embeddings, head, smoothing):
    smooth = LinearHead(classes=4, dimension=5, seed=1, smoothing=smoothing)
    for mine, other in zip(smooth.trainable_variables, head.trainable_variables):
        mine.assign(other)
    wanted = []
    for i, label in enumerate(LABELS):
        each = [naive(embeddings[i:i + 1], [j], head)[0] for j in range(4)]      # - log softmax_j
        wanted.append(sum(((1 - smoothing) * (j == label) + smoothing / 4) * each[j] for j in range(4)))
    wanted = np.where(LABELS < 0, 0, wanted)
    np.testing.assert_allclose(smooth.loss(embeddings, LABELS, 0), wanted, atol=1e-9, rtol=0)
    np.testing.assert_array_equal(smooth.logits(embeddings), head.logits(embeddings))


def test_a_smoothed_loss_is_least_at_its_target_and_not_at_certainty():
    head = LinearHead(classes=3, dimension=3, bias=False, smoothing=0.3)
    head.weights.assign(np.eye(3))
    target = np.array([0.8, 0.1, 0.1])
    least = float(head.loss(np.log(target)[None], [0], 0)[0])
    assert least == pytest.approx(-np.sum(target * np.log(target)), abs=1e-6)
    for other in ([0.99, 0.005, 0.005], [0.7, 0.15, 0.15], [0.8, 0.15, 0.05]):
        assert float(head.loss(np.log([other]), [0], 0)[0]) > least + 1e-3


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_a_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"`smoothing` is {smoothing} "):
        LinearHead(4, 5, smoothing=smoothing)


def test_longer_embeddings_of_the_right_class_have_a_smaller_loss(head):
    own = head.weights.numpy()[[0, 1, 2, 3]]
    labels = np.arange(4)
    assert np.mean(head.loss(3 * own, labels, 0)) < np.mean(head.loss(0.1 * own, labels, 0)) < np.mean(
        head.loss(-own, labels, 0))


def test_the_first_loss_is_log_k(embeddings):
    value = LinearHead(4, 5, seed=3).loss(embeddings, LABELS, 0).numpy()
    np.testing.assert_allclose(value[LABELS >= 0], np.log(4), atol=0.1)


def test_variables_and_logits(embeddings):
    assert len(LinearHead(4, 5).trainable_variables) == 2 and LinearHead.local == ()
    bare = LinearHead(4, 5, bias=False)
    assert [variable.shape.as_list() for variable in bare.trainable_variables] == [[4, 5]]
    np.testing.assert_allclose(bare.logits(embeddings), embeddings @ bare.weights.numpy().T, atol=1e-7)


def test_the_logits_are_the_same_in_training(embeddings, head):
    np.testing.assert_array_equal(head.logits(embeddings, training=True), head.logits(embeddings))
    values = tf.nn.sparse_softmax_cross_entropy_with_logits(np.abs(LABELS), head.logits(embeddings, training=True))
    np.testing.assert_allclose(head.loss(embeddings, LABELS, 0), np.where(LABELS < 0, 0, values), atol=1e-12)
