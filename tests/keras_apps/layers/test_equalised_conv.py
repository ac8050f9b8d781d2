import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.equalised_conv import EqualisedConvLayer

MAPS = np.random.default_rng(0).normal(size=[2, 4, 5, 3])


@pytest.fixture
def wide():
    """Layers made in float64."""
    tf.keras.mixed_precision.set_global_policy("float64")
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def made(x=MAPS, **words):
    layer = EqualisedConvLayer(**words)
    layer(x)
    layer.b.assign(np.linspace(-1, 1, layer.filters))
    return layer


def naive(x, w, b, gain):
    (n, h, width, d), size = x.shape, len(w)
    y = np.zeros([n, h, width, len(b)])
    for i, j in np.ndindex(h, width):
        y[:, i, j] = b
        for k, l in np.ndindex(size, size):         # noqa: E741
            row, column = i + k - size // 2, j + l - size // 2
            if 0 <= row < h and 0 <= column < width:
                y[:, i, j] += x[:, row, column] @ w[k, l] * gain / math.sqrt(size * size * d)
    return y


@pytest.mark.parametrize("words", [{}, {"filters": 1, "kernel": 1, "gain": 1.0}, {"filters": 4, "kernel": 5}])
def test_equals_the_loop(words, wide):
    layer = made(**words)
    wanted = naive(MAPS, layer.w.numpy(), layer.b.numpy(), layer.gain)
    np.testing.assert_allclose(layer(MAPS), wanted, atol=1e-9, rtol=0)


def test_weights_are_of_size_one_and_the_output_of_the_size_of_the_gain():
    x = np.random.default_rng(1).normal(size=[4, 12, 12, 32]).astype(np.float32)
    for gain in (math.sqrt(2), 1.0, 0.25):
        layer = EqualisedConvLayer(filters=64, gain=gain)
        y = layer(x).numpy()[:, 1:-1, 1:-1]
        assert abs(layer.w.numpy().std() - 1) < 0.02 and not layer.b.numpy().any()
        assert abs(y.std() / gain - 1) < 0.05


def test_as_many_steps_of_adam_move_every_layer_by_the_same_share():
    """What it is for: the share does not depend on the channels."""
    shares = []
    for channels in (2, 32):
        layer = EqualisedConvLayer(filters=64)
        x = np.random.default_rng(2).normal(size=[2, 4, 4, channels]).astype(np.float32)
        layer(x)
        before = layer.w.numpy()
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(layer(x) - 1))
        optimizer = tf.keras.optimizers.Adam(0.01)
        optimizer.build([layer.w])
        optimizer.apply_gradients([(tape.gradient(total, layer.w), layer.w)])
        shares.append(np.linalg.norm(layer.w - before) / np.linalg.norm(before))
    np.testing.assert_allclose(shares, [0.01, 0.01], rtol=0.1)


def test_gradients_match_central_differences(wide):
    generator, step, layer = np.random.default_rng(3), 1e-5, made()
    shares, x = generator.normal(size=[2, 4, 5, 8]), tf.Variable(MAPS)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(shares * tf.tanh(layer(x)))
    variables = [x, layer.w, layer.b]
    for variable, slope in zip(variables, tape.gradient(total, variables)):
        way, values, kept = generator.normal(size=variable.shape), [], variable.numpy()
        for sign in (1, -1):
            variable.assign(kept + sign * step * way)
            values.append(np.sum(shares * np.tanh(layer(x))))
        variable.assign(kept)
        np.testing.assert_allclose(np.sum(slope * way), (values[0] - values[1]) / (2 * step), atol=1e-6)


def test_first_weights_follow_from_the_seed_alone():
    one, same, other = (made(seed=seed).w.numpy() for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1


def test_images_count_one_by_one():
    layer, x = made(), MAPS.astype(np.float32)
    np.testing.assert_allclose(layer(x[::-1]), layer(x).numpy()[::-1], atol=1e-6)
    np.testing.assert_allclose(layer(x[:1]), layer(x)[:1], atol=1e-6)


def test_large_maps_stay_finite():
    y = made()(1e15 * MAPS.astype(np.float32))
    assert np.isfinite(y).all()


def test_a_known_shape():
    layer = EqualisedConvLayer(filters=7)
    assert layer(tf.keras.Input([9, 8, 4])).shape.as_list() == [None, 9, 8, 7]
    assert [tuple(v.shape) for v in layer.trainable_variables] == [(3, 3, 4, 7), (7,)]


@pytest.mark.parametrize("words", [{"filters": 0}, {"kernel": 2}, {"kernel": 0}, {"gain": 0}, {"gain": -1.0}])
def test_wrong_settings_are_refused(words):
    with pytest.raises(ValueError, match=r"^equalised_conv\(filters=.*, kernel=.*, gain=.*\) needs filters >= 1"):
        EqualisedConvLayer(**words)
