"""How small images come about."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.degradation import Degradation, low_size, rounded

SEED = tf.constant([1, 2])
IMAGES = np.random.default_rng(0).random((3, 24, 16, 3)).astype(np.float32)


def test_bicubic_is_the_fields_with_antialias_on_eight_bits():
    wanted = tf.image.resize(IMAGES, (6, 4), "bicubic", antialias=True)
    found = Degradation()(IMAGES, (6, 4)).numpy()
    np.testing.assert_allclose(found, np.rint(np.clip(wanted, 0, 1) * 255) / 255, atol=1e-6)
    np.testing.assert_allclose(found * 255, np.rint(found * 255), atol=1e-4)


def test_area_is_the_mean_of_the_pixels_that_are_covered():
    found = Degradation("area").reduce(IMAGES, (6, 4)).numpy()
    np.testing.assert_allclose(found, IMAGES.reshape(3, 6, 4, 4, 4, 3).mean(axis=(2, 4)), atol=1e-6)


@pytest.mark.parametrize("kind", ["bicubic", "area"])
def test_the_reduction_is_linear_and_lets_gradients_pass(kind):
    degradation, images = Degradation(kind), tf.constant(IMAGES[:1])
    one, two = (degradation.reduce(part, (6, 4)).numpy() for part in (images, images[:, ::-1]))
    both = degradation.reduce(2 * images - images[:, ::-1], (6, 4)).numpy()
    np.testing.assert_allclose(both, 2 * one - two, atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(degradation.reduce(images, (6, 4))[0, 2, 1])
    slope = tape.gradient(total, images).numpy()
    # Of a linear map the slope is its row: the pixel itself is their sum, but for what bicubic lends from afar.
    assert slope.sum() == pytest.approx(3.0, abs=0.05) and np.abs(slope[0, 8:12, 4:8]).sum() > 1


def test_blur_noise_and_jpeg_are_of_the_training_alone():
    degradation = Degradation("bicubic", ("blur(share=1.0, sigma=(2.0, 2.0))",),
                              ("degrade(factor=(1.0, 1.0), blur=(0.0, 0.0), noise=(0.1, 0.1), share=1.0)",
                               "jpeg(share=1.0, quality=(20, 20))"))
    plain = Degradation()(IMAGES, (12, 8)).numpy()
    np.testing.assert_array_equal(degradation(IMAGES, (12, 8)), plain)
    soiled = degradation(IMAGES, (12, 8), SEED).numpy()
    np.testing.assert_array_equal(soiled, degradation(IMAGES, (12, 8), SEED))
    assert np.abs(soiled - plain).mean() > 0.05
    assert not np.array_equal(soiled, degradation(IMAGES, (12, 8), SEED + 1))
    blurred = Degradation("bicubic", ("blur(share=1.0, sigma=(2.0, 2.0))",))(IMAGES, (12, 8), SEED).numpy()
    assert blurred.std() < 0.7 * plain.std()


def test_works_in_a_graph_without_a_known_number_of_images():
    degradation = Degradation("area")
    graph = tf.function(lambda images: degradation(images, (6, 4)), autograph=False,
                        input_signature=[tf.TensorSpec([None, 24, 16, 3])])
    np.testing.assert_allclose(graph(IMAGES), degradation(IMAGES, (6, 4)), atol=1e-6)
    assert graph(IMAGES).shape == [3, 6, 4, 3]


def test_sizes_of_small_images():
    assert low_size((112, 92), 4) == (28, 23) and low_size((112, 92), 8) == (14, 12) and low_size((3, 3), 8) == (1, 1)


def test_rounding_clips():
    np.testing.assert_allclose(rounded([-0.2, 0.5, 1.3]), [0, 128 / 255, 1], atol=1e-7)


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="`reduction` is 'nearest' but must be one of bicubic, area"):
        Degradation("nearest")
