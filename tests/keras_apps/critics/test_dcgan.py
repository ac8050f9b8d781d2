import numpy as np
import pytest
import tensorflow as tf

from keras_apps.critics.dcgan import DcganCritic
from keras_apps.layers.batch_norm import BatchNormLayer
from keras_apps.layers.spectral_conv import SpectralConvLayer
from keras_apps.losses.adversarial import _penalties

IMAGES = np.random.default_rng(0).random([6, 16, 16, 2]).astype(np.float32)


def make(size=16, channels=2, width=3, norm="batch"):
    tf.keras.utils.set_random_seed(0)
    return DcganCritic(size, channels, width, norm)


def kernels_of(network):
    """The kernels of a spectrally normalised critic as matrices [k^2 d, filters]."""
    found = [layer.wrapped.layer.kernel for layer in network.submodules if isinstance(layer, SpectralConvLayer)]
    return [kernel.numpy().reshape(-1, kernel.shape[-1]) for kernel in found]


def test_channels_and_parameters_at_64_pixels():
    network = DcganCritic(64, 3, width=64)
    assert [block.layers[0].filters for block in network.blocks] == [64, 128, 256, 512]
    convolutions = 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64 + 128 + 256 + 512
    norms = 2 * (128 + 256 + 512)
    assert sum(int(tf.size(v)) for v in network.trainable_variables) == convolutions + norms + 16 * 512 + 1


def test_28_pixels_end_at_7():
    network = make(28, 1)
    assert [block.layers[0].filters for block in network.blocks] == [3, 6]
    assert network.score.layers[-1].kernel.shape == (7 * 7 * 6, 1)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_is_its_formula(norm):
    network = make(norm=norm)
    for variable in network.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))
    x = IMAGES * 2 - 1
    for place, block in enumerate(network.blocks):
        layer = block.layers[0]
        x = (tf.nn.conv2d(x, layer.kernel, 2, "SAME") + layer.bias).numpy()
        if place and norm == "batch":       # which has seen nothing yet
            x = x / np.sqrt(1 + block.layers[1].epsilon) * block.layers[1].gamma + block.layers[1].beta
        if place and norm == "layer":       # over the places and channels of one image
            x = (x - x.mean((1, 2, 3), keepdims=True)) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
            x = x * block.layers[1].gamma + block.layers[1].beta
        x = np.where(x > 0, x, 0.2 * x)
    dense = network.score.layers[-1]
    scores = (x.reshape(6, -1) @ dense.kernel + dense.bias)[:, 0]
    np.testing.assert_allclose(network(IMAGES), scores, atol=1e-5)


def test_batch_norm_looks_at_the_batch_in_training_alone_and_not_in_the_first_layer():
    network = make()
    norms = [any(isinstance(layer, BatchNormLayer) for layer in block.layers) for block in network.blocks]
    assert norms == [False, True]
    moving = [v.numpy() for v in network.non_trainable_variables]
    assert np.abs(network(IMAGES, training=True) - network(IMAGES)).max() > 1e-3
    assert all(np.abs(v - old).max() > 0 for v, old in zip(network.non_trainable_variables, moving))


@pytest.mark.parametrize("norm", ["none", "layer", "spectral", "batch"])
def test_every_variable_gets_a_gradient(norm):
    network = make(norm=norm)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(network(IMAGES, training=True) * tf.range(1.0, 7.0))
    still = {id(block.layers[0].bias) for block in network.blocks[1:] if norm == "batch"}
    for variable, slope in zip(network.trainable_variables, tape.gradient(total, network.trainable_variables)):
        # A batch norm takes the bias before it away again.
        assert (np.abs(slope).max() > 1e-3) == (id(variable) not in still), variable.name


def test_stage_and_fade_play_no_part():
    network = make()
    np.testing.assert_array_equal(network(IMAGES, 0, 0.2), network(IMAGES))
    np.testing.assert_array_equal(network(IMAGES, -1, 1.0), network(IMAGES))


def test_spectral_norm_holds_in_every_layer_and_bounds_the_slope():
    network = make(norm="spectral")
    bound = 2 * 3 * 3 * 1       # 2 x - 1; of 5 x 5 taps at every second place 9 see a pixel; a dense layer
    graph = tf.function(lambda: network(IMAGES, training=True))
    for _ in range(80):
        graph()
    kernels = kernels_of(network)
    assert [kernel.shape for kernel in kernels] == [(50, 3), (75, 6), (96, 1)]
    for kernel in kernels:
        assert abs(np.linalg.svd(kernel)[1][0] - 1) < 1e-3
    slopes = np.sqrt(_penalties.slope(network, tf.constant(IMAGES)))
    assert (slopes <= bound).all() and (slopes > 0.01).all()
    random = np.random.default_rng(1)
    one, other = random.random([2, 40, 16, 16, 2]).astype(np.float32)
    rise = np.abs(network(one) - network(other))
    assert (rise <= bound * np.linalg.norm((one - other).reshape(40, -1), axis=1)).all()


def test_a_step_of_the_optimizer_is_taken_back_to_the_bound():
    network = make(norm="spectral")
    graph = tf.function(lambda: network(IMAGES, training=True))
    for _ in range(40):
        graph()
    for variable in network.trainable_variables:
        variable.assign(3.0 * variable)
    for _ in range(3):
        graph()
    assert all(abs(np.linalg.svd(kernel)[1][0] - 1) < 0.01 for kernel in kernels_of(network))


@pytest.mark.parametrize("words, told", [
    ({"size": 27}, "`size` is 27 "), ({"size": 6}, "`size` is 6 "), ({"width": 0}, "`width` is 0 "),
    ({"norm": "group"}, "`norm` is 'group' but must be one of batch, layer, spectral, none.")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        make(**words)
