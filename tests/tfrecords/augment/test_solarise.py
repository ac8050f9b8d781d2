import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.solarise import SolariseAugment


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_pixels_from_the_threshold_on_are_inverted_in_a_share(threshold):
    images = np.random.default_rng(0).random((300, 5, 4, 3)).astype(np.float32)
    images[:, 0, 0] = np.float32(threshold)
    out = SolariseAugment(0.4, threshold)(tf.constant(images), tf.constant([1, 2])).numpy()
    expected = np.where(images >= np.float32(threshold), 1 - images, images)
    hit = (np.abs(out - expected) < 1e-6).all((1, 2, 3))
    kept = (out == images).all((1, 2, 3))
    assert (hit | kept).all() and 90 < (~kept).sum() < 150


def test_refusals():
    with pytest.raises(ValueError, match="both in"):
        SolariseAugment(share=2)
    with pytest.raises(ValueError, match="both in"):
        SolariseAugment(threshold=-0.1)
