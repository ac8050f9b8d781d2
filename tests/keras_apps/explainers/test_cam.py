import numpy as np
import pytest
import tensorflow as tf

from keras_apps.explainers.cam import CamExplainer

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.random((4, 3, 5, 6))
WEIGHTS, BIAS = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=3)
CLASSES = np.array([2, 0, 1, 2], np.int32)


def explained(logits_of, maps=MAPS, classes=CLASSES, size=(3, 5)):
    images = np.zeros((len(maps), *size, 1))
    return CamExplainer()(lambda images: tf.constant(maps), logits_of, images, classes).numpy()


def linear(map):
    return tf.reduce_mean(map, axis=[1, 2]) @ WEIGHTS + BIAS


def curved(map):
    """Looks at places unevenly and not along a line."""
    near = tf.reduce_mean(map * np.linspace(0, 2, 5)[None, None, :, None], axis=[1, 2])
    return tf.tanh(near @ WEIGHTS) + tf.square(near @ WEIGHTS[::-1])


def divided(maps):
    maps = np.maximum(maps, 0)
    largest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def test_it_is_cam_where_logits_are_linear_in_the_mean_map():
    cam = np.zeros((4, 3, 5))
    for i in range(4):
        for y in range(3):
            for x in range(5):
                cam[i, y, x] = sum(WEIGHTS[d, CLASSES[i]] * MAPS[i, y, x, d] for d in range(6))
    np.testing.assert_allclose(explained(linear), divided(cam), atol=1e-6)
    # Enlarged, CAM's own picture: the largest place of the larger picture is 1.
    large = tf.image.resize(np.maximum(cam, 0)[..., None], (24, 31))[..., 0].numpy()
    np.testing.assert_allclose(explained(linear, size=(24, 31)), divided(large), atol=1e-6)


def test_weights_are_the_mean_slopes():
    step, weights = 1e-6, np.zeros((4, 6))
    for d in range(6):
        for y in range(3):
            for x in range(5):
                way = np.zeros(MAPS.shape[1:])
                way[y, x, d] = step
                rise = (curved(MAPS + way) - curved(MAPS - way)).numpy()[np.arange(4), CLASSES]
                weights[:, d] += rise / (2 * step) / 15
    np.testing.assert_allclose(explained(curved), divided(np.einsum("nhwd,nd->nhw", MAPS, weights)), atol=1e-6)


@pytest.mark.parametrize("logits_of", [linear, curved])
def test_scale_and_offset_of_the_logits_and_order_of_the_channels_play_no_part(logits_of):
    found = explained(logits_of)
    np.testing.assert_allclose(explained(lambda map: 100 * logits_of(map) - 7), found, atol=1e-6)
    order = RANDOM.permutation(6)
    back = np.argsort(order)
    np.testing.assert_allclose(explained(lambda map: logits_of(tf.gather(map, back, axis=3)), MAPS[..., order]), found,
                               atol=1e-6)
    np.testing.assert_allclose(explained(logits_of, 1e4 * MAPS if logits_of is linear else MAPS), found, atol=1e-6)


def test_a_place_that_speaks_against_the_class_is_zero():
    maps = np.zeros((1, 2, 2, 2))
    maps[0, 0, 0], maps[0, 1, 1], maps[0, 0, 1] = (2, 0), (0, 3), (1, 0)

    def one_channel_a_class(map):
        return tf.reduce_mean(map, axis=[1, 2]) @ np.array([[1.0, -1], [-1, 1]])
    np.testing.assert_allclose(explained(one_channel_a_class, maps, [0], (2, 2)), [[[1, 0.5], [0, 0]]])
    np.testing.assert_allclose(explained(one_channel_a_class, maps, [1], (2, 2)), [[[0, 0], [0, 1]]])


@pytest.mark.parametrize("logits_of, maps", [
    (lambda map: tf.ones([4, 3]), MAPS), (lambda map: -tf.reduce_mean(map, axis=[1, 2])[:, :3], MAPS),
    (linear, 0 * MAPS)])
def test_no_evidence_is_zero(logits_of, maps):
    assert not explained(logits_of, maps).any()


def test_maps_of_one_place_and_of_float32():
    found = explained(lambda map: tf.reduce_mean(map, axis=[1, 2])[:, :3], MAPS[:, :1, :1], size=(4, 4))
    np.testing.assert_array_equal(found, np.ones((4, 4, 4)))

    def narrow(map):
        return tf.reduce_mean(map, axis=[1, 2]) @ WEIGHTS.astype(np.float32)
    np.testing.assert_allclose(explained(narrow, MAPS.astype(np.float32)), explained(linear), atol=1e-5)
