"""RDN: its formula, and how large the published one is."""

import numpy as np
import pytest

from keras_apps.enlarging import bicubic
from tests.keras_apps.restorers.pieces import convolved, images, made, relu, risen, stirred, turned


@pytest.mark.parametrize("aware, scale", [(False, 4), (True, 2), (True, 4)])
def test_is_its_formula(aware, scale):
    network = stirred(made("rdn(width=6, blocks=2, layers=3, growth=4, rise=5, code=4)", 3, (2, 4), aware))
    low = images(7, 6, 3)
    first = convolved(np.float64(low) - 0.5, network.first)
    x, kept = convolved(first, network.second), []
    for (dense, fuse), (gain, shift) in zip(network.blocks, turned(network.told, scale) if aware else [(0, 0)] * 2):
        known = [x]
        for layer in dense:
            known.append(relu(convolved(np.concatenate(known, -1), layer)))
        x = x + (1 + gain) * convolved(np.concatenate(known, -1), fuse) + shift
        kept.append(x)
    found = first + convolved(convolved(np.concatenate(kept, -1), network.together), network.after)
    np.testing.assert_allclose(network.features(low, float(scale)), found, atol=1e-5)
    size = (7 * scale, 6 * scale)
    wanted = bicubic(low, size) + risen(network.rise, found, {2: 1, 4: 2}[scale])
    np.testing.assert_allclose(network(low, size, float(scale)), wanted, atol=1e-5)


def test_the_published_one_has_its_parameters():
    """16 blocks of 8 layers with a growth of 64, for x2: the paper's network is known to have 22 million."""
    network = made("rdn(width=64, blocks=16, layers=8, growth=64, rise=64, code=1)", 3, (2,))
    square = 9 * 64 * 64 + 64
    block = sum(9 * 64 * known * 64 + 64 for known in range(1, 9)) + 9 * 64 * 64 + 64
    body = 9 * 3 * 64 + 64 + square + 16 * block + 16 * 64 * 64 + 64 + square
    tail = 9 * 64 * 256 + 256 + 9 * 64 * 3 + 3
    assert 22.0e6 < body + tail < 22.2e6
    assert network.count_params() == body + tail + 65, "and a code of one number"
