"""The critic of SiGAN: its sizes, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build


def made(text="sigan(widths=(4, 6))", size=16):
    return build("critics", text, size=size, channels=1)


def test_the_published_widths_and_strides():
    network = build("critics", "sigan()", size=32, channels=3)
    convolutions = [block.layers[0] for block in network.blocks]
    assert [(one.filters, one.kernel_size[0], one.strides[0]) for one in convolutions] == [
        (64, 3, 2), (128, 3, 2), (256, 3, 2), (384, 3, 2), (384, 3, 1), (384, 1, 1)]
    assert [len(block.layers) for block in network.blocks] == [2, 3, 3, 3, 3, 3], "no norm after the first"


def test_the_score_is_the_mean_over_places():
    network = made()
    image = np.random.default_rng(0).random((1, 16, 16, 1)).astype(np.float32)
    x = tf.constant(image) * 2 - 1
    for block in network.blocks:
        x = block(x)
    np.testing.assert_allclose(network(image), tf.reduce_mean(network.score(x), axis=(1, 2, 3)), rtol=1e-6)
    assert network(np.zeros((2, 40, 24, 1), np.float32)).shape == [2], "whatever the size"


@pytest.mark.parametrize("text, message", [
    ("sigan(widths=())", r"`widths` is \(\) but must hold numbers of at least 1"),
    ("sigan(widths=(4, 0))", r"`widths` is \(4, 0\)"),
    ("sigan(norm='spectral')", "`norm` is 'spectral' but must be one of batch, layer, none"),
])
def test_what_cannot_be_built_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        made(text)
