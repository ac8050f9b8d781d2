import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.minibatch_std import MinibatchStdLayer

MAPS = np.random.default_rng(0).normal(size=[11, 3, 4, 2])


def naive(x, group):
    y = np.zeros([*x.shape[:3], x.shape[3] + 1])
    y[..., :-1] = x
    for first in range(0, len(x), group):
        rows = x[first:first + group]
        deviations = []
        for place in np.ndindex(x.shape[1:]):
            values = [row[place] for row in rows]
            mean = sum(values) / len(values)
            deviations.append(np.sqrt(sum((value - mean) ** 2 for value in values) / len(values) + 1e-8))
        y[first:first + group, ..., -1] = sum(deviations) / len(deviations)
    return y


@pytest.mark.parametrize("rows, group", [(8, 4), (8, 2), (11, 4), (11, 3), (10, 9), (3, 4), (1, 4), (2, 100)])
def test_equals_the_loop_also_for_a_rest_and_for_a_group_larger_than_the_batch(rows, group):
    np.testing.assert_allclose(MinibatchStdLayer(group)(MAPS[:rows]), naive(MAPS[:rows], group), atol=1e-9, rtol=0)


def test_a_group_of_known_deviation():
    x = np.concatenate([np.full([2, 2, 2, 1], 3.0), np.full([2, 2, 2, 1], 7.0)])
    y = MinibatchStdLayer(4)(x).numpy()
    assert y.shape == (4, 2, 2, 2)
    np.testing.assert_allclose(y[..., 1], np.full([4, 2, 2], 2.0), atol=1e-8)
    np.testing.assert_allclose(MinibatchStdLayer(2)(x)[..., 1], np.full([4, 2, 2], 1e-4), atol=1e-12)


def test_order_inside_a_group_and_of_groups_plays_no_part():
    layer, channel = MinibatchStdLayer(4), MinibatchStdLayer(4)(MAPS[:8]).numpy()[:, 0, 0, -1]
    np.testing.assert_allclose(layer(MAPS[[2, 0, 3, 1, 4, 5, 6, 7]])[:, 0, 0, -1], channel, atol=1e-12)
    np.testing.assert_allclose(layer(MAPS[[4, 5, 6, 7, 0, 1, 2, 3]])[:, 0, 0, -1], channel[::-1], atol=1e-12)
    assert np.abs(layer(MAPS[[4, 1, 2, 3, 0, 5, 6, 7]])[:, 0, 0, -1] - channel).max() > 1e-3, "groups do"


def test_groups_do_not_see_each_other():
    """So a batch that is dealt over replicas in shares of whole groups is what it was."""
    layer, whole = MinibatchStdLayer(4), MinibatchStdLayer(4)(MAPS).numpy()
    np.testing.assert_allclose(np.concatenate([layer(MAPS[:4]), layer(MAPS[4:8]), layer(MAPS[8:])]), whole, atol=1e-12)


def test_an_added_constant_plays_no_part_and_a_factor_is_one():
    channel = MinibatchStdLayer(4)(MAPS).numpy()[..., -1]
    np.testing.assert_allclose(MinibatchStdLayer(4)(MAPS + 5.0)[..., -1], channel, atol=1e-12)
    np.testing.assert_allclose(MinibatchStdLayer(4)(3 * MAPS)[..., -1], 3 * channel, rtol=1e-6)


@pytest.mark.parametrize("rows", [8, 11])
def test_gradient_matches_central_differences(rows):
    generator, step, layer, x = np.random.default_rng(3), 1e-5, MinibatchStdLayer(4), tf.constant(MAPS[:rows])
    shares = generator.normal(size=[rows, 3, 4, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(shares * layer(x))
    gradient = tape.gradient(total, x)
    for _ in range(3):
        way = generator.normal(size=x.shape)
        rise = np.sum(shares * (layer(x + step * way) - layer(x - step * way))) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * way), rise, atol=1e-6)


def test_second_order_gradient_matches_central_differences():
    """A gradient penalty goes through the layer twice."""
    generator, step, layer = np.random.default_rng(4), 1e-5, MinibatchStdLayer(4)
    x, way = tf.constant(MAPS[:8]), generator.normal(size=[8, 3, 4, 2])

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            total = tf.reduce_sum(y ** 2 * tf.range(1.0, 9.0, dtype=tf.float64)[:, None, None, None])
        return tf.convert_to_tensor(tape.gradient(total, x))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(slope(x) ** 2)
    gradient = tape.gradient(total, x)
    rise = tf.reduce_sum(slope(x + step * way) ** 2 - slope(x - step * way) ** 2) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * way), rise, rtol=1e-7)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32])
def test_equal_and_huge_images_stay_finite_in_the_dtype_of_the_map(dtype):
    for images in (np.zeros([5, 2, 2, 3]), np.ones([5, 2, 2, 3]), 1e4 * MAPS[:5, :2, :2]):
        x = tf.cast(images, dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = MinibatchStdLayer(4)(x)
        assert y.dtype == dtype and np.isfinite(tf.cast(y, tf.float32)).all()
        assert np.isfinite(tf.cast(tape.gradient(y, x), tf.float32)).all()


def test_a_graph_of_unknown_sizes_and_a_known_width():
    free = tf.function(MinibatchStdLayer(4), input_signature=[tf.TensorSpec([None, None, None, 2], tf.float64)])
    for rows in (8, 11, 3):
        np.testing.assert_allclose(free(MAPS[:rows]), naive(MAPS[:rows], 4), atol=1e-12)
    layer = MinibatchStdLayer()
    assert layer(tf.keras.Input([9, 8, 4])).shape.as_list() == [None, 9, 8, 5] and not layer.variables


@pytest.mark.parametrize("group", [1, 0, -4])
def test_wrong_settings_are_refused(group):
    with pytest.raises(ValueError, match=f"^`group` is {group} but a deviation needs at least 2 images; use 4.$"):
        MinibatchStdLayer(group)
