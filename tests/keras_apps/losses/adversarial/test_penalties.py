"""The slope that WGAN-GP and R1 share."""

import numpy as np
import tensorflow as tf

from keras_apps.losses.adversarial import _penalties

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random([4, 3, 4, 2])
KERNEL, DENSE = tf.constant(RANDOM.normal(size=[3, 3, 2, 3])), tf.constant(RANDOM.normal(size=[36, 1]))


def critic(images, kernel=KERNEL, dense=DENSE):
    x = tf.tanh(tf.nn.conv2d(images, kernel, 1, "SAME"))
    return (tf.reshape(x, [-1, 36]) @ dense)[:, 0]


def test_slope_equals_central_differences_pixel_by_pixel():
    step, squares = 1e-5, np.zeros(4)
    for place in np.ndindex(3, 4, 2):
        way = np.zeros([3, 4, 2])
        way[place] = step
        squares += ((critic(IMAGES + way) - critic(IMAGES - way)).numpy() / (2 * step)) ** 2
    np.testing.assert_allclose(_penalties.slope(critic, tf.constant(IMAGES)), squares, atol=1e-6)


def test_slope_of_a_plane_and_of_a_bowl():
    w = RANDOM.normal(size=[3, 4, 2])
    np.testing.assert_allclose(_penalties.slope(lambda x: tf.reduce_sum(w * x, [1, 2, 3]), tf.constant(IMAGES)),
                               np.full(4, np.sum(w ** 2)), atol=1e-9)
    np.testing.assert_allclose(_penalties.slope(lambda x: tf.reduce_sum(x * x, [1, 2, 3]), tf.constant(IMAGES)),
                               4 * np.sum(IMAGES ** 2, (1, 2, 3)), atol=1e-9)


def test_vectors_instead_of_images():
    np.testing.assert_allclose(_penalties.slope(lambda x: x[:, 0] ** 2, tf.constant([[3.0, 1.0], [0.0, 2.0]])), [36, 0])


def test_gradient_of_r1_to_the_critic_matches_central_differences():
    """R1 = weight / 2 x slope at the real images, as the app writes it."""
    step, shares = 1e-5, RANDOM.normal(size=4)

    def r1(kernel, dense):
        slope = _penalties.slope(lambda images: critic(images, kernel, dense), tf.constant(IMAGES))
        return tf.reduce_sum(shares * 5.0 / 2 * slope)
    with tf.GradientTape() as tape:
        tape.watch([KERNEL, DENSE])
        value = r1(KERNEL, DENSE)
    slopes = tape.gradient(value, [KERNEL, DENSE])
    for _ in range(3):
        ways = RANDOM.normal(size=KERNEL.shape) / 5, RANDOM.normal(size=DENSE.shape) / 5
        high, low = (r1(KERNEL + sign * ways[0], DENSE + sign * ways[1]) for sign in (step, -step))
        wanted = (high - low) / (2 * step)
        np.testing.assert_allclose(sum(np.sum(slope * way) for slope, way in zip(slopes, ways)), wanted, atol=1e-6)


def test_a_flat_critic_has_no_slope_and_a_finite_gradient():
    w = tf.Variable(tf.zeros([3, 4, 2], tf.float64))
    with tf.GradientTape() as tape:
        slope = _penalties.slope(lambda x: tf.reduce_sum(x * w, [1, 2, 3]), tf.constant(IMAGES))
    assert not slope.numpy().any() and not tape.gradient(slope, w).numpy().any()


def test_images_without_fakes_stay_where_they_are():
    images = tf.constant(IMAGES)
    np.testing.assert_array_equal(_penalties.between(images, images, [0, 1]), IMAGES)
    assert _penalties.between(tf.cast(images, tf.float32), tf.zeros(IMAGES.shape), [0, 1]).dtype == tf.float32
