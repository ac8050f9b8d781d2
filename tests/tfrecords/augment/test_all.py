"""Every augmentation in the folder: range, shape, determinism, eager = graph, no change at strength 0."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

STRONG = {"affine": "affine(rotate=0.5, scale=0.3, shear=0.2, shift=0.1)"}
NAMES = methods("tfrecords/augment")


@pytest.fixture(params=NAMES)
def method(request):
    return build("tfrecords/augment", STRONG.get(request.param, request.param))


IMAGES = tf.constant(np.random.default_rng(0).random((16, 12, 10, 3)), tf.float32)


def test_range_shape_and_effect(method):
    out = method(IMAGES, tf.constant([1, 2]), 1.0)
    assert out.shape == IMAGES.shape and out.dtype == tf.float32
    assert float(tf.reduce_min(out)) >= 0 and float(tf.reduce_max(out)) <= 1
    changed = tf.reduce_any(out != IMAGES, axis=[1, 2, 3])
    assert int(tf.reduce_sum(tf.cast(changed, tf.int32))) >= 3, "most draws should change something"


def test_same_seed_same_pixels_eager_and_graph(method):
    eager = method(IMAGES, tf.constant([3, 4]), 0.7)
    graph = tf.function(method)(IMAGES, tf.constant([3, 4]), 0.7)
    np.testing.assert_allclose(eager, graph, atol=1e-6)
    assert (method(IMAGES, tf.constant([3, 5]), 0.7).numpy() != eager.numpy()).any()


def test_strength_zero_is_the_input(method):
    np.testing.assert_array_equal(method(IMAGES, tf.constant([1, 2]), 0.0), IMAGES)
