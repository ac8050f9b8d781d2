"""Every explainer in the folder: evidence [n, H, W] in [0, 1] for a class, in the right place, also once exported."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

SIZE = (16, 24)
IMAGES = np.random.default_rng(0).integers(0, 2, (5, *SIZE, 3)).astype(np.float32)
CLASSES = np.array([0, 3, 1, 2, 1], np.int32)
SMALL = {"occlusion": "occlusion(size=4, stride=4)", "integrated_gradients": "integrated_gradients(steps=4)"}
HALVES = [np.s_[:8, :12], np.s_[:8, 12:], np.s_[8:, :12], np.s_[8:, 12:]]      # the quadrant of each class


def quadrants(images):
    """A map of four channels, each active by the contrast in its own quadrant only."""
    masks = np.zeros((*SIZE, 4), np.float32)
    for k, half in enumerate(HALVES):
        masks[half][..., k] = 1
    contrast = tf.reduce_mean(tf.square(images - 0.5), axis=3, keepdims=True)
    return tf.nn.avg_pool2d(contrast * masks, 4, 4, "VALID")


def by_quadrant(map):
    """Class k looks at quadrant k only."""
    return 40 * tf.reduce_mean(map, axis=[1, 2])


class Network(tf.Module):
    """A small net with variables."""

    def __init__(self):
        super().__init__()
        generator = np.random.default_rng(1)
        self.kernels = [tf.Variable(generator.normal(size=shape).astype(np.float32) / np.sqrt(np.prod(shape[:-1])))
                        for shape in ((3, 3, 3, 6), (3, 3, 6, 8), (8, 4))]

    def map_of(self, images):
        for kernel in self.kernels[:2]:
            images = tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME"))
        return images

    def logits_of(self, map):
        return 20 * tf.reduce_mean(map, axis=[1, 2]) @ self.kernels[2]


@pytest.fixture(params=methods("explainers"))
def explain(request):
    return build("explainers", SMALL.get(request.param, request.param))


@pytest.fixture(scope="module")
def network():
    return Network()


def test_evidence_is_a_share_whose_largest_place_is_one(explain, network):
    for images in (IMAGES, IMAGES[:1], IMAGES[..., :1].repeat(3, axis=3) * 0.2):
        found = explain(network.map_of, network.logits_of, images, CLASSES[:len(images)])
        assert found.shape == images.shape[:3] and found.dtype == tf.float32
        found = found.numpy()
        assert np.isfinite(found).all() and found.min() >= 0
        assert set(np.unique(found.max(axis=(1, 2)))) <= {0, 1}
    assert found.any(), "there is some"


def test_it_lies_where_the_class_looks(explain):
    for k, half in enumerate(HALVES):
        found = explain(quadrants, by_quadrant, IMAGES, np.full(5, k, np.int32)).numpy()
        inside = np.zeros(SIZE, bool)
        inside[half] = True
        assert (found[:, inside].sum(axis=1) > 0.75 * found.sum(axis=(1, 2))).all()
        assert (found[:, inside].max(axis=1) == 1).all()


def test_no_evidence_is_zero_everywhere(explain):
    def blind(map):
        return tf.ones([tf.shape(map)[0], 4])

    assert not explain(quadrants, blind, IMAGES, CLASSES).numpy().any(), "the answer never changes"
    assert not explain(quadrants, lambda map: -by_quadrant(map)[:, :1] * [1.0, 0, 0, 0], IMAGES, 0 * CLASSES).numpy()[
        :, 8:, 12:].any(), "what speaks against a class is none"
    even = np.full_like(IMAGES, 0.3)
    found = explain(lambda images: quadrants(images + 0.2), by_quadrant, even, CLASSES).numpy()
    assert not found.any(), "an image of one colour in which nothing is found"


def test_images_are_explained_one_by_one(explain, network):
    together = explain(network.map_of, network.logits_of, IMAGES, CLASSES).numpy()
    order = np.array([3, 0, 4, 1, 2])
    moved = explain(network.map_of, network.logits_of, IMAGES[order], CLASSES[order])
    np.testing.assert_allclose(moved, together[order], atol=1e-4)
    alone = [explain(network.map_of, network.logits_of, IMAGES[i:i + 1], CLASSES[i:i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(alone, together, atol=1e-4)
    others = explain(network.map_of, network.logits_of, IMAGES, (CLASSES + 1) % 4).numpy()
    assert (abs(others - together).max(axis=(1, 2)) > 0.1).all(), "each class has its own evidence"


@pytest.mark.parametrize("shape", [[None, *SIZE, 3], [None, None, None, 3]])
def test_an_exported_model_explains_the_same(shape, explain, network, tmp_path):
    module = tf.Module()
    module.network = network
    module.explain = tf.function(
        lambda images, classes: explain(network.map_of, network.logits_of, images, classes),
        input_signature=[tf.TensorSpec(shape, tf.float32), tf.TensorSpec([None], tf.int32)])
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for count in (5, 1):
        wanted = explain(network.map_of, network.logits_of, IMAGES[:count], CLASSES[:count])
        found = loaded.explain(IMAGES[:count], CLASSES[:count])
        assert found.shape == wanted.shape and found.dtype == tf.float32
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_graph_knows_the_size_of_its_evidence(explain, network):
    graph = tf.function(lambda images, classes: explain(network.map_of, network.logits_of, images, classes))
    traced = graph.get_concrete_function(tf.TensorSpec([None, *SIZE, 3]), tf.TensorSpec([None], tf.int32))
    assert traced.output_shapes.as_list() == [None, *SIZE]


def test_maps_of_half_precision_and_large_logits_stay_finite(explain):
    for kind in (tf.float16, tf.bfloat16, tf.float64):
        found = explain(lambda images, kind=kind: tf.cast(quadrants(tf.cast(images, tf.float32)), kind),
                        by_quadrant, IMAGES, CLASSES).numpy()
        assert found.dtype == np.float32 and (found.max(axis=(1, 2)) == 1).all()
    for gain in (1e-3, 1e4):
        found = explain(quadrants, lambda map, gain=gain: gain * by_quadrant(map), IMAGES, CLASSES).numpy()
        assert np.isfinite(found).all()
