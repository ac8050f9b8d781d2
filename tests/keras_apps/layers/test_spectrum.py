import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.spectrum import SpectrumLayer

IMAGES = np.random.default_rng(0).random([3, 8, 6, 2])


def naive(x):
    y = np.zeros_like(x)
    for image, channel in np.ndindex(len(x), x.shape[-1]):
        strength = np.log(np.abs(np.fft.fftshift(np.fft.fft2(x[image, :, :, channel]))) + 1e-3)
        y[image, :, :, channel] = (strength - strength.mean()) / np.sqrt(strength.var() + 1e-6)
    return y


def test_equals_numpy_for_even_and_odd_sides():
    for x in (IMAGES, IMAGES[:, :7, :5], IMAGES[:, :1], IMAGES[..., :1]):
        np.testing.assert_allclose(SpectrumLayer()(x), naive(x), atol=1e-9, rtol=0)
        narrow = SpectrumLayer()(x.astype(np.float32))
        assert narrow.dtype == tf.float32
        np.testing.assert_allclose(narrow, naive(x), atol=1e-3)


def test_half_precision_is_computed_in_float32():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        layer = SpectrumLayer()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    x = IMAGES.astype(np.float32)
    np.testing.assert_array_equal(layer(x), SpectrumLayer()(x))
    half = x.astype(np.float16)
    np.testing.assert_array_equal(layer(half), SpectrumLayer()(half.astype(np.float32)))


def test_mean_zero_and_deviation_one_of_every_image_and_channel():
    y = SpectrumLayer()(IMAGES).numpy()
    np.testing.assert_allclose(y.mean((1, 2)), np.zeros([3, 2]), atol=1e-12)
    np.testing.assert_allclose(y.std((1, 2)), np.ones([3, 2]), atol=1e-5)


@pytest.mark.parametrize("shift", [(1, 0), (0, 2), (3, 5)])
def test_an_image_moved_in_a_circle_has_the_same_spectrum(shift):
    y = SpectrumLayer()(IMAGES)
    np.testing.assert_allclose(SpectrumLayer()(np.roll(IMAGES, shift, (1, 2))), y, atol=1e-9)
    assert np.abs(SpectrumLayer()(IMAGES[:, ::-1, :] ** 2) - y).max() > 0.1


def test_contrast_plays_almost_no_part_and_a_turn_by_half_none():
    y = SpectrumLayer()(IMAGES)
    np.testing.assert_allclose(SpectrumLayer()(0.5 * IMAGES), y, atol=0.02)
    np.testing.assert_allclose(SpectrumLayer()(IMAGES[:, ::-1, ::-1]), y, atol=1e-9)


def test_images_and_channels_count_one_by_one():
    y = SpectrumLayer()(IMAGES).numpy()
    np.testing.assert_allclose(SpectrumLayer()(IMAGES[::-1, :, :, ::-1]), y[::-1, :, :, ::-1], atol=1e-12)
    np.testing.assert_allclose(SpectrumLayer()(IMAGES[1:2]), y[1:2], atol=1e-12)


def test_the_lowest_frequency_lies_in_the_middle_and_waves_beside_it():
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    image = 5 + np.broadcast_to(wave, [16, 16])[None, :, :, None]
    y = SpectrumLayer()(image).numpy()[0, :, :, 0]
    assert y[8, 8] == y.max()
    assert {tuple(place) for place in np.argwhere(y > 0)} == {(8, 8), (8, 5), (8, 11)}


def test_images_enlarged_by_repeating_stand_out():
    small = np.random.default_rng(1).random([1, 8, 8, 1])
    y = SpectrumLayer()(small.repeat(2, 1).repeat(2, 2)).numpy()[0, :, :, 0]
    assert y[0].max() < -2 and y[:, 0].max() < -2, "nothing at the highest frequency"
    assert SpectrumLayer()(np.random.default_rng(1).random([1, 16, 16, 1])).numpy()[0, 0, :, 0].max() > -1


def test_gradient_matches_central_differences():
    generator, step, layer, x = np.random.default_rng(3), 1e-6, SpectrumLayer(), tf.constant(IMAGES)
    shares = generator.normal(size=IMAGES.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(shares * layer(x))
    gradient = tape.gradient(total, x)
    for _ in range(3):
        way = generator.normal(size=IMAGES.shape)
        rise = np.sum(shares * (layer(IMAGES + step * way) - layer(IMAGES - step * way))) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * way), rise, rtol=1e-6, atol=1e-6)


def test_empty_and_even_and_huge_images_stay_finite():
    for image in (np.zeros([1, 4, 4, 1]), np.full([1, 4, 4, 1], 0.7), 1e30 * IMAGES):
        x = tf.constant(image, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = SpectrumLayer()(x)
            total = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, [0, 0]))
        assert np.isfinite(y).all() and np.isfinite(tape.gradient(total, x)).all()
    assert not SpectrumLayer()(np.zeros([1, 4, 4, 1])).numpy().any()


def test_no_variables_and_a_graph_of_unknown_sizes():
    layer = SpectrumLayer()
    free = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 2], tf.float64)])
    np.testing.assert_allclose(free(IMAGES), naive(IMAGES), atol=1e-9)
    assert layer(tf.keras.Input([9, 8, 4])).shape.as_list() == [None, 9, 8, 4] and not layer.variables
