import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.pixel.charbonnier import CharbonnierLoss
from keras_apps.losses.pixel.l1 import L1Loss

IMAGE, TARGET = np.random.default_rng(0).random([2, 3, 5, 4, 2])


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 0.1, 1])
def test_equals_the_loop(epsilon):
    naive = [sum(math.sqrt((x - t) ** 2 + epsilon**2) - epsilon for x, t in zip(image.ravel(), target.ravel())) / 40
             for image, target in zip(IMAGE, TARGET)]
    np.testing.assert_allclose(CharbonnierLoss(epsilon)(IMAGE, TARGET), naive, atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    # Errors of 3/4 and 0 at epsilon 1: sqrt(9/16 + 1) - 1 = 1/4, halved by the mean.
    image, target = np.array([[[[0.75], [0.2]]]]), np.array([[[[0.0], [0.2]]]])
    np.testing.assert_allclose(CharbonnierLoss(1.0)(image, target), [0.125], atol=1e-12)


def test_the_two_may_change_places_and_brightness_plays_no_part():
    loss = CharbonnierLoss()
    value = loss(IMAGE, TARGET)
    np.testing.assert_array_equal(loss(TARGET, IMAGE), value)
    np.testing.assert_allclose(loss(IMAGE + 0.5, TARGET + 0.5), value, atol=1e-12)
    np.testing.assert_allclose(loss(IMAGE[:, ::-1, ::-1], TARGET[:, ::-1, ::-1]), value, atol=1e-12)


def test_a_small_epsilon_is_l1_and_a_large_one_the_square():
    np.testing.assert_allclose(CharbonnierLoss(1e-6)(IMAGE, TARGET), L1Loss()(IMAGE, TARGET), atol=1e-6)
    near = TARGET + 1e-3 * (IMAGE - 0.5)
    np.testing.assert_allclose(CharbonnierLoss(1.0)(near, TARGET), np.square(near - TARGET).mean((1, 2, 3)) / 2,
                               rtol=1e-6)


def test_errors_far_below_epsilon_keep_their_digits_in_float32():
    image, target = np.full([1, 2, 2, 1], 1e-6, np.float32), np.zeros([1, 2, 2, 1], np.float32)
    np.testing.assert_allclose(CharbonnierLoss(1.0)(image, target), [5e-13], rtol=1e-5)


def test_the_slope_is_smooth_at_zero():
    """Of a pixel that is e away: e / sqrt(e^2 + epsilon^2)."""
    errors = np.array([-0.3, -1e-3, 0, 1e-6, 1e-3])
    image = tf.constant(errors[None, None, :, None])
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = CharbonnierLoss()(image, tf.zeros_like(image))
    np.testing.assert_allclose(np.ravel(tape.gradient(value, image)), errors / np.hypot(errors, 1e-3) / 5, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0, -1e-3, 1e-7, 1.5, math.nan, math.inf])
def test_a_wrong_epsilon_is_refused(epsilon):
    with pytest.raises(ValueError, match=f"`epsilon` is {epsilon} but must lie in"):
        CharbonnierLoss(epsilon)


def test_images_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="`image` has shape"):
        CharbonnierLoss()(IMAGE, TARGET[..., :1])
