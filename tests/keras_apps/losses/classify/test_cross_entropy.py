import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.classify.cross_entropy import CrossEntropyLoss

LOGITS = 2 * np.random.default_rng(0).normal(size=[7, 4])
LABELS = np.array([0, 3, -1, 2, 1, 1, 0])
SHARES = np.random.default_rng(1).dirichlet(np.ones(4), size=7)


def naive(logits, target, smoothing=0.0):
    values = []
    for z, t in zip(logits, target):
        t = np.eye(4)[t] * (t >= 0) if np.ndim(t) == 0 else t
        p = np.exp(z) / sum(np.exp(z))
        mixed = [(1 - smoothing) * t[j] + smoothing / 4 * sum(t) for j in range(4)]
        values.append(-sum(mixed[j] * np.log(p[j]) for j in range(4)))
    return np.array(values)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_equals_the_loop(target, smoothing):
    wanted = naive(LOGITS, target, smoothing)
    np.testing.assert_allclose(CrossEntropyLoss(smoothing)(LOGITS, target), wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("target", [LABELS, SHARES], ids=["labels", "shares"])
def test_equals_keras(target):
    known = np.ones(7, bool) if target is SHARES else LABELS >= 0
    theirs = tf.keras.losses.categorical_crossentropy if target is SHARES else (
        tf.keras.losses.sparse_categorical_crossentropy)
    wanted = theirs(target[known], LOGITS[known], from_logits=True)
    np.testing.assert_allclose(CrossEntropyLoss()(LOGITS, target).numpy()[known], wanted, atol=1e-9)


def test_the_gradient_is_answer_minus_target():
    logits = tf.constant(LOGITS)
    for smoothing in (0.0, 0.3):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = CrossEntropyLoss(smoothing)(logits, SHARES)
        wanted = tf.nn.softmax(logits) - (1 - smoothing) * SHARES - smoothing / 4
        np.testing.assert_allclose(tape.gradient(value, logits), wanted, atol=1e-9)


def test_a_smoothed_loss_is_least_at_its_target_and_not_at_certainty():
    loss, target = CrossEntropyLoss(0.3), np.array([0.8, 0.1, 0.1])
    least = float(loss(np.log(target)[None], [0])[0])
    assert least == pytest.approx(-np.sum(target * np.log(target)), abs=1e-9)
    for other in ([0.99, 0.005, 0.005], [0.7, 0.15, 0.15], [0.8, 0.15, 0.05]):
        assert float(loss(np.log([other]), [0])[0]) > least + 1e-3


def test_smoothing_leaves_an_image_without_a_target_at_zero():
    assert not CrossEntropyLoss(0.5)(LOGITS[:2], [-1, -3]).numpy().any()
    assert not CrossEntropyLoss(0.5)(LOGITS, np.zeros([7, 4])).numpy().any()


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_a_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=rf"^`smoothing` is {smoothing} but must lie in \[0, 1\); use 0.1.$"):
        CrossEntropyLoss(smoothing)
