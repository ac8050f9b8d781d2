import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.pixel.ssim import SsimLoss

IMAGE, TARGET = np.random.default_rng(0).random([2, 2, 13, 12, 2])
TARGET = (IMAGE + TARGET) / 2       # else the means alone agree


def naive(image, target, window=11, sigma=1.5):
    """One image; every window by itself, moments from differences to the mean."""
    height, width, channels = image.shape
    window = min(window, (min(height, width) - 1) // 2 * 2 + 1)
    weights = np.array([[math.exp(-((i - window // 2) ** 2 + (j - window // 2) ** 2) / (2 * sigma**2))
                         for j in range(window)] for i in range(window)])
    weights /= weights.sum()
    values = []
    for top in range(height - window + 1):
        for left in range(width - window + 1):
            for channel in range(channels):
                x, t = (one[top:top + window, left:left + window, channel] for one in (image, target))
                mean_x, mean_t = (weights * x).sum(), (weights * t).sum()
                var_x, var_t = (weights * (x - mean_x) ** 2).sum(), (weights * (t - mean_t) ** 2).sum()
                covariance = (weights * (x - mean_x) * (t - mean_t)).sum()
                values.append((2 * mean_x * mean_t + 1e-4) * (2 * covariance + 9e-4)
                              / ((mean_x**2 + mean_t**2 + 1e-4) * (var_x + var_t + 9e-4)))
    return 1 - np.mean(values)


def slope(loss, image, target):
    image = tf.convert_to_tensor(image)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = loss(image, target)
    return value.numpy(), tape.gradient(value, image).numpy()


@pytest.mark.parametrize("words", [{}, {"window": 7}, {"window": 3, "sigma": 0.5}, {"window": 1}, {"sigma": 100}])
def test_equals_the_loop(words):
    wanted = [naive(image, target, **words) for image, target in zip(IMAGE, TARGET)]
    np.testing.assert_allclose(SsimLoss(**words)(IMAGE, TARGET), wanted, atol=1e-9, rtol=0)
    assert min(wanted) > 0.01


@pytest.mark.parametrize("size, side", [((10, 12), 9), ((4, 9), 3), ((3, 2), 1), ((1, 1), 1), ((11, 11), 11)])
def test_a_small_image_has_the_largest_odd_window_that_fits(size, side):
    image, target = (images[:, :size[0], :size[1]] for images in (IMAGE, TARGET))
    value = SsimLoss()(image, target)
    np.testing.assert_allclose(value, [naive(x, t) for x, t in zip(image, target)], atol=1e-9, rtol=0)
    np.testing.assert_array_equal(value, SsimLoss(window=side)(image, target))


def test_equals_tensorflows_own():
    for channels in (1, 3):
        image = np.random.default_rng(channels).random([3, 20, 17, channels], np.float32)
        target = np.clip(image + np.random.default_rng(9).normal(0, 0.2, image.shape), 0, 1).astype(np.float32)
        np.testing.assert_allclose(SsimLoss()(image, target), 1 - tf.image.ssim(image, target, 1.0), atol=1e-5)


def test_points_placed_by_hand():
    # Flat images differ in brightness alone: 1 - (2 * 0.5 * 1 + C1) / (0.25 + 1 + C1).
    flat = np.full([1, 12, 12, 1], 0.5)
    np.testing.assert_allclose(SsimLoss()(flat, 2 * flat), [1 - 1.0001 / 1.2501], atol=1e-9)
    # A board of 4 white and 5 black places against its negative, in one window of equal weights: s = 4/9 * 5/9.
    board = np.indices([3, 3]).sum(0)[None, :, :, None] % 2 * 1.0
    value = SsimLoss(window=3, sigma=1e6)(board, 1 - board)
    assert 1 < value < 2
    mean, s = 4 / 9, 20 / 81
    brightness = (2 * mean * (1 - mean) + 1e-4) / (mean**2 + (1 - mean) ** 2 + 1e-4)
    np.testing.assert_allclose(value, [1 - brightness * (9e-4 - 2 * s) / (9e-4 + 2 * s)], atol=1e-9)


def test_the_two_may_change_places_and_turn_together():
    value = SsimLoss()(IMAGE, TARGET)
    np.testing.assert_allclose(SsimLoss()(TARGET, IMAGE), value, atol=1e-12)
    for turned in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x[..., ::-1],
                   lambda x: np.swapaxes(x, 1, 2)):
        np.testing.assert_allclose(SsimLoss()(turned(IMAGE), turned(TARGET)), value, atol=1e-12)


def test_a_shift_in_brightness_costs_less_than_noise_of_the_same_size():
    image = 0.25 + IMAGE / 2
    noise = 0.1 * np.sign(np.random.default_rng(1).normal(size=image.shape))
    assert (SsimLoss()(image + 0.1, image).numpy() < SsimLoss()(image + noise, image).numpy() / 2).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_images_have_finite_slopes(dtype):
    for level, other in ((0, 0), (0, 1), (1, 1), (0.3, 0.3), (0.3, 0.7)):
        image, target = (np.full([1, 12, 12, 1], value, dtype) for value in (level, other))
        value, gradient = slope(SsimLoss(), image, target)
        assert 0 <= value[0] < 1 and np.isfinite(gradient).all()
        if level == other:
            assert value[0] == 0 and not gradient.any()
        else:
            assert (gradient < 0).all(), "brighter is nearer"
    value, gradient = slope(SsimLoss(), np.full([1, 12, 12, 1], 0.3, dtype), IMAGE[:1, :12, :, :1].astype(dtype))
    assert np.isfinite(gradient).all() and gradient.any()


def test_small_errors_keep_their_digits_in_float32():
    target = IMAGE.astype(np.float32)
    image = target + np.float32(1e-4) * (TARGET - IMAGE).astype(np.float32)
    wanted = SsimLoss()(image.astype(float), target.astype(float)).numpy()
    np.testing.assert_allclose(SsimLoss()(image, target), wanted, rtol=1e-3)
    assert (wanted < 1e-6).all()


def test_a_descent_on_the_pixels_restores_the_image():
    loss, image = SsimLoss(window=7), tf.Variable(np.full_like(TARGET, 0.5))
    values = []
    for _ in range(12):
        value, gradient = slope(loss, image, TARGET)
        image.assign_sub(3 * gradient)
        values.append(np.mean(value))
    assert values[-1] < 0.5 * values[0]


def test_sizes_may_be_unknown_until_the_call():
    graph = tf.function(SsimLoss(), input_signature=[tf.TensorSpec([None, None, None, 2], tf.float64)] * 2)
    for images, targets in ((IMAGE, TARGET), (IMAGE[:1, :6], TARGET[:1, :6])):
        np.testing.assert_allclose(graph(images, targets), SsimLoss()(images, targets), atol=1e-12)


@pytest.mark.parametrize("words, told", [
    ({"window": 10}, "`window` is 10 "), ({"window": 0}, "`window` is 0 "), ({"window": 2.5}, "`window` is 2.5 "),
    ({"window": -3}, "`window` is -3 "), ({"sigma": 0}, "`sigma` is 0 "), ({"sigma": -1.5}, "`sigma` is -1.5 "),
    ({"sigma": math.nan}, "`sigma` is nan "), ({"sigma": math.inf}, "`sigma` is inf "),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        SsimLoss(**words)


def test_images_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="`image` has shape"):
        SsimLoss()(IMAGE, TARGET[..., :1])
