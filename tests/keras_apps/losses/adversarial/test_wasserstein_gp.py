import math

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.adversarial.wasserstein_gp import WassersteinGpLoss

RANDOM = np.random.default_rng(0)
REAL, FAKE = 2 * RANDOM.normal(size=[2, 7])
IMAGES, OTHERS = RANDOM.random([2, 5, 3, 4, 2])
SEED = [3, 4]


def points(images=IMAGES, others=OTHERS, seed=SEED):
    """The images a penalty looks at."""
    seen = []

    def critic(images):
        seen.append(images.numpy())
        return tf.reduce_sum(images, [1, 2, 3])
    WassersteinGpLoss().penalty(critic, tf.constant(images), tf.constant(others), seed)
    (found,) = seen
    return found


@pytest.mark.parametrize("drift", [0.0, 1e-3, 0.5])
def test_scores_equal_the_loop(drift):
    loss = WassersteinGpLoss(drift=drift)
    wanted = [f - x + drift * x ** 2 for x, f in zip(REAL, FAKE)]
    np.testing.assert_allclose(loss.critic(REAL, FAKE), wanted, atol=1e-9, rtol=0)
    np.testing.assert_array_equal(loss.generator(FAKE), -FAKE)


@pytest.mark.parametrize("weight", [10.0, 0.1])
@pytest.mark.parametrize("length", [0.2, 1.0, 7.0])
def test_penalty_of_a_plane_is_known(weight, length):
    w = RANDOM.normal(size=[3, 4, 2])
    w *= length / np.linalg.norm(w)
    found = WassersteinGpLoss(weight).penalty(lambda x: tf.reduce_sum(x * w, [1, 2, 3]) + 5.0, tf.constant(IMAGES),
                                              tf.constant(OTHERS), SEED)
    np.testing.assert_allclose(found, np.full(5, weight * (length - 1) ** 2), atol=1e-9, rtol=0)


def test_penalty_of_a_bowl_equals_the_loop():
    """c(y) = |y|^2 / 2 has the slope |y| at y."""
    found = WassersteinGpLoss(3.0).penalty(lambda x: tf.reduce_sum(x * x, [1, 2, 3]) / 2, tf.constant(IMAGES),
                                           tf.constant(OTHERS), SEED)
    wanted = [3.0 * (math.sqrt(sum(value * value for value in point.ravel())) - 1) ** 2 for point in points()]
    np.testing.assert_allclose(found, wanted, atol=1e-9, rtol=0)


def test_points_lie_on_the_segment_from_each_real_image_to_its_fake():
    shares = (points() - IMAGES) / (OTHERS - IMAGES)
    share = shares[:, :1, :1, :1]
    np.testing.assert_allclose(shares, np.broadcast_to(share, shares.shape), atol=1e-9)
    assert (share > 0).all() and (share < 1).all() and len(np.unique(share.round(6))) == 5
    np.testing.assert_array_equal(points(), points())
    assert np.abs(points(seed=[3, 5]) - points()).max() > 0.1
    many = points(np.zeros([4000, 1, 1, 1]), np.ones([4000, 1, 1, 1]))
    np.testing.assert_allclose(np.quantile(many, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def small_critic(images, kernel, dense):
    """Images [b,3,4,2] -> [b], through one convolution and one dense layer."""
    x = tf.tanh(tf.nn.conv2d(images, kernel, 1, "SAME"))
    return (tf.reshape(x, [-1, 36]) @ dense)[:, 0]


def test_second_order_gradients_match_central_differences():
    """The penalty's gradient to the critic's weights goes through its gradient to the images."""
    loss, step, shares = WassersteinGpLoss(2.0), 1e-5, RANDOM.normal(size=5)
    weights = [tf.constant(RANDOM.normal(size=shape)) for shape in ([3, 3, 2, 3], [36, 1])]

    def total(weights):
        values = loss.penalty(lambda images: small_critic(images, *weights), tf.constant(IMAGES), tf.constant(OTHERS),
                              SEED)
        return tf.reduce_sum(shares * values)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = total(weights)
    slopes = tape.gradient(value, weights)
    for _ in range(3):
        ways = [RANDOM.normal(size=weight.shape) / 5 for weight in weights]
        high, low = (total([weight + sign * way for weight, way in zip(weights, ways)]) for sign in (step, -step))
        wanted = (high - low) / (2 * step)
        np.testing.assert_allclose(sum(np.sum(slope * way) for slope, way in zip(slopes, ways)), wanted, atol=1e-6)


def test_images_are_penalised_one_by_one():
    def critic(images):
        return tf.reduce_sum(images ** 3, [1, 2, 3])
    loss, order = WassersteinGpLoss(), [2, 0, 1]
    same = tf.constant(IMAGES[:3])      # on the segment of an image with itself every point is the image
    value = loss.penalty(critic, same, same, SEED).numpy()
    moved = tf.gather(same, order)
    np.testing.assert_allclose(loss.penalty(critic, moved, moved, SEED), value[order], atol=1e-12)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_flat_critic_gets_the_full_penalty_and_a_finite_gradient(dtype):
    w = tf.Variable(tf.zeros([3, 4, 2], dtype))
    images, others = tf.cast(IMAGES, dtype), tf.cast(OTHERS, dtype)
    with tf.GradientTape() as tape:
        value = WassersteinGpLoss(10.0).penalty(lambda x: tf.reduce_sum(x * w, [1, 2, 3]), images, others, SEED)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, np.full(5, 10.0), rtol=1e-5)
    assert np.isfinite(tape.gradient(value, w)).all()


def test_descent_brings_the_slope_to_one():
    w = tf.Variable(0.1 * RANDOM.normal(size=[3, 4, 2]))
    for _ in range(50):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(WassersteinGpLoss(1.0).penalty(lambda x: tf.reduce_sum(x * w, [1, 2, 3]),
                                                                  tf.constant(IMAGES), tf.constant(OTHERS), SEED))
        w.assign_sub(0.2 * tape.gradient(value, w))
    np.testing.assert_allclose(np.linalg.norm(w), 1, atol=1e-3)


@pytest.mark.parametrize("words", [{"weight": 0}, {"weight": -1.0}, {"weight": float("nan")}, {"drift": -1e-3},
                                   {"drift": float("inf")}])
def test_wrong_settings_are_refused(words):
    with pytest.raises(ValueError, match=r"^wasserstein_gp\(weight=.*drift=.*\) needs a weight above 0 .* use 10.0"):
        WassersteinGpLoss(**words)
