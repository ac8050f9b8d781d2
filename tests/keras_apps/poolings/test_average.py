import numpy as np
import tensorflow as tf

from keras_apps.poolings.average import AveragePooling


def test_equals_the_loop():
    image = np.random.default_rng(0).normal(size=[2, 3, 4, 5])
    wanted = np.zeros([2, 5])
    for b, h, w, d in np.ndindex(2, 3, 4, 5):
        wanted[b, d] += image[b, h, w, d] / 12
    layer = AveragePooling(dtype="float64")
    np.testing.assert_allclose(layer(image), wanted, atol=1e-12)
    assert not layer.variables


def test_positions_play_no_part():
    image = np.random.default_rng(1).normal(size=[2, 3, 4, 5]).astype(np.float32)
    np.testing.assert_allclose(AveragePooling()(image), AveragePooling()(image[:, ::-1, ::-1]), atol=1e-6)


def test_gradient_is_one_over_the_area():
    image = tf.ones([1, 3, 4, 2])
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = AveragePooling()(image)
    np.testing.assert_allclose(tape.gradient(value, image), np.full([1, 3, 4, 2], 1 / 12), rtol=1e-6)


def test_float16_does_not_overflow():
    value = AveragePooling(dtype="mixed_float16")(tf.fill([1, 8, 8, 1], tf.constant(3e4, tf.float16)))
    assert value.dtype == tf.float16
    np.testing.assert_allclose(value, [[3e4]])


def test_unknown_map_size():
    inputs = tf.keras.Input([None, None, 3])
    assert AveragePooling()(inputs).shape.as_list() == [None, 3]
