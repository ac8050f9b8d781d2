"""Images between images: the sphere, the way between two vectors, reconstructions, and partners of one class."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.latent import LatentImages, slerp

LABELS = np.array([0, 1, 0, 1, 1])
ROWS = np.array([2, 5, 6, 9, 11])


@pytest.fixture(scope="module")
def latent():
    return LatentImages(ROWS, LABELS, 12, (8, 8, 1), dimension=8, width=4, seed=1)


def test_the_way_between_two_unit_vectors_stays_on_the_sphere_at_even_angles():
    random = np.random.default_rng(0)
    first, second = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in random.normal(size=[2, 6, 5]))
    for share in (0.0, 0.25, 0.5, 1.0):
        found = slerp(tf.constant(first), tf.constant(second), tf.constant([[share]], tf.float64)).numpy()
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-9)
        angles = [np.arccos(np.clip((one * two).sum(1), -1, 1)) for one, two in ((first, found), (first, second))]
        np.testing.assert_allclose(angles[0], share * angles[1], atol=1e-6)


def test_equal_vectors_are_between_themselves():
    same = tf.constant([[0.6, 0.8]])
    np.testing.assert_allclose(slerp(same, same, tf.constant([[0.3]])), same, atol=1e-6)


def test_the_loss_is_nought_for_what_the_generator_makes_itself_and_falls_when_trained(latent):
    seed = tf.constant([3, 4])
    index = tf.constant(ROWS)
    images = tf.random.stateless_uniform([5, 8, 8, 1], [1, 2])
    optimizer, values = tf.keras.optimizers.Adam(1e-2), []
    for _ in range(30):
        with tf.GradientTape() as tape:
            loss = latent.loss(images, index, seed)
        optimizer.apply_gradients(zip(tape.gradient(loss, latent.trainable), latent.trainable))
        latent.return_to_sphere()
        values.append(float(tf.reduce_mean(loss)))
    assert values[-1] < 0.6 * values[0]
    np.testing.assert_allclose(np.linalg.norm(latent.vectors, axis=1), 1, atol=1e-6)
    made = latent._made(latent.vectors, seed, True)
    np.testing.assert_allclose(latent.loss(made, index, seed), 0, atol=1e-6)


def test_what_lies_between_is_of_the_class_and_carries_no_gradient(latent):
    # Vectors of one class equal: whatever the partner and the share, the vector is that of the class.
    unit = np.eye(8, dtype=np.float32)[LABELS]
    kept = latent.vectors.numpy()
    latent.vectors.assign(unit)
    latent.noise, noise = 0.0, latent.noise
    try:
        own = latent._made(latent.vectors, [0, 0], False)
        for seed in range(5):
            with tf.GradientTape() as tape:
                made = latent.between(tf.constant(ROWS), tf.constant([seed, 7]))
            np.testing.assert_allclose(made, own, atol=1e-5)
            assert tape.gradient(made, latent.trainable[1:]) == [None] * (len(latent.trainable) - 1)
    finally:
        latent.noise = noise
        latent.vectors.assign(kept)


def test_the_same_seed_gives_the_same_images(latent):
    first, same, other = (latent.between(tf.constant(ROWS), tf.constant([seed, 0])).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0


def test_a_size_that_cannot_be_doubled_to_is_refused():
    with pytest.raises(ValueError, match="doubles a map"):
        LatentImages(ROWS, LABELS, 12, (9, 9, 1))
