import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment._colour import LUMA, colour_matrices
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


IMAGES = np.random.default_rng(0).uniform(0.4, 0.6, (300, 6, 5, 3)).astype(np.float32)


def jittered(**words):
    return JitterAugment(**{"brightness": 0, "contrast": 0, **words})(tf.constant(IMAGES), tf.constant([1, 2])).numpy()


@pytest.mark.parametrize("law, low, high", [("log", 1 / 1.5, 1.5), ("linear", 0.5, 1.5)])
def test_saturation_scales_the_distance_from_the_luma(law, low, high):
    out = jittered(saturation=0.5, law=law)
    grey, before = out @ np.float32(LUMA), IMAGES @ np.float32(LUMA)
    np.testing.assert_allclose(grey, before, atol=1e-6)
    factors = (out - grey[..., None]).std((1, 2, 3)) / (IMAGES - before[..., None]).std((1, 2, 3))
    np.testing.assert_allclose(out, before[..., None] + factors[:, None, None, None] * (IMAGES - before[..., None]),
                               atol=1e-5)
    assert low - 0.01 < factors.min() < low + 0.05 and high - 0.05 < factors.max() < high + 0.01


def test_hue_turns_about_the_grey_axis_within_its_range():
    out = jittered(hue=0.25)
    np.testing.assert_allclose(out.mean(-1), IMAGES.mean(-1), atol=1e-6)
    one, two = (pixels - pixels.mean(-1, keepdims=True) for pixels in (IMAGES, out))
    np.testing.assert_allclose(np.linalg.norm(one, axis=-1), np.linalg.norm(two, axis=-1), atol=1e-5)
    cosine = np.sum(one * two, -1) / np.maximum(np.sum(one * one, -1), 1e-6)
    angles = np.arccos(np.clip(cosine[:, 2, 2], -1, 1))
    assert 1.4 < angles.max() < np.pi / 2 + 0.01 and angles.min() < 0.1
    sides = np.sign(np.linalg.det(np.stack([np.ones_like(one), one, two], axis=-1))[:, 2, 2])
    assert 100 < (sides > 0).sum() < 200, "both ways"


def test_the_matrix_keeps_greys_and_a_full_turn_is_none():
    matrices = colour_matrices(tf.constant([0.0, 0.4, 1.0, 1.7]), tf.constant([0.0, 1.0, 2.0, -3.0])).numpy()
    np.testing.assert_allclose(matrices @ np.full(3, 0.37, np.float32), 0.37, atol=1e-6)
    np.testing.assert_allclose(colour_matrices(tf.ones(1), tf.constant([2 * np.pi]))[0], np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(colour_matrices(tf.ones(1), tf.zeros(1))[0], np.eye(3))
    third = colour_matrices(tf.ones(1), tf.constant([2 * np.pi / 3]))[0]
    np.testing.assert_allclose(third @ np.float32([1, 0, 0])[:, None], [[0], [1], [0]], atol=1e-6)   # red -> green


def test_the_linear_law_has_factors():
    out = jittered(brightness=0.3, law="linear") / IMAGES
    np.testing.assert_allclose(out.std((1, 2, 3)), 0, atol=1e-5)
    assert 0.699 < out.min() < 0.73 and 1.27 < out.max() < 1.301 and abs(out.mean() - 1) < 0.03
    both = jittered(brightness=0.3, contrast=0.4, law="linear")
    gain = both.std((1, 2, 3)) / IMAGES.std((1, 2, 3))
    bright = both.mean((1, 2, 3)) / IMAGES.mean((1, 2, 3))
    assert 0.59 < (gain / bright).min() < 0.65 and 1.35 < (gain / bright).max() < 1.41


def test_colour_and_the_rest_in_one_pass_equal_one_after_the_other():
    """Contrast and brightness as without colour, of the image that colour alone gives."""
    words = {"brightness": 0.05, "contrast": 0.2}
    whole = jittered(saturation=0.4, hue=0.1, **words)
    coloured = jittered(saturation=0.4, hue=0.1)
    rest = JitterAugment(**words)(tf.constant(coloured), tf.constant([1, 2])).numpy()
    # Saturation and hue move the mean of the channels, which contrast keeps, by a little.
    np.testing.assert_allclose(whole, rest, atol=0.01)
    np.testing.assert_allclose(whole - whole.mean((1, 2, 3), keepdims=True),
                               rest - rest.mean((1, 2, 3), keepdims=True), atol=1e-5)


def test_a_share_is_left_alone():
    kept = (jittered(brightness=0.2, saturation=0.2, share=0.7) == IMAGES).all((1, 2, 3)).mean()
    assert 0.22 < kept < 0.38
    kept = (jittered(brightness=0.2, share=0.7) == IMAGES).all((1, 2, 3)).mean()
    assert 0.22 < kept < 0.38


def test_colour_is_for_three_channels():
    for channels in (1, 5):
        images = tf.random.stateless_uniform([4, 3, 3, channels], [0, 1])
        out = JitterAugment(0, 0, saturation=0.5, hue=0.5)(images, tf.constant([1, 2]))
        np.testing.assert_array_equal(out, images)


@pytest.mark.parametrize("words, told", [
    ({"contrast": -0.1}, "ranges >= 0"), ({"hue": 0.6}, "hue in"), ({"law": "cubic"}, "`law` is 'cubic'"),
    ({"law": "linear", "saturation": 1.5}, "linear law"), ({"share": 2}, "`share` is 2")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        JitterAugment(**words)
