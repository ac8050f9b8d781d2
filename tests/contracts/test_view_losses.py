"""Every loss of views in the folder: (views [b, V, D], labels or None) -> one value an image.

Where not every loss can promise the same, a loss is held to what its own docstring says.
"""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, method_class, methods

NAMES = methods("losses/views")
LABELS = np.array([0, 0, 1, -1, 2, 1])
VIEWS = np.random.default_rng(0).normal(size=[6, 3, 5])


def says(name, phrase):
    """Whether the loss's docstring holds the phrase."""
    return phrase in " ".join(method_class("losses/views", name).__doc__.split())


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def make(name):
    return build("losses/views", name, classes=3, dimension=5, seed=1)


@pytest.fixture(params=[2, 3])
def views(request):
    return VIEWS[:, :request.param]


def value_and_gradient(loss, views, labels=None, weights=1.0):
    """[b] values; the gradient of their weighted sum."""
    views = tf.convert_to_tensor(views)
    with tf.GradientTape() as tape:
        tape.watch(views)
        value = loss(views, labels)
        total = tf.reduce_sum(value * weights)
    return value, tf.convert_to_tensor(tape.gradient(total, views))


def test_one_value_an_image_in_float32_or_wider(name, views):
    for dtype, wanted in ((tf.float16, tf.float32), (tf.bfloat16, tf.float32), (tf.float32, tf.float32),
                          (tf.float64, tf.float64)):
        narrow = tf.cast(views, dtype)
        value = make(name)(narrow, LABELS)
        assert value.shape == [6] and value.dtype == wanted and value.numpy().any()
        np.testing.assert_array_equal(value, make(name)(tf.cast(narrow, wanted), LABELS))


def test_graph_of_unknown_batch_size_equals_eager(name, views):
    loss = make(name)

    @tf.function(input_signature=[tf.TensorSpec([None, *views.shape[1:]], tf.float64), tf.TensorSpec([None], tf.int32)])
    def graph(views, labels):
        return value_and_gradient(loss, views, labels)

    for size in (6, 4):
        part, labels = views[:size], LABELS[:size].astype(np.int32)
        for got, wanted in zip(graph(part, labels), value_and_gradient(make(name), part, labels)):
            np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_gradient_matches_central_differences(name, views):
    if says(name, "carry no gradient"):
        pytest.skip("its gradient is not meant to be that of its value")
    step, generator = 1e-6, np.random.default_rng(6)
    weights = generator.normal(size=6)      # every image counts with a weight of its own
    _, gradient = value_and_gradient(make(name), views, LABELS, weights)
    for _ in range(3):
        way = generator.normal(size=views.shape)
        rise = make(name)(views + step * way, LABELS) - make(name)(views - step * way, LABELS)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * weights) / (2 * step), atol=1e-6)


def test_order_of_images_plays_no_part(name, views):
    value, order = make(name)(views, LABELS).numpy(), np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(make(name)(views[order], LABELS[order]), value[order], atol=1e-12)


def test_labels_are_needed_only_where_they_play_a_part(name, views):
    if says(name, "labels play no part"):
        value = make(name)(views)
        for labels in (None, LABELS, LABELS[::-1].copy()):
            np.testing.assert_array_equal(make(name)(views, labels), value)
    else:
        value = make(name)(views, LABELS).numpy()
        np.testing.assert_allclose(make(name)(views, np.where(LABELS < 0, -1, 9 - LABELS)), value, atol=1e-12)


def test_length_plays_no_part_where_it_is_taken_off(name, views):
    if not says(name, "(normalised here)"):
        pytest.skip("it is part of what the loss compares")
    longer = views * np.random.default_rng(2).uniform(0.1, 10, size=[6, views.shape[1], 1])
    np.testing.assert_allclose(make(name)(longer, LABELS), make(name)(views, LABELS), atol=1e-12)


def test_equal_zero_and_huge_views_stay_finite(name, views):
    for batch in (0 * views, 0 * views + 0.3, views[:1] + 0 * views, 1e-30 * views, 4e15 * views, views[:1]):
        value, gradient = value_and_gradient(make(name), batch.astype(np.float32))
        assert np.isfinite(value).all() and np.isfinite(gradient).all()
        assert not says(name, "Returns: [b], >= 0") or (value.numpy() >= -1e-6).all()


def test_nearer_views_of_an_image_have_a_smaller_loss(name, views):
    generator = np.random.default_rng(3)
    images, noise = np.eye(8)[:, None], generator.normal(size=[8, views.shape[1], 8])
    loss = build("losses/views", name, classes=3, dimension=8, seed=1)
    good, fair, bad = (np.mean(loss(images + spread * noise)) for spread in (0.05, 0.5, 5))
    assert good < fair < bad


@pytest.mark.parametrize("wrong", [VIEWS[:, 0], VIEWS[:, :1]])
def test_a_single_view_is_refused(name, wrong):
    with pytest.raises(ValueError, match=r"`views` has shape \(6, .*at least 2 views"):
        make(name)(wrong)
