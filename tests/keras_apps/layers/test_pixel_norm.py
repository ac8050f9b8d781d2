import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.pixel_norm import PixelNormLayer

MAPS = np.random.default_rng(0).normal(size=[2, 3, 4, 5])


def naive(x, epsilon):
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        y[place] = x[place] / np.sqrt(sum(value ** 2 for value in x[place]) / x.shape[-1] + epsilon)
    return y


@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
def test_equals_the_loop_on_maps_and_on_vectors(epsilon):
    for x in (MAPS, MAPS[0, 0], 1e-5 * MAPS):
        np.testing.assert_allclose(PixelNormLayer(epsilon)(x), naive(x, epsilon), atol=1e-9, rtol=0)


def test_every_place_has_the_length_of_its_channels_whatever_it_had():
    y = PixelNormLayer()(MAPS).numpy()
    np.testing.assert_allclose(np.square(y).sum(-1), np.full([2, 3, 4], 5), atol=1e-6)
    stretch = np.random.default_rng(1).uniform(1, 9, size=[2, 3, 4, 1])
    np.testing.assert_allclose(PixelNormLayer()(stretch * MAPS), y, atol=1e-6)


def test_places_and_images_count_one_by_one():
    order = [1, 0]
    np.testing.assert_array_equal(PixelNormLayer()(MAPS[order, ::-1]), PixelNormLayer()(MAPS).numpy()[order, ::-1])


def test_gradient_matches_central_differences():
    generator, step, layer, x = np.random.default_rng(3), 1e-5, PixelNormLayer(), tf.constant(MAPS)
    shares = generator.normal(size=MAPS.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(shares * layer(x))
    gradient = tape.gradient(total, x)
    for _ in range(3):
        way = generator.normal(size=MAPS.shape)
        rise = np.sum(shares * (layer(MAPS + step * way) - layer(MAPS - step * way))) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * way), rise, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32])
def test_zero_and_huge_places_stay_finite_in_the_dtype_of_the_map(dtype):
    for value, wanted in ((0.0, 0.0), (3e4, 1.0), (-3e4, -1.0)):
        x = tf.fill([1, 2, 2, 4], tf.constant(value, dtype))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = PixelNormLayer()(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(tf.cast(y, tf.float32), np.full([1, 2, 2, 4], wanted), atol=1e-2)
        assert np.isfinite(tf.cast(tape.gradient(y, x), tf.float32)).all()


def test_no_variables_and_a_known_shape():
    layer = PixelNormLayer()
    assert layer(tf.keras.Input([9, 8, 4])).shape.as_list() == [None, 9, 8, 4] and not layer.variables


@pytest.mark.parametrize("epsilon", [0, -1e-8, float("nan")])
def test_wrong_settings_are_refused(epsilon):
    with pytest.raises(ValueError, match=f"^`epsilon` is {epsilon} but must be above 0; use 1e-8.$"):
        PixelNormLayer(epsilon)
