import numpy as np
import pytest

from keras_apps.critics.mlp import MlpCritic


def test_is_its_formula():
    network, images = MlpCritic((2, 3), 2, width=4, depth=3), np.random.default_rng(0).random([5, 2, 3, 2])
    x, (*hidden, last) = images.reshape(5, 12) * 4 - 2, [one for one in network.net.layers if hasattr(one, "kernel")]
    assert len(hidden) == 3
    for layer in hidden:
        layer.bias.assign(np.full(4, 0.1))
        x = x @ layer.kernel.numpy() + layer.bias.numpy()
        x = np.where(x > 0, x, 0.2 * x)
    scores = (x @ last.kernel.numpy() + last.bias.numpy())[:, 0]
    np.testing.assert_allclose(network(images.astype(np.float32)), scores, atol=1e-5)
    np.testing.assert_array_equal(network(images, 0, 0.3, training=True), network(images))


def test_a_single_point():
    network = MlpCritic(1, 2)
    assert network(np.zeros([7, 1, 1, 2], np.float32)).shape == (7,)
    assert sum(v.numpy().size for v in network.trainable_variables) == 3 * 128 + 129 * 128 + 129


@pytest.mark.parametrize("words", [{"width": 0}, {"depth": 0}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^mlp\(width=.*, depth=.*\) needs numbers of at least 1\.$"):
        MlpCritic(8, 1, **words)
