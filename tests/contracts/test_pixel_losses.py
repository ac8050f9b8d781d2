"""Every pixel loss in the folder: image and target -> one value an image, small where they agree.

What a loss asks for beside its hyper-parameters, such as an encoder, it gets from `replicas.facts`.
"""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods
from tests.contracts.replicas import facts

# Larger than the window of every loss, and not square.
_DRAW = np.random.default_rng(0)
TARGET = _DRAW.random([4, 14, 16, 3])
IMAGE = 0.6 * TARGET + 0.4 * _DRAW.random(TARGET.shape)


@pytest.fixture(params=methods("losses/pixel"))
def loss(request):
    return build("losses/pixel", request.param, **facts("losses/pixel"))


def value_and_gradient(loss, image, target, weights=1.0):
    """[b] values; the gradient of their weighted sum at the image."""
    image = tf.convert_to_tensor(image)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = loss(image, target)
        total = tf.reduce_sum(value * weights)
    return value, tape.gradient(total, image)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_value_an_image_in_float32_or_wider(loss, channels):
    for dtype, wanted in ((tf.float16, tf.float32), (tf.bfloat16, tf.float32), (tf.float32, tf.float32),
                          (tf.float64, tf.float64)):
        image, target = (tf.cast(one[..., :channels], dtype) for one in (IMAGE, TARGET))
        value = loss(image, target)
        assert value.shape == [4] and value.dtype == wanted and (value.numpy() > 0).all()
        np.testing.assert_array_equal(value, loss(tf.cast(image, wanted), tf.cast(target, wanted)))


def test_graph_of_unknown_batch_size_equals_eager(loss):
    spec = tf.TensorSpec([None, *IMAGE.shape[1:]], tf.float64)
    graph = tf.function(lambda image, target: value_and_gradient(loss, image, target), input_signature=[spec, spec])
    for size in (4, 1):
        images = IMAGE[:size], TARGET[:size]
        for got, wanted in zip(graph(*images), value_and_gradient(loss, *images)):
            np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_images_count_one_by_one(loss):
    value, order = loss(IMAGE, TARGET).numpy(), np.array([2, 0, 3, 1])
    np.testing.assert_allclose(loss(IMAGE[order], TARGET[order]), value[order], atol=1e-12)
    np.testing.assert_allclose([loss(IMAGE[i:i + 1], TARGET[i:i + 1])[0] for i in range(4)], value, atol=1e-12)


def test_gradient_matches_central_differences(loss):
    step, generator = 1e-6, np.random.default_rng(6)
    shares = generator.normal(size=4)
    _, gradient = value_and_gradient(loss, IMAGE, TARGET, shares)
    for _ in range(3):
        way = generator.normal(size=IMAGE.shape)
        rise = loss(IMAGE + step * way, TARGET) - loss(IMAGE - step * way, TARGET)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * shares) / (2 * step), atol=1e-6)


def test_equal_images_cost_nothing_and_do_not_move(loss):
    for image in (TARGET, 0 * TARGET, 0 * TARGET + 1, 0 * TARGET + 0.3):
        for dtype in (np.float32, np.float64):
            value, gradient = value_and_gradient(loss, image.astype(dtype), image.astype(dtype))
            assert not value.numpy().any() and not gradient.numpy().any()


def test_flat_and_opposite_and_huge_images_stay_finite(loss):
    flat = np.full(TARGET.shape, 0.3)
    for image, target in ((flat, TARGET), (flat, 1 - flat), (TARGET, 1 - TARGET), (4e15 * IMAGE, 4e15 * TARGET)):
        value, gradient = value_and_gradient(loss, image.astype(np.float32), target.astype(np.float32))
        assert np.isfinite(value).all() and np.isfinite(gradient).all()
        # An encoder may be saturated by what is huge.
        assert (value.numpy() >= 0).all() and (value.numpy().all() or image.max() > 1)


def test_a_single_pixel_is_an_image(loss):
    image, target = IMAGE[:, :1, :1], TARGET[:, :1, :1]
    value, gradient = value_and_gradient(loss, image, target)
    assert value.shape == [4] and (value.numpy() >= 0).all() and np.isfinite(gradient).all()
    assert not loss(image, image).numpy().any()


def test_images_of_two_sizes_are_refused(loss):
    for target in (TARGET[..., :1], TARGET[:, :13], TARGET[:1], TARGET[0]):
        with pytest.raises(ValueError, match="`image` has shape"):
            loss(IMAGE, target)


def test_a_nearer_image_has_a_smaller_loss(loss):
    noise = np.random.default_rng(3).normal(size=TARGET.shape)
    values = np.array([loss(TARGET + spread * noise, TARGET) for spread in (0, 0.01, 0.05, 0.2, 0.5)])
    assert (np.diff(values, axis=0) > 0).all()
    blurred = (np.roll(TARGET, 1, axis=1) + TARGET + np.roll(TARGET, -1, axis=1)) / 3
    values = np.array([loss(TARGET + share * (blurred - TARGET), TARGET) for share in (0, 0.1, 0.3, 1)])
    assert (np.diff(values, axis=0) > 0).all()


def test_a_small_step_down_the_slope_lowers_the_loss(loss):
    value, gradient = value_and_gradient(loss, IMAGE, TARGET)
    length = tf.norm(tf.reshape(gradient, [4, -1]), axis=1)[:, None, None, None]
    assert (loss(IMAGE - 1e-3 * gradient / length, TARGET) < value).numpy().all()
