import numpy as np
import pytest
import tensorflow as tf

from keras_apps.generators.mlp import MlpGenerator

LATENTS = np.random.default_rng(0).normal(size=[6, 5]).astype(np.float32)


def test_is_its_formula():
    network = MlpGenerator(5, (2, 3), 2, width=4, depth=3)
    x, (*hidden, last) = LATENTS, [layer for layer in network.net.layers if hasattr(layer, "kernel")]
    assert len(hidden) == 3
    for layer in hidden:
        layer.bias.assign(np.full(4, 0.1))
        x = np.maximum(x @ layer.kernel.numpy() + layer.bias.numpy(), 0)
    images = (x @ last.kernel.numpy() + last.bias.numpy()).reshape(6, 2, 3, 2) / 2 + 0.5
    np.testing.assert_allclose(network(LATENTS), images, atol=1e-5)
    np.testing.assert_array_equal(network(LATENTS, 0, 0.3, training=True), network(LATENTS))


def test_a_single_point():
    network = MlpGenerator(5, 1, 2)
    assert network(LATENTS).shape == (6, 1, 1, 2) and network.sizes == ((1, 1),)
    assert sum(int(tf.size(v)) for v in network.trainable_variables) == 6 * 128 + 129 * 128 + 129 * 2


def test_images_are_not_clipped():
    network = MlpGenerator(5, 1, 2)
    network.net.layers[-2].bias.assign([9.0, -9.0])
    assert network(LATENTS).numpy().max() > 2 and network(LATENTS).numpy().min() < -2


@pytest.mark.parametrize("words", [{"width": 0}, {"depth": 0}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^mlp\(width=.*, depth=.*\) needs numbers of at least 1\.$"):
        MlpGenerator(5, 8, 1, **words)
