import numpy as np
import pytest
import tensorflow as tf

from keras_apps.generators.progressive import ProgressiveGenerator, doubled

LATENTS = np.random.default_rng(0).normal(size=[4, 5]).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return ProgressiveGenerator(5, 32, 2, width=2, most=8)


def test_sizes_and_channels_of_the_stages():
    network = ProgressiveGenerator(5, 64, 3, width=4, most=16)
    assert network.sizes == ((4, 4), (8, 8), (16, 16), (32, 32), (64, 64))
    assert [block[1].filters for block in network.blocks] == [16, 16, 16, 8, 4]
    for stage, size in enumerate(network.sizes):
        assert network(LATENTS, stage).shape == (4, *size, 3)
    assert network(LATENTS).shape == (4, 64, 64, 3), "the last stage unless told"
    np.testing.assert_array_equal(network(LATENTS, -2), network(LATENTS, 3))


def test_28_pixels_begin_at_7():
    assert ProgressiveGenerator(5, 28, 1, width=2).sizes == ((7, 7), (14, 14), (28, 28))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_without_fade_it_is_exactly_the_smaller_image_doubled(network, stage):
    smaller = network(LATENTS, stage - 1).numpy()
    np.testing.assert_array_equal(network(LATENTS, stage, 0.0), smaller.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(network(LATENTS, stage, tf.constant(0.0)), doubled(smaller))


def test_between_it_is_the_mean_of_both_in_their_shares(network):
    none, half, all_ = (network(LATENTS, 2, fade).numpy() for fade in (0.0, 0.25, 1.0))
    np.testing.assert_allclose(half, 0.75 * none + 0.25 * all_, atol=1e-6)
    assert np.abs(all_ - none).max() > 0.01


def test_faded_in_it_does_not_look_at_the_older_rgb(network):
    def gradients(fade):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(network(LATENTS, 2, tf.constant(fade)) ** 2)
        return tape.gradient(total, network.images[1].trainable_variables)
    assert not any(slope.numpy().any() for slope in gradients(1.0))
    assert all(slope.numpy().any() for slope in gradients(0.9))
    before, image = network.images[1].w.numpy(), network(LATENTS, 2, 1.0).numpy()
    network.images[1].w.assign_add(tf.ones_like(before))
    np.testing.assert_array_equal(network(LATENTS, 2, 1.0), image)
    assert np.abs(network(LATENTS, 2, 0.5) - image).max() > 0.1
    network.images[1].w.assign(before)


def test_at_the_last_stage_all_but_the_outlived_rgb_learn(network):
    with tf.GradientTape() as tape:
        images = network(LATENTS, -1, 0.5, training=True)
        total = tf.reduce_sum(images * tf.random.stateless_normal(images.shape, [0, 1]))
    variables = network.trainable_variables
    outlived = {id(v) for layer in network.images[:-2] for v in layer.trainable_variables}
    for variable, slope in zip(variables, tape.gradient(total, variables)):
        if id(variable) in outlived:
            assert slope is None
        else:
            assert slope is not None and np.abs(slope).max() > 0, variable.name
    assert len(outlived) == 4 and len(variables) == 2 + 16 + 8


def test_is_its_formula():
    network = ProgressiveGenerator(5, 8, 2, width=3, most=4)
    for variable in network.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))

    def normed(x):
        return x / np.sqrt(np.mean(x ** 2, axis=-1, keepdims=True) + 1e-8)

    def convolved(x, layer):
        kernel = layer.w.numpy()
        gain = layer.gain / np.sqrt(np.prod(kernel.shape[:3]))
        return tf.nn.conv2d(x, kernel * gain, 1, "SAME").numpy() + layer.b.numpy()
    x = convolved(normed(LATENTS)[:, None, None], network.project).reshape(4, 4, 4, 4)
    for place, block in enumerate(network.blocks):
        old, x = x, x.repeat(2, 1).repeat(2, 2) if place else x
        for layer in block:
            x = convolved(x, layer)
            x = normed(np.where(x > 0, x, 0.2 * x))
    small = convolved(old, network.images[0]).repeat(2, 1).repeat(2, 2)
    image = 0.3 * small + 0.7 * convolved(x, network.images[1])
    np.testing.assert_allclose(network(LATENTS, 1, 0.7), (image + 1) / 2, atol=1e-5)


def test_the_length_of_a_latent_plays_no_part(network):
    np.testing.assert_allclose(network(9 * LATENTS), network(LATENTS), atol=1e-4)


def test_training_changes_nothing_and_there_is_nothing_that_is_not_trained(network):
    np.testing.assert_array_equal(network(LATENTS, training=True), network(LATENTS))
    assert not network.non_trainable_variables


def test_first_weights_are_fixed_and_differ_from_layer_to_layer(network):
    again = ProgressiveGenerator(5, 32, 2, width=2, most=8)
    for one, other in zip(network.variables, again.variables):
        np.testing.assert_array_equal(one, other)
    first, second = (layer.w.numpy() for layer in network.blocks[1])
    assert first.shape == second.shape and np.abs(first - second).max() > 1


@pytest.mark.parametrize("words, told", [({"size": 27}, "`size` is 27 "), ({"size": 4}, "`size` is 4 "),
                                         ({"width": 0}, "needs 1 <= width <= most"),
                                         ({"width": 9, "most": 8}, "needs 1 <= width <= most")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        ProgressiveGenerator(**{"latent": 5, "size": 8, "channels": 1, **words})
