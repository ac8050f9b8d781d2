import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfrecords.augment.affine import AffineAugment

BLOB = np.zeros((1, 41, 41, 1), np.float32)
BLOB[0, 18:23, 28:33] = 1.0          # right of the centre (20, 20)


def centre(image):
    return np.array(ndimage.center_of_mass(image[0, :, :, 0]))


def many(**words):
    method = AffineAugment(keep=0.0, fill="zero", **words)
    return [method(tf.constant(BLOB), tf.constant([seed, 7])).numpy() for seed in range(60)]


def test_rotation_turns_about_the_centre_within_its_range():
    angles = [np.arctan2(*(centre(image) - 20)) for image in many(rotate=0.5)]
    radii = [np.linalg.norm(centre(image) - 20) for image in many(rotate=0.5)]
    assert max(np.abs(angles)) <= 0.51 and max(angles) > 0.35 and min(angles) < -0.35
    np.testing.assert_allclose(radii, 10, atol=0.2)


def test_a_rectangle_is_turned_not_sheared():
    tall = np.zeros((1, 61, 31, 1), np.float32)
    tall[0, 18:23, 13:18] = 1.0         # 10 above the centre (30, 15)
    method = AffineAugment(rotate=1.0, keep=0.0, fill="zero")
    away = np.array([centre(method(tf.constant(tall), tf.constant([seed, 7])).numpy()) - [30, 15]
                     for seed in range(40)])
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 10, atol=0.2)
    assert np.abs(away[:, 1]).max() > 7


def test_zoom_moves_points_radially_within_its_range():
    radii = np.array([centre(image)[1] - 20 for image in many(scale=0.25)])
    assert radii.min() >= 7.9 and radii.max() <= 12.6 and radii.min() < 8.8 and radii.max() > 11.5


def test_shift_is_a_share_of_the_side():
    moved = np.array([centre(image) - [20, 30] for image in many(shift=0.1)])
    assert np.abs(moved).max() <= 4.2 and np.abs(moved).max() > 3
    wide, method = np.zeros((1, 41, 81, 1), np.float32), AffineAugment(keep=0.0, fill="zero", shift=0.1)
    wide[0, 18:23, 38:43] = 1.0
    moved = np.abs([centre(method(tf.constant(wide), tf.constant([seed, 7])).numpy()) - [20, 40] for seed in range(60)])
    assert 3 < moved[:, 0].max() <= 4.2 and 6 < moved[:, 1].max() <= 8.2


def test_a_share_stays_sharp():
    images = tf.random.stateless_uniform([500, 6, 6, 1], [0, 1])
    out = AffineAugment(rotate=0.3, keep=0.3)(images, tf.constant([0, 0])).numpy()
    assert 0.24 < (out == images.numpy()).all((1, 2, 3)).mean() < 0.36


def test_ranges_may_be_integers():
    AffineAugment(scale=1)(tf.constant(BLOB), tf.constant([0, 0]))


def test_refusals():
    with pytest.raises(ValueError, match="ranges >= 0"):
        AffineAugment(rotate=-1)
    with pytest.raises(ValueError, match="`fill` is 'wrap'"):
        AffineAugment(fill="wrap")
