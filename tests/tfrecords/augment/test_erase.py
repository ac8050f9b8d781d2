import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.erase import EraseAugment


def test_one_rectangle_of_the_mean_no_larger_than_asked():
    images = tf.random.stateless_uniform([300, 20, 20, 3], [0, 1])
    out = EraseAugment(share=0.5, area=0.25)(images, tf.constant([4, 4])).numpy()
    changed = (out != images.numpy()).any(-1)
    hit = changed.any((1, 2))
    assert 120 < hit.sum() < 180
    for i in np.flatnonzero(hit):
        ys, xs = np.nonzero(changed[i])
        area = (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
        assert changed[i].sum() == area <= 11 * 11
        np.testing.assert_allclose(out[i][changed[i]], np.tile(images.numpy()[i].mean((0, 1)), (area, 1)), atol=1e-6)


def test_of_a_rectangle_each_side_is_a_share_of_the_images_side():
    images = tf.random.stateless_uniform([200, 40, 20, 1], [0, 1])
    changed = (EraseAugment(share=1, area=0.25)(images, tf.constant([4, 4])).numpy() != images.numpy())[..., 0]
    heights, widths = changed.any(2).sum(1), changed.any(1).sum(1)
    assert 9 <= heights.min() < 12 and 18 < heights.max() <= 21 and 4 <= widths.min() < 7 and 9 < widths.max() <= 11


def test_refusal():
    with pytest.raises(ValueError, match="area in"):
        EraseAugment(area=0)
