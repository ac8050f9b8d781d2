"""Parts are cut where they say; a probe meets the same part of every gallery image, and no other."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.matchers.part_aware import PartAwareMatcher

RANDOM = np.random.default_rng(0)
PARTS = ("full", "upper50", "lower25", "left75", "right50")


def test_a_crop_is_its_part_resized():
    matcher = PartAwareMatcher(4, parts=PARTS)
    images = RANDOM.random((5, 16, 8, 3)).astype(np.float32)
    places = [np.s_[:, :], np.s_[:8, :], np.s_[12:, :], np.s_[:, :6], np.s_[:, 4:]]
    found = matcher.crop(tf.constant(images), tf.range(5)).numpy()
    for number, place in enumerate(places):
        wanted = tf.image.resize(images[number][place], (16, 8)).numpy()
        # Beyond the outermost pixel centres of the part its neighbours are seen, which a file of the part has not.
        np.testing.assert_allclose(found[number][2:-2, 2:-2], wanted[2:-2, 2:-2], atol=1e-5, err_msg=PARTS[number])
    np.testing.assert_allclose(found[0], images[0], atol=1e-6)


def test_parts_are_drawn_evenly_and_the_images_brought_to_them():
    matcher = PartAwareMatcher(4, parts=PARTS)
    images = tf.constant(RANDOM.random((200, 6, 6, 1)), tf.float32)
    crops, drawn = matcher.prepare(images, None, tf.constant([3, 4]))
    assert np.bincount(drawn, minlength=5).min() > 20
    np.testing.assert_array_equal(crops, matcher.crop(images, drawn))
    np.testing.assert_array_equal(drawn, matcher.prepare(images, None, tf.constant([3, 4]))[1])
    assert np.any(drawn != matcher.prepare(images, None, tf.constant([3, 5]))[1])


def test_the_product_of_two_vectors_compares_the_part_that_is_shown():
    matcher = PartAwareMatcher(3, parts=PARTS)
    matcher.kinds.assign(RANDOM.normal(size=[3, 5]))
    images = tf.constant(RANDOM.random((6, 8, 8, 3)), tf.float32)
    weights = RANDOM.normal(size=[192, 7]).astype(np.float32)

    def look(images):
        feature = 5 * (tf.reduce_mean(images, axis=(1, 2)) - 0.5)
        return feature, tf.math.l2_normalize(tf.reshape(images, [-1, 192]) @ weights, axis=1)
    asked, offered = (side(images, look).numpy() for side in (matcher.asked, matcher.offered))
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(offered, axis=1), 1, atol=1e-5)
    feature, own = (one.numpy() for one in look(images))
    shown = (feature @ matcher.kinds.numpy()).argmax(1)
    assert len(set(shown)) > 1
    for i in range(6):
        for j in range(6):
            part = look(matcher.crop(images[j:j + 1], shown[i:i + 1]))[1].numpy()[0]
            assert asked[i] @ offered[j] == pytest.approx(own[i] @ part / 5 ** 0.5, abs=1e-5)


def test_the_term_is_the_cross_entropy_of_the_part():
    matcher = PartAwareMatcher(3, parts=PARTS)
    matcher.kinds.assign(RANDOM.normal(size=[3, 5]))
    feature, kinds = RANDOM.normal(size=[4, 3]).astype(np.float32), np.array([0, 4, 2, 2])
    found = matcher.losses(tf.constant(feature), None, tf.constant(kinds))
    wanted = -np.log(matcher.kind(tf.constant(feature)).numpy()[np.arange(4), kinds])
    np.testing.assert_allclose(found["kind"], wanted, rtol=1e-5)


@pytest.mark.parametrize("changes, message", [
    ({"parts": ("full",)}, "needs 2 parts or more"), ({"parts": ("full", "full")}, "each once"),
    ({"parts": ("full", "upper100")}, "`parts` has 'upper100' but knows"),
    ({"parts": ("full", "middle50")}, "`parts` has 'middle50'"), ({"kind": -1.0}, "a finite weight"),
    ({"kind": float("nan")}, "a finite weight")])
def test_mistakes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PartAwareMatcher(4, **changes)
