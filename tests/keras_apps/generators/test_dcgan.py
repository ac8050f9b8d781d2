import numpy as np
import pytest
import tensorflow as tf

from keras_apps.generators.dcgan import DcganGenerator
from keras_apps.layers.batch_norm import BatchNormLayer

LATENTS = np.random.default_rng(0).normal(size=[6, 5]).astype(np.float32)


def make(size=8, channels=1, **words):
    tf.keras.utils.set_random_seed(0)
    return DcganGenerator(5, size, channels, **words)


def test_channels_and_parameters_at_64_pixels():
    network = DcganGenerator(100, 64, 3, width=64)
    assert network.first == (4, 4, 512) and network.sizes == ((64, 64),)
    widths = [block.layers[0].filters for block in network.blocks] + [network.last.filters]
    assert widths == [256, 128, 64, 3]
    convolutions = 25 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 3
    norms = 2 * (512 + 256 + 128 + 64)
    assert sum(int(tf.size(v)) for v in network.trainable_variables) == 100 * 8192 + convolutions + norms


def test_28_pixels_begin_at_7():
    network = make(28, width=3)
    assert network.first == (7, 7, 6) and [block.layers[0].filters for block in network.blocks] == [3]


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_is_its_formula(norm):
    network = make(16, 2, width=3, norm=norm)
    for variable in network.trainable_variables:        # shifts and gains that show
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))

    def normed(x, layers):
        found = [layer for layer in layers if isinstance(layer, BatchNormLayer)]
        return x if not found else x / np.sqrt(1 + found[0].epsilon) * found[0].gamma + found[0].beta

    def risen(x, layer):
        shape = [len(x), 2 * x.shape[1], 2 * x.shape[2], layer.filters]
        y = tf.nn.conv2d_transpose(x, layer.kernel, shape, 2, "SAME")
        return y + layer.bias if layer.use_bias else y
    x = LATENTS @ network.project.kernel
    x = tf.reshape(x + network.project.bias if norm == "none" else x, [-1, 4, 4, 6])
    x = tf.nn.relu(normed(x, network.rise.layers))
    for block in network.blocks:
        x = tf.nn.relu(normed(risen(x, block.layers[0]), block.layers))
    images = (np.tanh(risen(x, network.last)) + 1) / 2
    np.testing.assert_allclose(network(LATENTS), images, atol=1e-5)


def test_images_lie_between_black_and_white():
    network = make(width=2)
    network.last.bias.assign([1.0])
    network.last.kernel.assign(network.last.kernel * 1e4)
    images = network(LATENTS).numpy()
    assert images.min() >= 0 and images.max() <= 1 and np.ptp(images) > 0.9


def test_batch_norm_looks_at_the_batch_in_training_alone():
    network = make(width=2)
    moving = [v.numpy() for v in network.non_trainable_variables]
    plain = network(LATENTS).numpy()
    assert np.abs(network(LATENTS, training=True) - plain).max() > 1e-3
    assert all(np.abs(v - old).max() > 0 for v, old in zip(network.non_trainable_variables, moving))
    layered = make(width=2, norm="layer")
    np.testing.assert_allclose(layered(LATENTS, training=True)[:2], layered(LATENTS[:2], training=True), atol=1e-6)
    assert not layered.non_trainable_variables


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group", "instance"])
def test_every_variable_gets_a_gradient(norm):
    network = make(16, width=4, norm=norm)
    with tf.GradientTape() as tape:
        images = network(LATENTS, training=True)
        total = tf.reduce_sum(images * tf.random.stateless_normal(images.shape, [0, 1]))
    assert all(slope is not None and np.abs(slope).max() > 0
               for slope in tape.gradient(total, network.trainable_variables))


def test_stage_and_fade_play_no_part():
    network = make(width=2)
    np.testing.assert_array_equal(network(LATENTS, 0, 0.2), network(LATENTS))
    np.testing.assert_array_equal(network(LATENTS, -1, 1.0), network(LATENTS))


@pytest.mark.parametrize("words, told", [({"size": 27}, "`size` is 27 "), ({"size": 6}, "`size` is 6 "),
                                         ({"width": 0}, "`width` is 0 "), ({"norm": "x"}, "`norm` is 'x' ")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        make(**words)
