"""The generator of SiGAN: its formula in both kinds, its published size, its code."""

import numpy as np
import pytest

from keras_apps.enlarging import bicubic
from tests.keras_apps.restorers.pieces import convolved, images, made, normalised, relu, stirred

SMALL = "sigan(widths=(8, 8), counts=(1, 1), growth=4, tail=8, code=4)"


def unit(x, layer):
    return convolved(relu(normalised(x, layer.norm)), layer.convolution)


def residual(x, block):
    return x + unit(unit(x, block.one), block.two)


def dense(x, block):
    for one, two in block.units:
        x = np.concatenate([x, unit(unit(x, one), two)], -1)
    return convolved(normalised(x, block.norm), block.back)


@pytest.mark.parametrize("kind, block", [("residual", residual), ("dense", dense)])
@pytest.mark.parametrize("on_bicubic", [False, True])
def test_is_its_formula(kind, block, on_bicubic):
    network = stirred(made(f"sigan(widths=(6, 5), counts=(1, 2), blocks='{kind}', growth=3, tail=7, code=4, "
                           f"on_bicubic={on_bicubic})", 3))
    low = images(5, 6, 3)
    x = np.float64(low) * 2 - 1
    for (first, *blocks), (norm, convolution) in zip(network.stages, network.rising):
        x = relu(convolved(x, first))
        for one in blocks:
            x = block(x, one)
        x = convolved(relu(normalised(x.repeat(2, axis=1).repeat(2, axis=2), norm)), convolution)
    np.testing.assert_allclose(network.features(low), x, rtol=1e-4, atol=1e-4)
    first, norm, second, third = network.tail
    y = relu(convolved(relu(convolved(relu(normalised(convolved(x, first), norm)), second)), third))
    y = convolved(y, network.last)
    wanted = bicubic(low, (20, 24)) + y if on_bicubic else 1 / (1 + np.exp(-y))
    np.testing.assert_allclose(network(low, (20, 24)), wanted, rtol=1e-4, atol=1e-4)


def test_the_published_sizes():
    network = made("sigan(blocks='dense')", 3)
    assert network.stages[0][0].filters == 416 and network.stages[1][0].filters == 240
    assert [len(stage) - 1 for stage in network.stages] == [2, 3] and network.code(
        network.features(images(8, 8, 3))).shape == [2, 128]
    found = network(images(8, 8, 3), (32, 32)).numpy()
    assert 0 < found.min() and found.max() < 1, "a sigmoid"


def test_makes_eight_times_as_much_of_a_face():
    network = stirred(made(SMALL, scales=(8,)))
    assert network(images(8, 8), (64, 64)).shape == [2, 64, 64, 1] and len(network.stages) == 3


def test_the_code_is_a_distribution_over_what_four_by_four_places_hold():
    network = stirred(made(SMALL))
    features = network.features(images(8, 8)).numpy()
    kernel, bias = network.coder.get_weights()
    sums = features.reshape(2, 4, 8, 4, 8, 8).mean((2, 4)).reshape(2, -1) @ kernel + bias
    wanted = np.exp(sums) / np.exp(sums).sum(axis=1, keepdims=True)
    code = network.code(features).numpy()
    np.testing.assert_allclose(code, wanted, rtol=1e-4)
    np.testing.assert_allclose(code.sum(axis=1), 1, rtol=1e-5)
