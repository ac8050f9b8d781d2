import numpy as np
import pytest
import tensorflow as tf

from keras_apps.explainers.occlusion import OcclusionExplainer

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((3, 7, 10, 2))
WEIGHTS = RANDOM.normal(size=(140, 3)) / 3
CLASSES = np.array([2, 0, 1], np.int32)


def same(images):
    return images


def logits_of(map):
    return tf.tanh(tf.reshape(map, [tf.shape(map)[0], 140]) @ WEIGHTS) * 2


def chance(image, k):
    powers = np.exp(logits_of(tf.constant(image[None])).numpy()[0])
    return powers[k] / powers.sum()


def naive(images, classes, size, stride):
    maps = []
    for image, k in zip(images, classes):
        height, width = image.shape[:2]
        total, count = np.zeros((height, width)), np.zeros((height, width))

        def starts(length):
            found = [at for at in range(0, length, stride) if at + size <= length]
            last = max(0, length - size)
            return found if last in found else [*found, last]
        for top in starts(height):
            for left in starts(width):
                square = np.s_[top:top + size, left:left + size]
                covered = image.copy()
                covered[square] = image.mean(axis=(0, 1))
                total[square] += chance(image, k) - chance(covered, k)
                count[square] += 1
        assert count.all()
        maps.append(np.maximum(total / count, 0))
    maps = np.array(maps)
    return maps / maps.max(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("size, stride", [(3, 2), (2, 2), (4, 3), (7, 7), (8, 3), (5, 1)])
def test_it_equals_the_loop(size, stride):
    found = OcclusionExplainer(size, stride)(same, logits_of, IMAGES, CLASSES)
    np.testing.assert_allclose(found, naive(IMAGES, CLASSES, size, stride), atol=1e-6)


def test_a_square_larger_than_the_image_covers_all_of_it():
    found = OcclusionExplainer(50, 25)(same, logits_of, IMAGES, CLASSES).numpy()
    for map, image, k in zip(found, IMAGES, CLASSES):
        gone = chance(image, k) - chance(np.broadcast_to(image.mean(axis=(0, 1)), image.shape), k)
        np.testing.assert_array_equal(map, np.full((7, 10), float(gone > 0)))


def test_it_needs_no_gradient_and_finds_the_one_bright_spot():
    images = np.zeros((1, 12, 12, 1), np.float32)
    images[0, 4:6, 8:10] = 1

    def bright(map):
        there = tf.cast(tf.reduce_max(map, axis=[1, 2]) > 0.5, tf.float32)     # a step: no slope anywhere
        return tf.concat([5 - 10 * there, 10 * there - 5], axis=1)
    found = OcclusionExplainer(2, 2)(same, bright, images, [1]).numpy()[0]
    wanted = np.zeros((12, 12))
    wanted[4:6, 8:10] = 1
    np.testing.assert_allclose(found, wanted)
    assert not OcclusionExplainer(2, 2)(same, bright, images, [0]).numpy().any(), "it speaks for bright alone"


def test_rounding_is_no_evidence():
    images = RANDOM.random((2, 8, 8, 1)).astype(np.float32)

    def hardly(map):        # moves the probability by less than float32 can tell
        return tf.reduce_mean(map, axis=[1, 2]) * [[1e-6, -1e-6]]
    assert not OcclusionExplainer(2, 2)(same, hardly, images, [0, 1]).numpy().any()


@pytest.mark.parametrize("words, told", [
    ({"size": 0}, "`size` is 0"), ({"size": 2.5}, "`size` is 2.5"),
    ({"size": 4, "stride": 5}, "`stride` is 5 but must be a whole number from 1 to `size`, which is 4"),
    ({"stride": 0}, "`stride` is 0"), ({"stride": 1.5}, "`stride` is 1.5")])
def test_wrong_words_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        OcclusionExplainer(**words)
