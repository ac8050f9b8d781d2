"""Restoring by windows: equal to the whole image, whatever its size; mirrored forms."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import tiles
from keras_apps.build import build
from keras_apps.enlarging import doublings


@pytest.fixture(scope="module")
def network():
    """A restorer of three scales whose weights are not those of a new one."""
    tf.keras.utils.set_random_seed(0)
    found = build("restorers", "edsr(width=4, blocks=1, rise=4)", channels=3, scales=(2, 4, 8), aware=True)
    random = np.random.default_rng(0)
    for variable in found.variables:
        variable.assign_add(random.normal(0, 0.1, variable.shape).astype(np.float32))
    return found


@tf.function(autograph=False, reduce_retracing=True)
def eight_bits(images):
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 1.0) * 255.0), tf.int32)


@pytest.mark.parametrize("scale, size", [(2, (5, 4)), (2, (60, 61)), (3, (20, 31)), (3, (64, 9)), (4, (41, 40)),
                                         (6, (30, 43)), (8, (24, 21))])
def test_the_windows_give_what_the_whole_image_gives(network, scale, size):
    image = np.random.default_rng(1).random((*size, 3)).astype(np.float32)
    times = doublings(scale)
    whole = eight_bits(network(image[None], [side * scale for side in size], float(scale)))[0].numpy()

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([], tf.int32)])
    def restored(image, scale):
        def windows(images):
            assert images.shape[0] == 1
            return network(images, tf.shape(images)[1:3] * scale, scale, times)
        return tiles.restore(image, scale, windows, network.reach, tile=20)
    found = restored(image, scale).numpy()
    assert found.shape == (size[0] * scale, size[1] * scale, 3) and found.dtype == np.uint8
    difference = np.abs(found.astype(int) - whole)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01, "float sums may round the other way"


def test_windows_too_small_for_the_network_would_leave_seams(network):
    image = np.random.default_rng(1).random((60, 60, 3)).astype(np.float32)

    def restored(reach):
        return tiles.restore(tf.constant(image), tf.constant(2), lambda images: network(
            images, tf.shape(images)[1:3] * 2, 2.0, 1), reach, tile=20).numpy().astype(int)
    assert np.abs(restored(0) - restored(network.reach)).max() > 1


def test_no_window_is_larger_than_a_tile_with_its_surroundings():
    seen = []

    def network(images):
        seen.append(images.shape[1:3])
        return tf.repeat(tf.repeat(images, 2, axis=1), 2, axis=2)
    image = np.random.default_rng(1).integers(0, 256, (70, 33, 1)).astype(np.float32) / 255
    found = tiles.restore(tf.constant(image), tf.constant(2), network, 3, tile=16).numpy()
    np.testing.assert_array_equal(found, np.rint(255 * image.repeat(2, 0).repeat(2, 1)))
    assert max(map(max, seen)) == 22 and len(seen) == 5 * 3


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_mirrored_forms_are_turned_back_before_the_mean(count):
    images = np.random.default_rng(0).random((2, 3, 5, 1)).astype(np.float32)

    def double(images):
        return tf.repeat(tf.repeat(images, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(tiles.flips(double, count)(images), double(images), atol=1e-6)


def test_as_many_different_forms_are_averaged_as_is_said():
    images = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    for count in (2, 4, 8):
        seen = set()
        tiles.flips(lambda images, seen=seen: seen.add(images.numpy().tobytes() + bytes(images.shape)) or images,
                    count)(tf.constant(images))
        assert len(seen) == count


def test_another_number_of_forms_is_refused():
    with pytest.raises(ValueError, match="`ensemble` is 3 but must be 1, 2, 4 or 8"):
        tiles.flips(None, 3)
