"""Every critic: images of the size and channels it was told -> one score each."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

SMALL = {"dcgan": "dcgan(width=2)", "progressive": "progressive(width=2, most=4)", "mlp": "mlp(width=8, depth=1)",
         "sigan": "sigan(widths=(2, 4))"}
NAMES = methods("critics")
IMAGES = np.random.default_rng(0).random([5, 8, 8, 1]).astype(np.float32)


def make(text, size=8, channels=1):
    tf.keras.utils.set_random_seed(0)
    return build("critics", SMALL.get(text, text), size=size, channels=channels)


fixed = functools.cache(make)      # for tests that change nothing


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size, channels", [(28, 1), (32, 3), (64, 1), ((16, 32), 3)])
def test_a_score_an_image_of_every_size_and_channels(name, size, channels):
    sides = size if isinstance(size, tuple) else (size, size)
    scores = make(name, size, channels)(np.zeros([2, *sides, channels], np.float32), -1, 0.5)
    assert scores.shape == (2,) and scores.dtype == tf.float32


@pytest.mark.parametrize("text, training", [(text, training) for text, modes in {
    "mlp(width=8)": (False, True), "dcgan(width=2)": (False,), "dcgan(width=2, norm='none')": (False, True),
    "dcgan(width=2, norm='layer')": (False, True), "dcgan(width=2, norm='spectral')": (False,),
    "sigan(widths=(2, 4))": (False,), "sigan(widths=(2, 4), norm='layer')": (False, True)}.items()
    for training in modes])
def test_an_image_is_scored_by_itself(text, training):
    """So it must be under a gradient penalty; the deviation of a minibatch and batch norm in training are meant to."""
    network = fixed(text, 16)
    images = np.random.default_rng(1).random([3, 16, 16, 1]).astype(np.float32)
    together = network(images, training=training).numpy()
    alone = [network(images[i:i + 1], training=training) for i in range(3)]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-6)
    np.testing.assert_allclose(network(images[::-1], training=training), together[::-1], atol=1e-6)
    assert np.ptp(together) > 1e-4, "and another image has another score"


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_of_unknown_batch_size_equals_eager(name):
    network = fixed(name)
    graph = tf.function(lambda images, fade: network(images, -1, fade), input_signature=[
        tf.TensorSpec([None, 8, 8, 1]), tf.TensorSpec([])])
    for rows in (5, 1):
        np.testing.assert_allclose(graph(IMAGES[:rows], 0.25), network(IMAGES[:rows], -1, 0.25), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_parts_real_and_fake(name):
    network, fakes = make(name), IMAGES[::-1] ** 2
    loss, count = build("losses/adversarial", "logistic"), len(network.variables)
    optimizer = build("optimizers", "adam(rate=0.02)")
    optimizer.build(network.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss.critic(network(IMAGES, -1, 0.5, training=True),
                                               network(fakes, -1, 0.5, training=True)))
        optimizer.apply_gradients(zip(tape.gradient(value, network.trainable_variables), network.trainable_variables))
        return value
    values = [float(step()) for _ in range(15)]
    assert values[-1] < 0.95 * values[0] and len(network.variables) == count, "all are there from the start"


@pytest.mark.parametrize("text", [*NAMES, "dcgan(width=2, norm='spectral')"])
def test_half_precision_gives_float32_scores(text):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        scores = make(text)(IMAGES, -1, tf.constant(0.5), training=True)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert scores.dtype == tf.float32 and np.isfinite(scores).all()


@pytest.mark.parametrize("text", [*NAMES, "dcgan(width=2, norm='layer')", "dcgan(width=2, norm='spectral')"])
def test_black_and_equal_and_huge_images_have_finite_scores_and_slopes(text):
    network = fixed(text)
    for images in (np.zeros_like(IMAGES), np.full_like(IMAGES, 0.5), 1e4 * IMAGES):
        images = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = network(images, -1, 0.5)
        assert np.isfinite(scores).all() and np.isfinite(tape.gradient(scores, images)).all()


@pytest.mark.parametrize("text", ["mlp(width=4)", "dcgan(width=2, norm='layer')", "progressive(width=2, most=4)",
                                  "sigan(widths=(2, 4), norm='layer')"])
def test_a_gradient_penalty_reaches_every_kernel(text):
    """The slope's own gradient goes through the whole network."""
    network, loss = fixed(text), build("losses/adversarial", "wasserstein_gp")
    with tf.GradientTape() as tape:
        value = loss.penalty(lambda images: network(images, -1, 0.5, training=True), tf.constant(IMAGES),
                             tf.constant(IMAGES[::-1]), [0, 1])
    variables = [v for v in network.trainable_variables if v.shape.rank > 1]
    slopes = tape.gradient(value, variables)
    assert all(np.isfinite(slope).all() and np.abs(slope).max() > 0 for slope in slopes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8, 8), 0, 2.5, True])
def test_what_is_no_size_is_refused(name, size):
    with pytest.raises(ValueError, match=r"^`size` is [^\n]* but [^\n]*\.$"):
        make(name, size)


@pytest.mark.parametrize("text", ["dcgan(width=0)", "mlp(width=0)", "mlp(depth=0)", "progressive(width=0)",
                                  "progressive(width=8, most=4)", "dcgan(norm='instance')", "progressive(group=1)"])
def test_refusals(text):
    with pytest.raises(ValueError, match=r"^[^\n]*(must be|needs)[^\n]*\.$"):
        make(text)
