import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.pixel.l1 import L1Loss

IMAGE, TARGET = np.random.default_rng(0).random([2, 3, 5, 4, 2])


def test_equals_the_loop():
    naive = [sum(abs(x - t) for x, t in zip(image.ravel(), target.ravel())) / 40
             for image, target in zip(IMAGE, TARGET)]
    np.testing.assert_allclose(L1Loss()(IMAGE, TARGET), naive, atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    image = np.array([[[[0.0], [1.0]]], [[[0.5], [0.5]]]])
    np.testing.assert_allclose(L1Loss()(image, np.array([[[[1.0], [0.5]]], [[[0.5], [0.5]]]])), [0.75, 0], atol=1e-12)


def test_the_two_may_change_places_and_brightness_plays_no_part():
    value = L1Loss()(IMAGE, TARGET)
    np.testing.assert_array_equal(L1Loss()(TARGET, IMAGE), value)
    np.testing.assert_allclose(L1Loss()(IMAGE + 0.5, TARGET + 0.5), value, atol=1e-12)
    np.testing.assert_allclose(L1Loss()(IMAGE[:, ::-1, ::-1], TARGET[:, ::-1, ::-1]), value, atol=1e-12)


def test_every_pixel_pulls_alike():
    """An outlier's slope is that of a small error: the sign alone, and none where they agree."""
    image = tf.constant([[[[0.9], [0.51], [0.5], [0.1]]]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = L1Loss()(image, tf.fill([1, 1, 4, 1], tf.constant(0.5, tf.float64)))
    np.testing.assert_allclose(np.ravel(tape.gradient(value, image)), [0.25, 0.25, 0, -0.25], atol=1e-12)


@pytest.mark.parametrize("target", [TARGET[..., :1], TARGET[:1], TARGET[:, :4], TARGET[0]])
def test_images_that_would_broadcast_are_refused(target):
    with pytest.raises(ValueError, match=r"`image` has shape \(3, 5, 4, 2\) and `target` \("):
        L1Loss()(IMAGE, target)


def test_the_target_takes_the_dtype_of_the_image():
    for image, target in ((np.float32, np.float64), (np.float64, np.float32), (np.float16, np.float32)):
        value = L1Loss()(IMAGE.astype(image), TARGET.astype(target))
        assert value.dtype == (np.float64 if image == np.float64 else np.float32)
        np.testing.assert_allclose(value, L1Loss()(IMAGE, TARGET), atol=1e-3)
