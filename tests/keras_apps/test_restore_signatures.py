"""What a served restorer takes: any number, size and kind of images, within bounds that are named."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.restore_signatures import MOST_AT_ONCE, MOST_IMAGES, RestoreSignatures
from tfrecords.decode import Decoder


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(0)
    return build("restorers", "edsr(width=4, blocks=1, rise=4)", channels=3, scales=(2, 4), aware=True)


def made(network, decoder=None, channels=3, scales=(2, 4)):
    return RestoreSignatures(network, decoder or Decoder(8, channels), channels, scales, scales[1], 1)


def png(height, width, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return tf.io.encode_png(pixels).numpy()


def test_colour_images_of_several_sizes_and_scales_are_answered_in_order(network):
    restore = made(network).restore
    answer = restore(tf.constant([png(5, 7), png(9, 4, 1), png(4, 4)]), tf.constant([2, 3, 4]))["image_bytes"]
    assert [tf.io.decode_png(one).shape.as_list() for one in answer] == [[10, 14, 3], [27, 12, 3], [16, 16, 3]]


@pytest.mark.parametrize("decoder", [
    Decoder(8, 3, dtype="uint16", low=0, high=65535),
    Decoder(8, 3, dtype="float32", raw=True, low=(0.0, -1.0, 5.0), high=(1.0, 2.0, 9.0)),
])
def test_images_that_no_eight_bits_hold_are_restored_as_numbers_alone(network, decoder):
    signatures = made(network, decoder)
    assert list(signatures.signatures()) == ["restore_tensor"]
    share = np.random.default_rng(0).random((2, 6, 5, 3)).astype(np.float32)
    images = share * (decoder.high - decoder.low) + decoder.low
    found = signatures.restore_tensor(tf.constant(images), tf.constant([2, 2]))["image_tensor"].numpy()
    wanted = np.clip(network(share, (12, 10), 2.0), 0, 1) * (decoder.high - decoder.low) + decoder.low
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * decoder.high.max())


def test_a_scale_of_0_is_the_models_own(network):
    answer = made(network).restore(tf.constant([png(5, 7)]), tf.constant([0]))["image_bytes"]
    assert tf.io.decode_png(answer[0]).shape == [20, 28, 3]
    numbers = made(network).restore_tensor(tf.zeros([1, 5, 7, 3]), tf.constant([0]))["image_tensor"]
    assert numbers.shape == [1, 20, 28, 3]


def test_no_images_give_no_images_and_no_numbers_are_refused(network):
    signatures = made(network)
    none = tf.constant([], tf.int32)
    assert signatures.restore(tf.constant([], tf.string), none)["image_bytes"].shape == [0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="`image_tensor` holds no image; send at least one"):
        signatures.restore_tensor(tf.zeros([0, 5, 5, 3]), none)


@pytest.mark.parametrize("scale", [-4, 1, 5, 2 ** 31 - 1, -2 ** 31])
def test_no_other_scale_gets_through(network, scale):
    for function, images in ((made(network).restore, tf.constant([png(8, 8)])),
                             (made(network).restore_tensor, tf.zeros([1, 8, 8, 3]))):
        with pytest.raises(tf.errors.InvalidArgumentError, match="but this model restores whole numbers from 2 to 4"):
            function(images, tf.constant([scale]))


def test_what_is_too_much_is_refused(network):
    signatures, small = made(network), png(4, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"at most {MOST_IMAGES} images"):
        signatures.restore(tf.constant([small] * (MOST_IMAGES + 1)), tf.constant([2] * (MOST_IMAGES + 1)))
    side = int((MOST_AT_ONCE / 16) ** 0.5) + 1
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"one request makes at most {MOST_AT_ONCE}"):
        signatures.restore_tensor(tf.zeros([1, side, side, 3]), tf.constant([4]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the bytes are no image of a known format"):
        signatures.restore(tf.constant([b"not an image"]), tf.constant([2]))


def test_a_model_of_one_scale_says_which(network):
    with pytest.raises(tf.errors.InvalidArgumentError, match="but this model restores 4 times as large"):
        made(network, scales=(4, 4)).restore(tf.constant([png(8, 8)]), tf.constant([2]))
