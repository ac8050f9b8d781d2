import numpy as np
import pytest
import tensorflow as tf

from keras_apps.poolings.gem import GemPooling

MAPS = np.random.default_rng(0).normal(0.5, 1.0, size=[2, 3, 4, 5])     # some below zero


@pytest.mark.parametrize("power", [1.0, 2.5, 3.0, 20.0])
def test_equals_the_loop(power):
    wanted = np.zeros([2, 5])
    for b, d in np.ndindex(2, 5):
        wanted[b, d] = np.mean([max(x, 1e-6)**power for x in MAPS[b, :, :, d].ravel()])**(1 / power)
    np.testing.assert_allclose(GemPooling(power, learned=False)(MAPS), wanted, atol=1e-9, rtol=0)
    if power > 1:
        np.testing.assert_allclose(GemPooling(power)(MAPS), wanted, rtol=1e-6)      # p is float32


def test_power_one_is_the_average_and_a_large_power_nearly_the_maximum():
    maps = np.abs(MAPS) + 0.1
    np.testing.assert_allclose(GemPooling(1, learned=False)(maps), maps.mean((1, 2)), atol=1e-12)
    np.testing.assert_allclose(GemPooling(2000.0)(maps), maps.max((1, 2)), rtol=3e-3)
    values = [GemPooling(power, learned=False)(maps).numpy() for power in (1, 2, 4, 8, 16)]
    assert all((low < high).all() for low, high in zip(values, values[1:]))


@pytest.mark.parametrize("power", [1.5, 3.0, 30.0])
def test_gradients_match_central_differences(power):
    layer, maps, generator = GemPooling(power), tf.constant(0.1 + np.abs(MAPS)), np.random.default_rng(6)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        values = layer(maps)
        shares = generator.normal(size=values.shape)
        total = tf.reduce_sum(values * shares)
    slope, raw_slope = tape.gradient(total, [maps, layer.raw])
    way, step = generator.normal(size=maps.shape), 1e-6
    rise = np.sum(shares * (layer(maps + step * way) - layer(maps - step * way))) / (2 * step)
    np.testing.assert_allclose(np.sum(slope * way), rise, atol=1e-6)
    start = layer.raw.numpy()
    ends = [np.float32(start + sign * 2.0**-9) for sign in (1, -1)]
    totals = []
    for end in ends:
        layer.raw.assign(end)
        totals.append(np.sum(layer(maps) * shares))
    assert abs(raw_slope) > 1e-5
    np.testing.assert_allclose(raw_slope * (ends[0] - ends[1]), totals[0] - totals[1], rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize("raw", [-50.0, 0.0, 50.0])
def test_the_learned_power_stays_at_least_one(raw):
    layer, maps = GemPooling(), tf.constant(np.abs(MAPS) + 0.1)
    layer(maps)
    assert [variable.name for variable in layer.trainable_variables][0].endswith("raw_power:0")
    layer.raw.assign(raw)
    values = layer(maps).numpy()
    assert (values >= maps.numpy().mean((1, 2)) - 1e-9).all() and (values <= maps.numpy().max((1, 2)) + 1e-9).all()


def test_large_values_and_powers_do_not_overflow():
    half = tf.fill([1, 8, 8, 1], tf.constant(6e4, tf.float16))
    assert GemPooling()(half).dtype == tf.float16
    np.testing.assert_allclose(GemPooling()(half), [[6e4]])
    for row in ([1e38] * 4, [1e38, 0, -5, 1e-30], [0] * 4):
        for power in (1.001, 3.0, 300.0):
            layer, maps = GemPooling(power), tf.constant([[[[x]] for x in row]], tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(maps)
                value = layer(maps)
            assert np.isfinite(value).all()
            assert all(np.isfinite(part).all() for part in tape.gradient(value, [maps, layer.raw]))


def test_positions_play_no_part_and_the_size_may_be_unknown():
    np.testing.assert_allclose(GemPooling()(MAPS), GemPooling()(MAPS[:, ::-1, ::-1]), atol=1e-12)
    assert GemPooling()(tf.keras.Input([None, None, 3])).shape.as_list() == [None, 3]
    assert not GemPooling(learned=False).variables


@pytest.mark.parametrize("words, told", [
    ({"power": 0.5}, "`power` is 0.5 "), ({"power": float("nan")}, "`power` is nan "),
    ({"power": 1}, "above 1 to be learned"),
])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        GemPooling(**words)
