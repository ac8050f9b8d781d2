import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.poolings.parts import PartsPooling

MAPS = np.random.default_rng(0).normal(size=[2, 8, 3, 4])


@pytest.mark.parametrize("height", [1, 2, 3, 6, 7, 8])
@pytest.mark.parametrize("parts, whole", [(1, False), (2, True), (3, True), (3, False), (5, True)])
def test_equals_the_loop_at_any_height(height, parts, whole):
    maps = MAPS[:, :height]
    wanted, covered = [], set()
    for i in range(parts):
        rows = range(math.floor(i * height / parts), math.ceil((i + 1) * height / parts))
        wanted.append(np.mean([maps[:, row].mean(1) for row in rows], axis=0))
        covered |= set(rows)
    assert covered == set(range(height))
    wanted = np.concatenate(wanted + [maps.mean((1, 2))] * whole, axis=1)
    assert wanted.shape == (2, (parts + whole) * 4)
    np.testing.assert_allclose(PartsPooling(parts, whole)(maps), wanted, atol=1e-12)
    free = tf.function(PartsPooling(parts, whole), input_signature=[tf.TensorSpec([None, None, None, 4], tf.float64)])
    np.testing.assert_allclose(free(maps), wanted, atol=1e-12)


def test_two_parts_of_a_map_of_four_rows():
    maps = np.arange(4.0).reshape(1, 4, 1, 1)
    np.testing.assert_array_equal(PartsPooling(2)(maps), [[0.5, 2.5, 1.5]])
    np.testing.assert_array_equal(PartsPooling(2)(maps[:, :3]), [[0.5, 1.5, 1.0]])      # the middle row is in both


def test_left_and_right_play_no_part_but_up_and_down_do():
    values = PartsPooling()(MAPS)
    np.testing.assert_allclose(PartsPooling()(MAPS[:, :, ::-1]), values, atol=1e-12)
    turned = PartsPooling()(MAPS[:, ::-1]).numpy().reshape(2, 4, 4)
    np.testing.assert_allclose(turned[:, [2, 1, 0, 3]].reshape(2, 16), values, atol=1e-12)
    assert np.abs(turned.reshape(2, 16) - values).max() > 0.1


def test_float16_does_not_overflow_and_the_shape_is_known():
    value = PartsPooling()(tf.fill([1, 8, 8, 1], tf.constant(3e4, tf.float16)))
    assert value.dtype == tf.float16
    np.testing.assert_allclose(value, [[3e4] * 4])
    assert PartsPooling()(tf.keras.Input([None, None, 3])).shape.as_list() == [None, 12]
    assert not PartsPooling().variables


def test_refusal():
    with pytest.raises(ValueError, match="`parts` is 0 "):
        PartsPooling(parts=0)
