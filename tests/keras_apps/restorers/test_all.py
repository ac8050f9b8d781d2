"""What every restorer keeps to: sizes, the reach it states, and that a new one does no harm."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import methods
from keras_apps.enlarging import bicubic, doublings
from tests.keras_apps.restorers.pieces import images, made, stirred

SMALL = {"edsr": "edsr(width=8, blocks=2, rise=8, code=4)", "rdn": "rdn(width=8, blocks=2, layers=2, growth=4, rise=8, "
         "code=4)", "sigan": "sigan(widths=(8, 8), counts=(1, 1), growth=4, tail=8, code=4)"}
CASES = [*SMALL.items(), ("sigan dense", "sigan(widths=(8, 8), counts=(1, 1), growth=4, tail=8, code=4, "
                          "blocks='dense', on_bicubic=True)"), ("sigan layer", SMALL["sigan"][:-1] + ", norm='layer')")]


def test_every_restorer_is_tried_here():
    assert sorted(SMALL) == methods("restorers")


@pytest.mark.parametrize("name, text", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_codes_and_gradients(name, text, channels):
    network = stirred(made(text, channels))
    low = tf.constant(images(8, 8, channels))
    with tf.GradientTape() as tape:
        features = network.features(low, 4.0, training=True)
        large, code = network.enlarged(low, features, (32, 32), 2, training=True), network.code(features)
        total = tf.reduce_sum(large * images(32, 32, channels)) + tf.reduce_sum(code[:, 0])
    assert large.shape == [2, 32, 32, channels] and large.dtype == tf.float32 and code.shape == [2, 4]
    for variable, gradient in zip(network.trainable_variables, tape.gradient(total, network.trainable_variables)):
        assert gradient is not None and np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.name


@pytest.mark.parametrize("name, text", CASES)
def test_nothing_beyond_the_stated_reach_changes_a_pixel(name, text):
    network = stirred(made(text))
    side = 2 * network.reach + 7
    low = images(side, side, count=1)
    at = network.reach + 3                      # the middle
    other = low.copy()
    beyond = np.abs(np.arange(side) - at) > network.reach
    other[:, beyond], other[:, :, beyond] = 0.9, 0.1
    size = (4 * side, 4 * side)
    middle = slice(4 * at, 4 * at + 4)
    first, second = (network(one, size, 4.0).numpy()[0, middle, middle] for one in (low, other))
    np.testing.assert_allclose(first, second, atol=1e-6)
    other[0, at, at] = 1 - low[0, at, at]
    assert np.abs(network(other, size, 4.0).numpy()[0, middle, middle] - first).max() > 1e-4, "it looks at all"


@pytest.mark.parametrize("text", ["edsr()", "rdn()", "sigan(widths=(8, 8), tail=8, on_bicubic=True)"])
def test_a_new_network_gives_about_the_bicubic_image(text):
    low = images()
    found = made(text)(low, (36, 44), 4.0).numpy()
    assert np.abs(found - bicubic(low, (36, 44)).numpy()).max() < 0.05


@pytest.mark.parametrize("text", [SMALL["edsr"], SMALL["rdn"]])
def test_one_network_serves_scales_between_and_sizes_that_are_no_multiples(text):
    network = stirred(made(text, scales=(2, 4, 8), aware=True))
    for scale in (2, 3, 4, 6, 8):
        size = (9 * scale - 1, 11 * scale)
        found = network(images(), size, float(scale)).numpy()
        assert found.shape == (2, *size, 1) and np.isfinite(found).all()
    assert [doublings(scale) for scale in (1.5, 2, 3, 4, 5, 8)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("text", [SMALL["edsr"], SMALL["rdn"]])
def test_only_a_network_that_is_told_the_scale_makes_use_of_it(text):
    low = images()
    for aware in (True, False):
        network = stirred(made(text, scales=(2, 4, 8), aware=aware))
        maps = [network.features(low, scale).numpy() for scale in (2.0, 4.0)]
        assert (np.abs(maps[0] - maps[1]).max() > 1e-4) == aware


def test_scales_are_told_apart_smoothly():
    network = stirred(made(SMALL["edsr"], scales=(2, 4, 8), aware=True))
    low = images()
    maps = [network.features(low, scale).numpy() for scale in (2.0, 3.0, 4.0)]
    ends, near = np.abs(maps[0] - maps[2]).max(), np.abs(maps[1] - maps[2]).max()
    assert 0 < near < ends


@pytest.mark.parametrize("text, scales, message", [
    ("edsr(width=0)", (4,), "width=0"),
    ("rdn(blocks=0)", (4,), "blocks=0"),
    ("sigan()", (3,), "this generator doubles its map"),
    ("sigan()", (2, 4), "this generator doubles its map"),
    ("sigan(blocks='plain')", (4,), "`blocks` is 'plain' but must be one of residual, dense"),
    ("sigan(widths=(0,))", (4,), r"widths=\(0,\)"),
    ("sigan(norm='instance')", (4,), "`norm` is 'instance' but must be one of batch, layer"),
])
def test_what_cannot_be_built_is_refused(text, scales, message):
    with pytest.raises(ValueError, match=message):
        made(text, scales=scales)
