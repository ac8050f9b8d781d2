import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.grey import GreyAugment


def test_a_share_becomes_its_luma_and_the_rest_stays():
    images = np.random.default_rng(0).random((500, 4, 5, 3)).astype(np.float32)
    images[0] = 1.0
    out = GreyAugment(0.3)(tf.constant(images), tf.constant([1, 1])).numpy()
    changed = (out != images).any((1, 2, 3))
    assert 110 < changed.sum() < 190 and out.max() <= 1
    luma = images @ np.float32([0.299, 0.587, 0.114])
    np.testing.assert_allclose(out[changed], np.repeat(luma[changed][..., None], 3, axis=-1), atol=1e-6)


def test_refusal():
    with pytest.raises(ValueError, match="`share` is -1"):
        GreyAugment(-1)
