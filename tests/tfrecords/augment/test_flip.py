import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.flip import FlipAugment


def test_about_half_are_exact_mirrors():
    images = tf.random.stateless_uniform([400, 4, 5, 1], [0, 1])
    out = FlipAugment()(images, tf.constant([1, 1])).numpy()
    mirrored = (out == images.numpy()[:, :, ::-1]).all((1, 2, 3))
    kept = (out == images.numpy()).all((1, 2, 3))
    assert (mirrored | kept).all() and 160 < mirrored.sum() < 240


def test_refusal():
    with pytest.raises(ValueError, match="`share` is 2"):
        FlipAugment(share=2)


def test_all_mirrored_at_share_one():
    images = tf.random.stateless_uniform([3, 4, 5, 1], [0, 1])
    np.testing.assert_array_equal(FlipAugment(1)(images, tf.constant([1, 1])), images[:, :, ::-1])
