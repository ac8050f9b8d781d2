"""Every adversarial loss: scores of reals and fakes -> one value an image, for the critic and for the generator."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

NAMES = methods("losses/adversarial")
REAL, FAKE = 2 * np.random.default_rng(0).normal(size=[2, 7])


@pytest.fixture(params=NAMES)
def loss(request):
    return build("losses/adversarial", request.param)


def both(loss, real, fake):
    return loss.critic(real, fake), loss.generator(fake)


def test_one_value_an_image_in_float32_or_wider(loss):
    for dtype, wanted in ((tf.float16, tf.float32), (tf.bfloat16, tf.float32), (tf.float32, tf.float32),
                          (tf.float64, tf.float64)):
        real, fake = tf.cast(REAL, dtype), tf.cast(FAKE, dtype)
        for value, same in zip(both(loss, real, fake), both(loss, tf.cast(real, wanted), tf.cast(fake, wanted))):
            assert value.shape == [7] and value.dtype == wanted
            np.testing.assert_array_equal(value, same)


def test_images_count_one_by_one(loss):
    order = np.random.default_rng(1).permutation(7)
    for value, other in zip(both(loss, REAL, FAKE), both(loss, REAL[order], FAKE[order])):
        np.testing.assert_array_equal(other, value.numpy()[order])


def test_gradients_match_central_differences(loss):
    step, generator = 1e-5, np.random.default_rng(2)
    for place in (0, 1):        # critic, generator
        shares = generator.normal(size=7)
        scores = tf.constant([REAL, FAKE])
        with tf.GradientTape() as tape:
            tape.watch(scores)
            total = tf.reduce_sum(both(loss, scores[0], scores[1])[place] * shares)
        gradient = tape.gradient(total, scores)
        for _ in range(3):
            way = generator.normal(size=[2, 7])
            high, low = (both(loss, REAL + sign * way[0], FAKE + sign * way[1])[place] for sign in (step, -step))
            np.testing.assert_allclose(np.sum(gradient * way), np.sum((high - low) * shares) / (2 * step), atol=1e-6)


def test_huge_scores_stay_finite(loss):
    for real, fake in ((4e15, -4e15), (-4e15, 4e15), (0.0, 0.0)):
        scores = tf.constant([[real], [fake]])
        with tf.GradientTape() as tape:
            tape.watch(scores)
            values = tf.stack(both(loss, scores[0], scores[1]))
        assert np.isfinite(values).all() and np.isfinite(tape.gradient(values, scores)).all()


def test_a_better_critic_and_better_fakes_have_a_smaller_loss(loss):
    noise = 0.1 * np.random.default_rng(3).normal(size=[2, 50])

    def critic(real, fake):
        return np.mean(loss.critic(real + noise[0], fake + noise[1]))
    assert critic(1, 0) < critic(0.5, 0.5) < critic(0, 1) < critic(-1, 2)
    good, fair, bad = (np.mean(loss.generator(score + noise[1])) for score in (1, 0.5, -1))
    assert good < fair < bad


def test_a_descent_on_scores_parts_them(loss):
    real, fake = tf.Variable(0.1 * REAL), tf.Variable(0.1 * FAKE)
    for _ in range(20):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(loss.critic(real, fake))
        for variable, slope in zip((real, fake), tape.gradient(total, [real, fake])):
            variable.assign_sub(0.1 * slope)
    assert np.mean(real - fake) > np.mean(0.1 * (REAL - FAKE)) + 0.5
    before = fake.numpy()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss.generator(fake))
    fake.assign_sub(0.1 * tape.gradient(total, fake))
    assert np.mean(fake) > np.mean(before), "and a generator lifts its own"


@pytest.mark.parametrize("name", NAMES)
def test_what_holds_the_critic_is_told_to_who_trains(name):
    """The loop weighs a penalty where the loss has a `weight`, and clips where it has a `clip`."""
    loss, images = build("losses/adversarial", name), tf.ones([3, 2, 2, 1])
    penalty = loss.penalty(lambda images: tf.reduce_sum(images, [1, 2, 3]), images, images, [0, 1])
    assert hasattr(loss, "weight") == (penalty is not None) == (name == "wasserstein_gp")
    assert (loss.clip > 0) == (name == "wasserstein")
