import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.jitter import JitterAugment


def test_brightness_shifts_and_contrast_scales_about_the_mean():
    images = tf.random.stateless_uniform([200, 8, 8, 1], [0, 1], 0.4, 0.6)
    bright = JitterAugment(brightness=0.1, contrast=0.0)(images, tf.constant([1, 2])).numpy()
    shift = (bright - images.numpy()).reshape(200, -1)
    np.testing.assert_allclose(shift.std(1), 0, atol=1e-6)
    assert np.abs(shift).max() <= 0.1001 and shift.max() > 0.08 and shift.min() < -0.08
    factor = (JitterAugment(brightness=0.0, contrast=0.5)(images, tf.constant([1, 2])).numpy().std((1, 2, 3))
              / images.numpy().std((1, 2, 3)))
    assert factor.min() >= 1 / 1.501 and factor.max() <= 1.501 and factor.max() > 1.3 and factor.min() < 0.75


def test_refusal():
    with pytest.raises(ValueError, match="ranges >= 0"):
        JitterAugment(contrast=-0.1)
