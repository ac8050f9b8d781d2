import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from keras_apps.explainers.integrated_gradients import IntegratedGradientsExplainer

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((3, 4, 5, 2))
WEIGHTS = RANDOM.normal(size=(40, 3))
CLASSES = np.array([2, 0, 1], np.int32)


def same(images):
    return images


def linear(map):
    return tf.reshape(map, [tf.shape(map)[0], 40]) @ WEIGHTS + 5


def quadratic(map):
    return tf.square(linear(map)) - linear(map)


def curved(map):
    return tf.tanh(linear(map) - 5) * 3


def logits(function, images):
    return function(tf.constant(images)).numpy()[np.arange(len(images)), CLASSES]


def start(baseline):
    if baseline == "mean":
        return np.broadcast_to(IMAGES.mean(axis=(1, 2), keepdims=True), IMAGES.shape)
    return np.full_like(IMAGES, 0.0 if baseline == "black" else baseline)


BASELINES = pytest.mark.parametrize("baseline", ["mean", "black", 0.3, 1])


@BASELINES
def test_attributions_equal_the_loop(baseline):
    found = IntegratedGradientsExplainer(5, baseline).attributions(same, curved, IMAGES, CLASSES)
    assert found.dtype == tf.float64
    for i, k in enumerate(CLASSES):
        image, first = IMAGES[i].ravel(), start(baseline)[i].ravel()
        slopes = np.zeros(40)
        for step in range(5):
            point = first + (step + 0.5) / 5 * (image - first)
            slopes += 3 * (1 - np.tanh(point @ WEIGHTS[:, k]) ** 2) * WEIGHTS[:, k] / 5
        np.testing.assert_allclose(found[i], ((image - first) * slopes).reshape(4, 5, 2), rtol=0, atol=1e-9)


@BASELINES
@pytest.mark.parametrize("function", [linear, quadratic])
@pytest.mark.parametrize("steps", [1, 3])
def test_they_sum_to_the_rise_of_the_logit_exactly_where_it_is_linear_or_quadratic(function, baseline, steps):
    found = IntegratedGradientsExplainer(steps, baseline).attributions(same, function, IMAGES, CLASSES)
    rise = logits(function, IMAGES) - logits(function, start(baseline))
    np.testing.assert_allclose(tf.reduce_sum(found, axis=[1, 2, 3]), rise, atol=1e-9)


@pytest.mark.parametrize("baseline", ["mean", "black"])
def test_they_sum_to_it_with_enough_steps(baseline):
    def gap(steps):
        found = IntegratedGradientsExplainer(steps, baseline).attributions(same, curved, IMAGES, CLASSES)
        rise = logits(curved, IMAGES) - logits(curved, start(baseline))
        return abs(tf.reduce_sum(found, axis=[1, 2, 3]).numpy() - rise).max()
    gaps = [gap(steps) for steps in (4, 16, 64)]
    assert gaps[2] < gaps[1] < gaps[0] and gaps[2] < 0.02
    assert gaps[2] < gaps[1] / 8, "four times the steps, a sixteenth of the gap"


def test_of_a_linear_logit_it_is_weight_times_difference():
    found = IntegratedGradientsExplainer(2, "black").attributions(same, linear, IMAGES, CLASSES)
    for i, k in enumerate(CLASSES):
        np.testing.assert_allclose(found[i], WEIGHTS[:, k].reshape(4, 5, 2) * IMAGES[i], atol=1e-12)
    evidence = IntegratedGradientsExplainer(2, "black")(same, linear, IMAGES, CLASSES)
    places = np.maximum(found.numpy().sum(axis=3), 0)
    np.testing.assert_allclose(evidence, places / places.max(axis=(1, 2), keepdims=True), atol=1e-6)


def test_a_pixel_that_plays_no_part_gets_nothing():
    def blind(map):
        return curved(map * np.r_[np.zeros(2), np.ones(3)][None, None, :, None])
    found = IntegratedGradientsExplainer(4).attributions(same, blind, IMAGES, CLASSES).numpy()
    assert not found[:, :, :2].any() and found[:, :, 2:].all()
    mean = IntegratedGradientsExplainer(4)
    for count in (3, 50):
        even = np.full((2, count, count, 1), 0.1, np.float32)       # the mean of float32 is not exact
        assert not mean(same, lambda map: tf.reduce_sum(map, axis=[1, 2]) * [1.0, -1.0], even, [0, 1]).numpy().any()


@pytest.mark.parametrize("blur", [1, 3, 5, 9])
def test_the_box_is_the_mean_of_what_lies_around(blur):
    plain = IntegratedGradientsExplainer(3)
    total = plain.attributions(same, curved, IMAGES, CLASSES).numpy().sum(axis=3)
    places = np.zeros_like(total)
    for i in range(3):
        for y in range(4):
            for x in range(5):
                reach = blur // 2
                places[i, y, x] = total[i, max(0, y - reach):y + reach + 1, max(0, x - reach):x + reach + 1].mean()
    wanted = np.maximum(places, 0) / np.maximum(places.max(axis=(1, 2), keepdims=True), 1e-30)
    found = IntegratedGradientsExplainer(3, blur=blur)(same, curved, IMAGES, CLASSES)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    if blur == 1:
        np.testing.assert_allclose(found, plain(same, curved, IMAGES, CLASSES), atol=1e-7)
    elif blur == 3:     # away from the edges the box of any library
        other = ndimage.uniform_filter(total, (1, 3, 3))
        np.testing.assert_allclose(places[:, 1:-1, 1:-1], other[:, 1:-1, 1:-1], atol=1e-9)


def test_a_graph_holds_the_network_once_whatever_the_steps():
    def operations(steps):
        explain = IntegratedGradientsExplainer(steps)
        graph = tf.function(lambda images, classes: explain(same, curved, images, classes)).get_concrete_function(
            tf.TensorSpec([None, 4, 5, 2], tf.float64), tf.TensorSpec([None], tf.int32)).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)
    assert operations(2) == operations(64)


@pytest.mark.parametrize("words, told", [
    ({"steps": 0}, "`steps` is 0"), ({"steps": 2.5}, "`steps` is 2.5"),
    ({"baseline": "white"}, "`baseline` is 'white'"), ({"baseline": 1.5}, "`baseline` is 1.5"),
    ({"baseline": float("nan")}, "`baseline` is nan"),
    ({"baseline": True}, "`baseline` is True"), ({"blur": 4}, "`blur` is 4"), ({"blur": -3}, "`blur` is -3")])
def test_wrong_words_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        IntegratedGradientsExplainer(**words)
