import numpy as np
import pytest
import tensorflow as tf

from tfrecords.mixing.turned_classes import TurnedClassesMixing


@pytest.mark.parametrize("turns, mirror, times", [(2, False, 2), (4, False, 4), (4, True, 8), (1, True, 2)])
def test_label_says_how_the_image_was_turned(turns, mirror, times):
    labels = np.repeat(np.arange(12), 3).astype(np.int32)
    labels[-1] = -1
    images = np.random.default_rng(0).random((36, 5, 5, 1)).astype(np.float32)
    method, seen = TurnedClassesMixing(turns, mirror), set()
    assert method.times == times
    for seed in range(6):
        out = method({"image": tf.constant(images), "label": tf.constant(labels), "index": 7}, tf.constant([seed, 0]))
        assert out["index"] == 7
        grown = out["label"].numpy()
        assert grown[-1] == -1
        np.testing.assert_array_equal(grown[:-1] // times, labels[:-1])
        for label in range(11):
            assert len(set(grown[labels == label])) == 1, "images of one label turn alike"
        for image, turned, label in zip(images[:-1], out["image"].numpy(), grown):
            way = label % times
            expected = np.rot90(image[:, ::-1] if way >= turns else image, way % turns * (4 // turns))
            np.testing.assert_array_equal(turned, expected)
            seen.add(way)
    assert seen == set(range(times))


def test_rectangles_are_mirrored_and_turned_by_half_only():
    labels = tf.range(40)
    images = np.random.default_rng(1).random((40, 6, 3, 1)).astype(np.float32)
    out = TurnedClassesMixing(2, True)({"image": tf.constant(images), "label": labels}, tf.constant([0, 0]))
    ways = out["label"].numpy() % 4
    for image, turned, way in zip(images, out["image"].numpy(), ways):
        np.testing.assert_array_equal(turned, np.rot90(image[:, ::-1] if way >= 2 else image, way % 2 * 2))
    assert set(ways) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="images of 6 x 3 pixels but quarter turns need them square; use turns=2"):
        TurnedClassesMixing(4)({"image": tf.constant(images), "label": labels}, tf.constant([0, 0]))


def test_refusal():
    with pytest.raises(ValueError, match="needs turns 2 or 4"):
        TurnedClassesMixing(turns=1)
