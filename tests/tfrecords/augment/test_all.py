"""Every augmentation in the folder: range, dtype, shape, determinism, eager = graph, no change at strength 0."""

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.methods import build, methods

STRONG = {"affine": "affine(rotate=0.5, scale=0.3, shear=0.2, shift=0.1)",
          "jitter": "jitter(saturation=0.5, hue=0.3)"}
NAMES = methods("tfrecords/augment")


@pytest.fixture(params=NAMES)
def method(request):
    return build("tfrecords/augment", STRONG.get(request.param, request.param))


def pictures(channels):
    return tf.constant(np.random.default_rng(0).random((16, 12, 10, channels)), tf.float32)


IMAGES = pictures(3)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_range_shape_dtype_and_effect(method, channels):
    images = pictures(channels)
    out = method(images, tf.constant([1, 2]), 1.0)
    assert out.shape == images.shape and out.dtype == tf.float32
    assert float(tf.reduce_min(out)) >= 0 and float(tf.reduce_max(out)) <= 1
    changed = tf.reduce_any(out != images, axis=[1, 2, 3])
    if channels == 3 or "of other than 3 channels are left alone" not in " ".join(type(method).__doc__.split()):
        assert int(tf.reduce_sum(tf.cast(changed, tf.int32))) >= 3, "most draws should change something"
    else:
        assert not changed.numpy().any()


def test_same_seed_same_pixels_eager_and_graph(method):
    signature = [tf.TensorSpec([None, 12, 10, 3]), tf.TensorSpec([2], tf.int32), tf.TensorSpec([])]
    graph = tf.function(method, input_signature=signature)
    assert graph.get_concrete_function().output_shapes.as_list() == [None, 12, 10, 3]
    eager = method(IMAGES, tf.constant([3, 4]), 1)
    np.testing.assert_array_equal(method(IMAGES, tf.constant([3, 4])), eager)
    np.testing.assert_allclose(graph(IMAGES, [3, 4], 1.0), eager, atol=4e-6)     # it divides by constants its own way
    np.testing.assert_array_equal(graph(IMAGES, [3, 4], 0.7), graph(IMAGES, [3, 4], 0.7))
    assert (graph(IMAGES, [3, 5], 1.0).numpy() != eager.numpy()).any()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_strength_zero_is_the_input(method, channels):
    images = pictures(channels)
    np.testing.assert_array_equal(method(images, tf.constant([1, 2]), 0.0), images)
    extremes = tf.round(images)
    np.testing.assert_array_equal(method(extremes, tf.constant([1, 2]), 0.0), extremes)


def test_unknown_sizes_in_a_dataset(method):
    signature = tf.TensorSpec([None, None, None, 3])
    graph = tf.function(method, input_signature=[signature, tf.TensorSpec([2], tf.int32), tf.TensorSpec([])])
    assert graph.get_concrete_function().output_shapes.as_list() == [None, None, None, 3]
    data = tf.data.Dataset.from_tensors(IMAGES).map(lambda images: graph(images, [3, 4], 0.7))
    np.testing.assert_allclose(next(iter(data)), method(IMAGES, tf.constant([3, 4]), 0.7), atol=4e-6)


def test_an_image_depends_on_itself_alone(method):
    out = method(IMAGES, tf.constant([5, 6]), 1.0).numpy()
    others = tf.concat([IMAGES[:8], 1.0 - IMAGES[8:]], axis=0)
    np.testing.assert_array_equal(method(others, tf.constant([5, 6]), 1.0)[:8], out[:8])


def test_a_batch_of_none_and_images_of_one_pixel(method):
    assert method(IMAGES[:0], tf.constant([1, 2]), 1.0).shape == [0, 12, 10, 3]
    assert np.isfinite(method(IMAGES[:, :1, :1], tf.constant([1, 2]), 1.0)).all()
