"""Every pooling in the folder: [b, h, w, d] -> [b, D] in the map's dtype, each image by itself."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

# Above zero, as after a rectifier: a root or a power has no slope at zero.
MAPS = 0.1 + np.random.default_rng(0).random([3, 2, 4, 5])


@pytest.fixture(params=methods("poolings"))
def make(request):
    """policy -> a new layer; a Keras layer takes its dtype from the policy in force when it is made."""
    def make(policy):
        tf.keras.mixed_precision.set_global_policy(policy)
        tf.keras.utils.set_random_seed(1)
        return build("poolings", request.param)

    before = tf.keras.mixed_precision.global_policy()
    yield make
    tf.keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize("policy, dtype", [
    ("float32", tf.float32), ("float64", tf.float64), ("mixed_float16", tf.float16), ("mixed_bfloat16", tf.bfloat16)])
def test_one_vector_an_image_in_the_dtype_of_the_map(policy, dtype, make):
    vectors = make(policy)(tf.cast(MAPS, dtype))
    assert vectors.shape.rank == 2 and vectors.shape[0] == 3 and vectors.dtype == dtype
    assert np.isfinite(tf.cast(vectors, tf.float32)).all()


def test_graph_of_unknown_batch_size_equals_eager(make):
    layer = make("float64")
    layer(MAPS)
    graph = tf.function(layer, input_signature=[tf.TensorSpec([None, *MAPS.shape[1:]], tf.float64)])
    for size in (3, 1):
        np.testing.assert_allclose(graph(MAPS[:size]), layer(MAPS[:size]), atol=1e-12)
    width = layer(MAPS).shape[1]
    assert layer(tf.keras.Input(MAPS.shape[1:], dtype=tf.float64)).shape.as_list() == [None, width]


def test_images_are_pooled_one_by_one(make):
    layer = make("float64")
    together = layer(MAPS).numpy()
    np.testing.assert_allclose(layer(MAPS[::-1]), together[::-1], atol=1e-12)
    np.testing.assert_allclose(np.concatenate([layer(MAPS[i:i + 1]) for i in range(3)]), together, atol=1e-12)


def test_gradient_matches_central_differences(make):
    layer, maps, step, generator = make("float64"), tf.constant(MAPS), 1e-5, np.random.default_rng(6)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        vectors = layer(maps)
        shares = generator.normal(size=vectors.shape)
        total = tf.reduce_sum(vectors * shares)
    gradient = tape.gradient(total, maps)
    for _ in range(3):
        way = generator.normal(size=MAPS.shape)
        rise = layer(MAPS + step * way) - layer(MAPS - step * way)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * shares) / (2 * step), atol=1e-6)


def test_zero_and_equal_and_large_maps_stay_finite(make):
    layer = make("float32")
    for maps in (np.zeros_like(MAPS), np.full_like(MAPS, 0.3), 1e4 * MAPS):
        maps = tf.constant(maps, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            vectors = layer(maps)
        assert np.isfinite(vectors).all() and np.isfinite(tape.gradient(vectors, maps)).all()
