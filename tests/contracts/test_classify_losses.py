"""Every classification loss in the folder: (logits, labels or shares) -> one value an image.

Where not every loss can promise the same, a loss is held to what its own docstring says.
"""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, method_class, methods

NAMES = methods("losses/classify")
CLASSES, COUNTS = 4, (9, 5, 2, 1)
LABELS = np.array([0, 3, 2, -1, 3, 1, -7, 0])
LOGITS = np.random.default_rng(0).normal(size=[8, CLASSES])
SHARES = np.random.default_rng(1).dirichlet(np.ones(CLASSES), size=8)
SHARES[[3, 6]] = 0
KNOWN = LABELS >= 0


def says(name, phrase):
    """Whether the loss's docstring holds the phrase."""
    return phrase in " ".join(method_class("losses/classify", name).__doc__.split())


def saying(phrase):
    found = [name for name in NAMES if says(name, phrase)]
    assert found, f"no loss says {phrase!r}"
    return found


@pytest.fixture(params=NAMES)
def loss(request):
    return build("losses/classify", request.param, classes=CLASSES, counts=COUNTS, seed=1)


@pytest.fixture(params=[LABELS, SHARES], ids=["labels", "shares"])
def target(request):
    return request.param


def value_and_gradient(loss, logits, target, weights=1.0):
    """[b] values; the gradient of their weighted sum."""
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits, target)
        total = tf.reduce_sum(value * weights)
    return value, tf.convert_to_tensor(tape.gradient(total, logits))


def test_one_value_an_image_in_float32_or_wider(loss, target):
    for dtype, wanted in ((tf.float16, tf.float32), (tf.bfloat16, tf.float32), (tf.float32, tf.float32),
                          (tf.float64, tf.float64)):
        logits = tf.cast(LOGITS, dtype)
        value = loss(logits, target)
        assert value.shape == [8] and value.dtype == wanted and (value.numpy() >= 0).all() and value.numpy().any()
        np.testing.assert_array_equal(value, loss(tf.cast(logits, wanted), target))


@pytest.mark.parametrize("kind, shape", [(tf.int32, [None]), (tf.int64, [None]), (tf.float32, [None, CLASSES])])
def test_graph_of_unknown_batch_size_equals_eager(loss, kind, shape):
    graph = tf.function(lambda *words: value_and_gradient(loss, *words),
                        input_signature=[tf.TensorSpec([None, CLASSES], tf.float64), tf.TensorSpec(shape, kind)])
    for size in (8, 1):
        words = LOGITS[:size], tf.cast((LABELS if len(shape) == 1 else SHARES)[:size], kind)
        for got, wanted in zip(graph(*words), value_and_gradient(loss, *words)):
            np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_gradient_matches_central_differences(loss, target):
    step, generator = 1e-6, np.random.default_rng(6)
    weights = generator.normal(size=8)      # every image counts with a weight of its own
    _, gradient = value_and_gradient(loss, LOGITS, target, weights)
    for _ in range(3):
        way = generator.normal(size=LOGITS.shape)
        rise = loss(LOGITS + step * way, target) - loss(LOGITS - step * way, target)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * weights) / (2 * step), atol=1e-6)


def test_a_label_is_the_share_that_is_all_its_own(loss):
    whole = np.eye(CLASSES)[np.maximum(LABELS, 0)] * KNOWN[:, None]
    value = loss(LOGITS, LABELS)
    for kind in (np.float64, np.float32, np.int32):
        np.testing.assert_allclose(loss(LOGITS, whole.astype(kind)), value, atol=1e-12)
    for kind in (np.int8, np.int64):
        np.testing.assert_array_equal(loss(LOGITS, LABELS.astype(kind)), value)


def test_images_count_one_by_one(loss, target):
    value, order = loss(LOGITS, target).numpy(), np.random.default_rng(2).permutation(8)
    np.testing.assert_allclose(loss(LOGITS[order], target[order]), value[order], atol=1e-12)
    np.testing.assert_allclose([loss(LOGITS[i:i + 1], target[i:i + 1])[0] for i in range(8)], value, atol=1e-12)


def test_without_a_target_value_and_gradient_are_exactly_zero(loss, target):
    for size in (1.0, 1e15):
        value, gradient = value_and_gradient(loss, (size * LOGITS).astype(np.float32), target)
        assert not value.numpy()[~KNOWN].any() and not gradient.numpy()[~KNOWN].any()
    assert loss(LOGITS, target).numpy()[KNOWN].all()


def test_equal_zero_and_huge_logits_stay_finite(loss, target):
    for logits in (0 * LOGITS, 0 * LOGITS + 0.3, 1e-30 * LOGITS, 1e3 * LOGITS, 4e15 * LOGITS, 1e30 * LOGITS):
        value, gradient = value_and_gradient(loss, logits.astype(np.float32), target)
        assert np.isfinite(value).all() and np.isfinite(gradient).all() and (value.numpy() >= 0).all()


@pytest.mark.parametrize("size", [20, 100, 1e4, 1e30])
def test_certainty_costs_nothing_where_right_and_moves_nothing(loss, size):
    labels = np.arange(CLASSES)
    value, gradient = value_and_gradient(loss, (size * np.eye(CLASSES)).astype(np.float32), labels)
    assert value.numpy().max() < 1e-6 and np.abs(gradient).max() < 1e-6
    wrong, gradient = value_and_gradient(loss, (size * np.eye(CLASSES)[::-1]).astype(np.float32), labels)
    assert wrong.numpy().min() > 1 and np.isfinite(wrong).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", saying("softmax"))
def test_what_all_logits_of_an_image_have_alike_plays_no_part(name, target):
    loss = build("losses/classify", name, classes=CLASSES, counts=COUNTS)
    np.testing.assert_allclose(loss(LOGITS + np.arange(8)[:, None], target), loss(LOGITS, target), atol=1e-12)


def test_better_logits_have_a_smaller_loss(loss):
    generator, labels = np.random.default_rng(3), np.arange(40) % CLASSES
    noise = generator.normal(size=[40, CLASSES])
    good, fair, bad = (np.mean(loss(3 * np.eye(CLASSES)[labels] + spread * noise, labels)) for spread in (0.05, 2, 20))
    assert good < fair < bad


@pytest.mark.parametrize("target", [LABELS[:, None], LABELS[:3], SHARES[:3], SHARES[:, :2], LABELS[0]])
def test_targets_that_would_broadcast_are_refused(loss, target):
    with pytest.raises(ValueError, match="`logits` has shape .* one target"):
        loss(LOGITS, target)


def test_labels_that_are_no_integers_are_refused(loss):
    with pytest.raises(ValueError, match="labels must be integers"):
        loss(LOGITS, LABELS.astype(np.float32))


@pytest.mark.parametrize("name", saying("counts: n, "))
@pytest.mark.parametrize("counts, told", [
    ((9, 5, 0, 1), "^`counts` of class 2 is 0 but must be above 0; "), ((9, 5, 2, -1), "`counts` of class 3 is -1 "),
    ((9, float("nan"), 2, 1), "`counts` of class 1 is nan "), ((3,), r"`counts` is \[3.0\] but must hold at least 2 ")])
def test_counts_that_are_none_are_refused(name, counts, told):
    with pytest.raises(ValueError, match=told):
        build("losses/classify", name, counts=counts)


@pytest.mark.parametrize("name", saying("counts: n, "))
def test_logits_of_other_classes_than_those_counted_are_refused(name):
    with pytest.raises(ValueError, match=r"`logits` has shape \(8, 4\) but `counts` holds 3 classes; "):
        build("losses/classify", name, counts=COUNTS[:3])(LOGITS, LABELS)
