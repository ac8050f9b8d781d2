"""EDSR: its formula, and how large the published one is."""

import numpy as np
import pytest

from keras_apps.enlarging import bicubic
from tests.keras_apps.restorers.pieces import convolved, images, made, relu, risen, stirred, turned


@pytest.mark.parametrize("aware, scale", [(False, 4), (True, 2), (True, 4)])
def test_is_its_formula(aware, scale):
    network = stirred(made("edsr(width=6, blocks=3, rise=5, share=0.7, code=4)", 3, (2, 4), aware))
    low = images(7, 6, 3)
    x = first = convolved(np.float64(low) - 0.5, network.first)
    for (one, two), (gain, shift) in zip(network.blocks, turned(network.told, scale) if aware else [(0, 0)] * 3):
        x = x + 0.7 * ((1 + gain) * convolved(relu(convolved(x, one)), two) + shift)
    found = first + convolved(x, network.after)
    np.testing.assert_allclose(network.features(low, float(scale)), found, atol=1e-5)
    size = (7 * scale, 6 * scale)
    wanted = bicubic(low, size) + risen(network.rise, found, {2: 1, 4: 2}[scale])
    np.testing.assert_allclose(network(low, size, float(scale)), wanted, atol=1e-5)
    kernel, bias = network.coder.get_weights()
    np.testing.assert_allclose(network.code(network.features(low, float(scale))), found.mean((1, 2)) @ kernel + bias,
                               atol=1e-5)


def test_the_published_one_has_its_parameters():
    """The baseline of the paper, 64 maps and 16 blocks, for one scale: the paper says 1.5 million for x4."""
    network = made("edsr(width=64, blocks=16, rise=64, code=1)", 3)
    square = 9 * 64 * 64 + 64
    body = 9 * 3 * 64 + 64 + 16 * 2 * square + square
    tail = 2 * (9 * 64 * 256 + 256) + 9 * 64 * 3 + 3
    assert body + tail == 1_517_571
    assert network.count_params() == body + tail + 65, "and a code of one number"
