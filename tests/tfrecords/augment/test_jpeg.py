import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment.jpeg import JpegAugment

IMAGES = tf.round(tf.random.stateless_uniform([120, 16, 16, 3], [0, 1]) * 255) / 255


def test_a_share_is_what_the_encoder_makes_of_it_and_the_rest_stays():
    out = JpegAugment(0.5, (40, 40))(IMAGES, tf.constant([1, 2])).numpy()
    kept = (out == IMAGES.numpy()).all((1, 2, 3))
    assert 40 < kept.sum() < 80
    for i in np.flatnonzero(~kept)[:10]:
        coded = tf.io.encode_jpeg(tf.cast(tf.round(IMAGES[i] * 255), tf.uint8), quality=40)
        np.testing.assert_allclose(out[i], tf.cast(tf.io.decode_jpeg(coded), tf.float32) / 255, atol=1e-6)


def test_quality_spreads_over_its_range():
    def error(*quality):
        same = tf.tile(0.1 * IMAGES[:1] + tf.linspace(0.1, 0.8, 16)[:, None], [60, 1, 1, 1])
        return np.abs(JpegAugment(1, quality)(same, tf.constant([1, 2])).numpy() - same.numpy()).mean((1, 2, 3))

    low, high, both = error(5, 5), error(95, 95), error(5, 95)
    assert low.min() > 1.5 * high.max() and both.min() < 1.3 * high.max() and both.max() > 0.8 * low.min()


def test_other_channels_are_compressed_one_by_one():
    images = tf.random.stateless_uniform([2, 8, 8, 5], [0, 1])
    out = JpegAugment(1, (60, 60))(images, tf.constant([1, 2]))
    alone = JpegAugment(1, (60, 60))(images[..., 3:4], tf.constant([1, 2]))
    np.testing.assert_array_equal(out[..., 3:4], alone)


@pytest.mark.parametrize("words, told", [({"share": -1}, "`share` is -1"), ({"quality": (0, 50)}, "`quality` is"),
                                         ({"quality": (90, 50)}, "`quality` is"),
                                         ({"quality": (9, 101)}, "`quality` is")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        JpegAugment(**words)
