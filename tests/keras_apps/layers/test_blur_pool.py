import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.layers.blur_pool import BlurPoolLayer

MAPS = np.random.default_rng(0).normal(size=[2, 7, 6, 3])


def mirrored(place, size):
    """Where a place beyond the border looks: walk, and turn round at either end."""
    while size > 1 and not 0 <= place < size:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place if size > 1 else 0


def naive(x, size, stride):
    taps = [math.factorial(size - 1) / math.factorial(k) / math.factorial(size - 1 - k) for k in range(size)]
    first, (b, h, w, d) = (size - 1) // 2, x.shape
    y = np.zeros([b, math.ceil(h / stride), math.ceil(w / stride), d])
    for i, j in np.ndindex(*y.shape[1:3]):
        for k, l in np.ndindex(size, size):         # noqa: E741
            source = x[:, mirrored(stride * i + k - first, h), mirrored(stride * j + l - first, w)]
            y[:, i, j] += taps[k] * taps[l] / sum(taps) ** 2 * source
    return y


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_equals_the_loop_on_maps_of_any_size(size):
    for stride, sides in ((1, (7, 6)), (2, (7, 6)), (3, (7, 6)), (2, (6, 3)), (2, (2, 5)), (2, (1, 4)), (2, (1, 1)),
                          (1, (2, 2))):
        x = MAPS[:, :sides[0], :sides[1]]
        np.testing.assert_allclose(BlurPoolLayer(size, stride)(x), naive(x, size, stride), atol=1e-12)


def test_the_size_may_be_unknown():
    free = tf.function(BlurPoolLayer(5), input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64)])
    for x in (MAPS, MAPS[:, :1], MAPS[:, :2, :1]):
        np.testing.assert_allclose(free(x), naive(x, 5, 2), atol=1e-12)


def test_size_two_is_the_mean_of_two_by_two():
    x = MAPS[:, :6]
    np.testing.assert_allclose(BlurPoolLayer(2)(x), x.reshape(2, 3, 2, 3, 2, 3).mean((2, 4)), atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_constant_map_stays_to_the_border(size):
    for dtype in (tf.float64, tf.float32, tf.float16, tf.bfloat16):
        y = BlurPoolLayer(size)(tf.fill([1, 9, 8, 2], tf.constant(0.75, dtype)))
        assert y.dtype == dtype and y.shape == [1, 5, 4, 2]
        np.testing.assert_array_equal(tf.cast(y, tf.float32), np.full([1, 5, 4, 2], 0.75))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_shift_by_the_stride_shifts_the_output_by_one(stride):
    x = np.random.default_rng(2).normal(size=[1, 24, 24, 2])
    one, other = BlurPoolLayer(5, stride)(x[:, stride:]), BlurPoolLayer(5, stride)(x)
    np.testing.assert_allclose(one[:, 2:-2], other[:, 3:-2], atol=1e-12)


def test_a_chequerboard_becomes_grey_instead_of_one_of_its_colours():
    board = np.indices([8, 8]).sum(0)[None, :, :, None] % 2.0
    assert set(board[:, ::2, ::2].ravel()) == {0.0}
    for size in (2, 3, 4, 5):
        np.testing.assert_allclose(BlurPoolLayer(size)(board)[:, 1:-1, 1:-1], 0.5, atol=1e-12)


def test_gradient_matches_central_differences():
    generator, step = np.random.default_rng(3), 1e-5
    for x in (MAPS, MAPS[:, :1]):
        layer, x = BlurPoolLayer(), tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            shares = generator.normal(size=y.shape)
            total = tf.reduce_sum(y * shares)
        way = generator.normal(size=x.shape)
        rise = np.sum(shares * (layer(x + step * way) - layer(x - step * way))) / (2 * step)
        np.testing.assert_allclose(np.sum(tape.gradient(total, x) * way), rise, atol=1e-6)


def test_no_variables_and_a_known_shape():
    layer = BlurPoolLayer(3)
    assert layer(tf.keras.Input([9, 8, 4])).shape.as_list() == [None, 5, 4, 4] and not layer.variables


@pytest.mark.parametrize("words, told", [({"size": 1}, "`size` is 1 "), ({"size": 6}, "`size` is 6 "),
                                         ({"stride": 0}, "`stride` is 0 ")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        BlurPoolLayer(**words)
