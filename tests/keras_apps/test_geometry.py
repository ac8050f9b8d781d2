import numpy as np
import pytest
import tensorflow as tf

from keras_apps import geometry


def gradient(function, *inputs):
    inputs = [tf.constant(value) for value in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
    return [tf.convert_to_tensor(part).numpy() for part in tape.gradient(value, inputs)]


def test_wide_keeps_float64_and_lifts_the_rest():
    for given, wanted in ((tf.float16, tf.float32), (tf.bfloat16, tf.float32), (tf.float32, tf.float32),
                          (tf.float64, tf.float64), (tf.int32, tf.float32)):
        assert geometry.wide(tf.cast([1, 2], given)).dtype == wanted


def test_lengths_by_hand():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-5.0, 0.0]])
    np.testing.assert_allclose(geometry.lengths(tf.constant(vectors)), [5, 0, 5], atol=1e-15)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e15, 1e37])
def test_lengths_and_units_at_any_size_in_float32(size):
    vectors = np.array([[3.0, 4.0]], np.float32) * np.float32(size)
    np.testing.assert_allclose(geometry.lengths(vectors), [5 * np.float32(size)], rtol=1e-6)
    np.testing.assert_allclose(geometry.unit(vectors), [[0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(gradient(geometry.lengths, vectors)[0], [[0.6, 0.8]], rtol=1e-6)


def test_zero_vectors_have_finite_values_and_gradients():
    zero = np.zeros([2, 3])
    assert not geometry.unit(tf.constant(zero)).numpy().any()
    assert not gradient(geometry.lengths, zero)[0].any()
    assert np.isfinite(gradient(lambda x: geometry.unit(x)[:, 0], zero)[0]).all()


def test_gradients_match_central_differences():
    vectors = np.random.default_rng(0).normal(size=[3, 4])
    for function in (geometry.lengths, geometry.unit):
        exact, differences = tf.test.compute_gradient(function, [tf.constant(vectors)], delta=1e-5)
        np.testing.assert_allclose(exact[0], differences[0], atol=1e-8)


def test_take_has_a_dense_gradient():
    rows = np.random.default_rng(5).normal(size=[4, 3])
    vectors = tf.constant(rows)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        taken = geometry.take(vectors, tf.constant([2, 0, 2]))
    np.testing.assert_array_equal(taken, rows[[2, 0, 2]])
    found = tape.gradient(taken, vectors)
    assert isinstance(found, tf.Tensor)
    np.testing.assert_array_equal(found, np.array([1, 0, 2, 0])[:, None] * np.ones([4, 3]))


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_distances_equal_the_differences_loop(shift):
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=[4, 5]) + shift, generator.normal(size=[7, 5]) + shift
    wanted = np.linalg.norm(first[:, None] - second[None], axis=2)
    np.testing.assert_allclose(geometry.euclidean_distances(tf.constant(first), tf.constant(second)), wanted,
                               atol=1e-9)
    np.testing.assert_allclose(geometry.squared_distances(tf.constant(first), tf.constant(second)), wanted**2,
                               atol=1e-9)


def test_distances_by_name():
    generator = np.random.default_rng(6)
    first, second = (geometry.unit(tf.constant(generator.normal(size=[rows, 5]))) for rows in (4, 7))
    gaps = np.linalg.norm(first.numpy()[:, None] - second.numpy()[None], axis=2)
    for distance, wanted in (("euclidean", gaps), ("squared", gaps**2), ("cosine", gaps**2 / 2)):
        np.testing.assert_allclose(geometry.distances(first, second, distance), wanted, atol=1e-12)
    thirds = np.full([1, 3], 1.0000001 / np.sqrt(3), np.float32)
    assert geometry.distances(thirds, thirds, "cosine").numpy().min() == 0, "never below, whatever the rounding"


def test_distances_of_rows_are_the_diagonal_of_all_pairs():
    generator = np.random.default_rng(7)
    first, second = (geometry.unit(tf.constant(generator.normal(size=[6, 5]))) for _ in range(2))
    for distance in ("euclidean", "squared", "cosine"):
        found = geometry.row_distances(first, second, distance)
        np.testing.assert_allclose(found, np.diagonal(geometry.distances(first, second, distance)), atol=1e-12)
    zero = np.eye(3)[:2] * [[0], [1]]
    np.testing.assert_allclose(geometry.row_distances(zero, np.eye(3)[:2], "cosine"), [1, 0], atol=1e-15)
    np.testing.assert_allclose(geometry.row_distances(zero[:1], zero[:1], "cosine"), [1], atol=1e-15)


def test_rows_that_nearly_agree_keep_their_digits_and_equal_ones_have_no_slope():
    rows = geometry.unit(np.random.default_rng(8).normal(size=[4, 6]).astype(np.float32))
    near = geometry.unit(rows + 1e-4 * np.float32(np.random.default_rng(9).normal(size=[4, 6])))
    wanted = np.square(np.float64(rows) - np.float64(near)).sum(axis=1)
    for distance, value in (("euclidean", wanted**0.5), ("squared", wanted), ("cosine", wanted / 2)):
        np.testing.assert_allclose(geometry.row_distances(rows, near, distance), value, rtol=1e-5)
        parts = gradient(lambda a, b, distance=distance: geometry.row_distances(a, b, distance), rows, rows)
        assert not any(part.any() for part in parts)
    # One direction at two lengths: what is left of the difference is rounding, and its direction noise.
    longer = geometry.unit(2.7 * rows)
    assert np.any(longer != rows)
    assert not geometry.row_distances(rows, longer, "euclidean").numpy().any()
    assert not gradient(lambda a: geometry.row_distances(a, longer, "euclidean"), rows)[0].any()


def test_a_wrong_distance_is_refused():
    geometry.check_distance("squared", ("euclidean", "squared"), False)
    with pytest.raises(ValueError, match="`distance` is 'L2' but must be one of euclidean, squared"):
        geometry.check_distance("L2", ("euclidean", "squared"), True)
    with pytest.raises(ValueError, match="`normalise` is False but the cosine"):
        geometry.check_distance("cosine", ("euclidean", "cosine"), False)


def test_distances_of_a_crowded_batch_keep_their_digits_in_float32():
    # All rows within 1e-3 of one point of length 10: an uncentred product has errors of 1e-5 in the squares.
    rows = (10 + 1e-3 * np.random.default_rng(2).normal(size=[6, 8])).astype(np.float32)
    wanted = np.linalg.norm(rows[:, None].astype(np.float64) - rows[None], axis=2)
    np.testing.assert_allclose(geometry.euclidean_distances(rows, rows), wanted, rtol=1e-4, atol=1e-6)


def test_distance_between_equal_rows_is_zero_with_gradient_zero():
    rows = np.repeat(np.random.default_rng(3).normal(size=[1, 6]), 4, axis=0).astype(np.float32)
    assert not geometry.euclidean_distances(rows, rows).numpy().any()
    for part in gradient(geometry.euclidean_distances, rows, rows):
        assert not part.any()


def test_equal_rows_in_a_spread_batch_are_at_distance_zero():
    # Their entries of the product differ from their squares by rounding; its root would be 1e-3 and its
    # gradient pure noise.
    rows = np.random.default_rng(4).normal(size=[61, 37]).astype(np.float32)
    distances = geometry.euclidean_distances(rows, np.concatenate([rows[7:], rows[:7]])).numpy()
    np.testing.assert_array_equal(distances[np.arange(61), (np.arange(61) - 7) % 61], 0)
    assert np.count_nonzero(distances) == 61 * 60


def test_huge_distances_stay_finite():
    rows = np.array([[3e30, 0], [0, 4e30]], np.float32)
    np.testing.assert_allclose(geometry.euclidean_distances(rows, rows)[0, 1], 5e30, rtol=1e-6)
