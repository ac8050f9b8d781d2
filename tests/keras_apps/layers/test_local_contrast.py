import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.local_contrast import LocalContrastLayer

IMAGES = np.random.default_rng(0).random((2, 9, 7, 2)).astype(np.float32)


def test_parity_with_a_loop_borders_included():
    found = LocalContrastLayer(size=3, floor=0.1)(tf.constant(IMAGES, tf.float64)).numpy()
    x = IMAGES.astype(np.float64)
    for b, i, j, c in np.ndindex(x.shape):
        window = x[b, max(0, i - 1):i + 2, max(0, j - 1):j + 2, c]
        expected = 0.5 + (x[b, i, j, c] - window.mean()) / (4 * np.sqrt(window.var() + 0.01))
        assert found[b, i, j, c] == pytest.approx(expected, abs=1e-9)


def test_light_does_not_matter():
    layer = LocalContrastLayer(size=5, floor=1e-3)
    np.testing.assert_allclose(layer(IMAGES), layer(IMAGES * 0.5 + 0.3), atol=1e-3)


def test_a_flat_image_is_one_half():
    np.testing.assert_array_equal(LocalContrastLayer()(tf.fill([1, 12, 12, 1], 0.7)), np.full((1, 12, 12, 1), 0.5))


def test_refusals():
    with pytest.raises(ValueError, match="`size` is 4 but must be odd"):
        LocalContrastLayer(size=4)
    with pytest.raises(ValueError, match="`floor` is 0"):
        LocalContrastLayer(floor=0)
