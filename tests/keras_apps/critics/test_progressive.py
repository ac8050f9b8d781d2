import numpy as np
import pytest
import tensorflow as tf

from keras_apps.critics.progressive import ProgressiveCritic, halved
from keras_apps.generators.progressive import ProgressiveGenerator

# In steps of 1/256: their means are exact.
IMAGES = (np.random.default_rng(0).integers(0, 256, [8, 16, 16, 2]) / 256).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return ProgressiveCritic(16, 2, width=2, most=8)


def at(stage):
    """The images at the size of a stage of the network."""
    x = IMAGES
    for _ in range(2 - stage):
        x = x.reshape(8, x.shape[1] // 2, 2, x.shape[2] // 2, 2, 2).mean((2, 4))
    return x


def test_sizes_and_channels_mirror_the_generator():
    critic, generator = ProgressiveCritic(64, 3, width=4, most=16), ProgressiveGenerator(5, 64, 3, width=4, most=16)
    assert critic.sizes == generator.sizes
    assert [entry.filters for entry in critic.entries] == [block[1].filters for block in generator.blocks]
    assert [[layer.filters for layer in block] for block in critic.blocks] == [[16, 16], [16, 16], [8, 16], [4, 8]]


@pytest.mark.parametrize("stage", [1, 2])
def test_without_fade_it_is_the_smaller_critic_of_the_halved_image(network, stage):
    wanted = network(at(stage - 1), stage - 1)
    np.testing.assert_array_equal(network(at(stage), stage, 0.0), wanted)
    np.testing.assert_array_equal(network(at(stage), stage, tf.constant(0.0)), wanted)
    assert np.abs(network(at(stage), stage, 1.0) - wanted).max() > 0.01


def test_faded_in_it_does_not_look_at_the_older_entry(network):
    def gradients(fade):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(network(IMAGES, 2, tf.constant(fade)) ** 2)
        return tape.gradient(total, network.entries[1].trainable_variables)
    assert not any(slope.numpy().any() for slope in gradients(1.0))
    assert all(slope.numpy().any() for slope in gradients(0.9))


def test_at_the_last_stage_all_but_the_outlived_entries_learn(network):
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(network(IMAGES, -1, 0.5, training=True) * tf.range(1.0, 9.0))
    variables = network.trainable_variables
    outlived = {id(v) for entry in network.entries[:-2] for v in entry.trainable_variables}
    for variable, slope in zip(variables, tape.gradient(total, variables)):
        if id(variable) in outlived:
            assert slope is None
        else:
            assert slope is not None and np.abs(slope).max() > 0, variable.name
    assert len(outlived) == 2 and len(variables) == 6 + 8 + 6 and not network.non_trainable_variables


def test_is_its_formula():
    network = ProgressiveCritic(8, 2, width=3, most=4, group=4)
    for variable in network.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))

    def leaky(x, layer):
        kernel = layer.w.numpy()
        y = tf.nn.conv2d(x, kernel * (layer.gain / np.sqrt(np.prod(kernel.shape[:3]))), 1, "SAME") + layer.b
        return np.where(y > 0, y, 0.2 * y)

    def half(x):
        return x.reshape(8, 4, 2, 4, 2, -1).mean((2, 4))
    images = at(1) * 2 - 1
    x = leaky(images, network.entries[1])
    for layer in network.blocks[0]:
        x = leaky(x, layer)
    x = 0.3 * leaky(half(images), network.entries[0]) + 0.7 * half(x)
    deviation = [np.sqrt(x[first:first + 4].var(0) + 1e-8).mean() for first in (0, 0, 0, 0, 4, 4, 4, 4)]
    x = np.concatenate([x, np.broadcast_to(np.reshape(deviation, [8, 1, 1, 1]), [8, 4, 4, 1])], -1).astype(np.float32)
    x = leaky(x, network.join).reshape(8, 1, 1, -1)
    x = leaky(x, network.dense)[:, 0, 0]
    scores = x @ network.score.w[0, 0] / np.sqrt(4) + network.score.b
    np.testing.assert_allclose(network(at(1), 1, 0.7), scores[:, 0], atol=1e-5)


def test_groups_of_images_are_scored_by_themselves(network):
    scores = network(IMAGES).numpy()
    np.testing.assert_allclose(np.concatenate([network(IMAGES[:4]), network(IMAGES[4:])]), scores, atol=1e-5)
    np.testing.assert_allclose(network(IMAGES[[2, 0, 1, 3, 4, 5, 6, 7]]), scores[[2, 0, 1, 3, 4, 5, 6, 7]], atol=1e-5)
    assert np.abs(network(IMAGES[:3]) - scores[:3]).max() > 1e-5, "and see each other"


def test_it_notices_images_that_are_all_alike(network):
    same = np.repeat(IMAGES[:1], 8, 0)
    assert abs(network(same)[0] - network(IMAGES)[0]) > 1e-4
    np.testing.assert_allclose(network(same), np.full(8, network(same)[0]), atol=1e-6)


def test_halved_is_the_mean_of_two_by_two():
    np.testing.assert_allclose(halved(IMAGES), at(1), atol=1e-7)


def test_first_weights_are_fixed(network):
    again = ProgressiveCritic(16, 2, width=2, most=8)
    for one, other in zip(network.variables, again.variables):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("words, told", [
    ({"size": 27}, "`size` is 27 "), ({"size": 4}, "`size` is 4 "), ({"width": 0}, "needs 1 <= width <= most"),
    ({"width": 9, "most": 8}, "needs 1 <= width <= most"), ({"group": 1}, "`group` is 1 ")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        ProgressiveCritic(**{"size": 8, "channels": 1, **words})
