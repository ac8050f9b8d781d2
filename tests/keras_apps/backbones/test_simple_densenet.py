import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.simple_densenet import SimpleDensenetBackbone
from keras_apps.layers.batch_norm import LEAST

SMALL = {"stem_width": 4, "units": (1, 2, 1), "growth": 2, "channels": 2, "size": (16, 16)}
IMAGES = np.random.default_rng(0).random([4, 16, 16, 2]).astype(np.float32)


def make(**words):
    tf.keras.utils.set_random_seed(0)
    return SimpleDensenetBackbone(**{**SMALL, **words})


@pytest.mark.parametrize("side, stride", [(16, 1), (28, 2), (63, 2), (64, 4), (128, 4)])
def test_the_stem_steps_by_the_size_of_the_images(side, stride):
    maps = make(size=(side, side))(tf.keras.Input([side, side, 2]))
    sides = [-(-side // step) for step in (stride, 2 * stride, 4 * stride)]
    assert [one.shape[1] for one in maps.values()] == sides
    assert make(size=(side, side), stem_stride=1)(tf.keras.Input([side, side, 2]))["map3"].shape[1] == side


def test_the_usual_net_is_small():
    backbone = SimpleDensenetBackbone(channels=3, size=(64, 64))
    backbone(tf.keras.Input([64, 64, 3]))
    ends = [24, 48, 24, 60, 30, 78]
    kernels = 9 * 3 * 24 + 9 * 12 * (24 + 36 + 24 + 36 + 48 + 30 + 42 + 54 + 66) + 48 * 24 + 60 * 30
    norms = 2 * (24 + 36 + 48 + 24 + 36 + 48 + 60 + 30 + 42 + 54 + 66 + ends[-1])
    assert sum(int(tf.size(v)) for v in backbone.trainable_variables) == kernels + norms < 60_000


def test_is_its_formula():
    backbone = make()
    backbone(IMAGES)
    for variable in backbone.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))

    def applied(norm, x):       # norms have seen nothing yet
        return np.maximum(x / np.sqrt(1 + LEAST) * norm.gamma.numpy() + norm.beta.numpy(), 0)

    def unit(layer, x):
        return tf.nn.conv2d(applied(layer.norm, x), layer.convolution.kernel, 1, "SAME").numpy()
    x, ends = tf.nn.conv2d(IMAGES * 2 - 1, backbone.stem.kernel, 1, "SAME").numpy(), []
    for place, units in enumerate(backbone.units):
        for layer in units:
            x = np.concatenate([x, unit(layer, x)], axis=-1)
        ends.append(x)
        if place < 2:
            x = unit(backbone.transitions[place], x)
            x = x.reshape(4, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4))
    maps = backbone(IMAGES)
    for name, wanted in zip(("map3", "map4", "map5"), (*ends[:2], applied(backbone.last, ends[2]))):
        np.testing.assert_allclose(maps[name], wanted, atol=1e-4)


def test_every_variable_gets_a_gradient():
    backbone = make()
    with tf.GradientTape() as tape:
        last = backbone(IMAGES, training=True)["map5"]
        total = tf.reduce_sum(last * tf.random.stateless_normal(last.shape, [0, 1]))
    assert all(slope is not None and np.abs(slope).max() > 1e-4
               for slope in tape.gradient(total, backbone.trainable_variables))


@pytest.mark.parametrize("words", [{"units": (1, 1)}, {"units": (1, 0, 1)}, {"growth": 0}, {"stem_width": 0},
                                   {"stem": 0}, {"stem_stride": -1}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^simple_densenet\(stem_width=.*\) needs three blocks, numbers >= 1"):
        make(**words)
