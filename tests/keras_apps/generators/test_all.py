"""Every generator: latents [b,z] -> images of the size and channels it was told, each from its own latent alone."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build, methods

SMALL = {"dcgan": "dcgan(width=2)", "progressive": "progressive(width=2, most=4)", "mlp": "mlp(width=8, depth=1)"}
NAMES = methods("generators")
LATENTS = np.random.default_rng(0).normal(size=[5, 6]).astype(np.float32)


def make(name, size=8, channels=1):
    tf.keras.utils.set_random_seed(0)
    return build("generators", SMALL.get(name, name), latent=6, size=size, channels=channels)


fixed = functools.cache(make)      # for tests that change nothing


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size, channels", [(28, 1), (32, 3), (64, 1), ((16, 32), 3)])
def test_images_of_every_size_and_channels(name, size, channels):
    network, sides = make(name, size, channels), size if isinstance(size, tuple) else (size, size)
    assert network.sizes[-1] == sides
    images = network(LATENTS[:2], len(network.sizes) - 1)
    assert images.shape == (2, *sides, channels) and images.dtype == tf.float32
    for stage, smaller in enumerate(network.sizes):
        assert network(LATENTS[:2], stage, 0.5).shape == (2, *smaller, channels)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_depends_on_its_own_latent_alone(name):
    network = fixed(name)
    together, stage = network(LATENTS, len(network.sizes) - 1, 0.5).numpy(), len(network.sizes) - 1
    np.testing.assert_allclose(network(LATENTS[::-1], stage, 0.5), together[::-1], atol=1e-6)
    # Among copies of itself: convolutions of another batch size round differently on some machines.
    alone = [network(LATENTS[[i] * 5], stage, 0.5)[:1] for i in range(5)]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3, "and another latent gives another image"


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_of_unknown_batch_size_equals_eager(name):
    network = fixed(name)
    last = len(network.sizes) - 1
    graph = tf.function(lambda latents, fade: network(latents, last, fade), input_signature=[
        tf.TensorSpec([None, 6]), tf.TensorSpec([])])
    for rows in (5, 1):
        np.testing.assert_allclose(graph(LATENTS[:rows], 0.25), network(LATENTS[:rows], last, 0.25), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_learns_in_some_stage_and_is_there_from_the_start(name):
    network = make(name, 16)
    count, reached = len(network.variables), set()
    for stage in range(len(network.sizes)):
        with tf.GradientTape() as tape:
            images = network(LATENTS, stage, 0.5, training=True)
            total = tf.reduce_sum(images * tf.random.stateless_normal(images.shape, [0, 1]))
        slopes = tape.gradient(total, network.trainable_variables)
        reached |= {i for i, slope in enumerate(slopes) if slope is not None and np.abs(slope).max() > 0}
        assert all(np.isfinite(slope).all() for slope in slopes if slope is not None)
    assert reached == set(range(len(network.trainable_variables))) and len(network.variables) == count


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_gives_float32_images(name):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        network = make(name)
        images = network(LATENTS, len(network.sizes) - 1, tf.constant(0.5), training=True)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert images.dtype == tf.float32 and np.isfinite(images).all()


@pytest.mark.parametrize("name", NAMES)
def test_zero_and_huge_latents_stay_finite(name):
    network = fixed(name)
    for latents in (np.zeros_like(LATENTS), 1e4 * LATENTS, np.ones_like(LATENTS)):
        assert np.isfinite(network(latents, len(network.sizes) - 1)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8, 8), 0, 2.5, True])
def test_what_is_no_size_is_refused(name, size):
    with pytest.raises(ValueError, match=r"^`size` is [^\n]* but [^\n]*\.$"):
        make(name, size)


@pytest.mark.parametrize("text", ["dcgan(width=0)", "mlp(width=0)", "mlp(depth=0)", "progressive(width=0)",
                                  "progressive(width=8, most=4)", "dcgan(norm='spectral')", "dcgan(width=-1)"])
def test_refusals(text):
    with pytest.raises(ValueError, match=r"^[^\n]*(must be|needs)[^\n]*\.$"):
        build("generators", text, latent=6, size=8, channels=1)
