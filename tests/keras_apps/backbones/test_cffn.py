import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.cffn import CffnBackbone
from keras_apps.build import build
from keras_apps.layers.batch_norm import LEAST

SMALL = {"stem_width": 4, "units": (1, 2, 1, 2), "transitions": (3, 4, 5), "growth": 2, "stem": 3, "stem_stride": 1}
IMAGES = np.random.default_rng(0).random([4, 16, 16, 2]).astype(np.float32)


def make(**words):
    tf.keras.utils.set_random_seed(0)
    return CffnBackbone(**{**SMALL, **words})


def test_published_maps_and_channels_at_64_pixels():
    backbone = CffnBackbone()
    maps = backbone(tf.keras.Input([64, 64, 3]))
    assert {name: tuple(one.shape[1:]) for name, one in maps.items()} == {
        "map3": (16, 16, 60), "map4": (8, 8, 78), "map5": (4, 4, 126 + 2 * 24)}
    inputs = [[int(unit.convolution.kernel.shape[2]) for unit in units] for units in backbone.units]
    assert inputs == [[48, 72], [60, 84, 108], [78, 102, 126, 150], [126, 150]]
    ends = [tuple(one.convolution.kernel.shape[2:]) for one in backbone.transitions]
    assert ends == [(96, 60), (132, 78), (174, 126)]
    kernels = 49 * 3 * 48 + 9 * 24 * sum(map(sum, inputs)) + 96 * 60 + 132 * 78 + 174 * 126
    norms = 2 * (sum(map(sum, inputs)) + 96 + 132 + 174)
    assert sum(int(tf.size(v)) for v in backbone.trainable_variables) == kernels + norms


def test_the_feature_of_the_published_network():
    backbone, neck = make(), build("necks", "multi_level(levels=3, dimension=128)", pooling="average()")
    assert neck(backbone(IMAGES)).shape == (4, 3 * 128)


def test_28_pixels_with_a_smaller_step():
    maps = make(stem_stride=2)(np.zeros([1, 28, 28, 1], np.float32))
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(14, 14, 3), (7, 7, 4), (4, 4, 9)]


def test_is_its_formula():
    backbone = make()
    backbone(IMAGES)
    for variable in backbone.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))

    def applied(unit, x):       # norms have seen nothing yet
        y = x / np.sqrt(1 + LEAST) * unit.norm.gamma.numpy() + unit.norm.beta.numpy()
        return tf.nn.conv2d(y / (1 + np.exp(-y)), unit.convolution.kernel, 1, "SAME").numpy()
    x = tf.nn.conv2d(IMAGES * 2 - 1, backbone.stem.kernel, 1, "SAME").numpy()
    ends = []
    for place, units in enumerate(backbone.units):
        for unit in units:
            x = np.concatenate([x, applied(unit, x)], axis=-1)
        if place < 3:
            x = applied(backbone.transitions[place], x)
        ends.append(x)
        if place < 2:
            x = x.reshape(4, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4))
    maps = backbone(IMAGES)
    for name, wanted in zip(("map3", "map4", "map5"), (ends[0], ends[1], ends[3])):
        np.testing.assert_allclose(maps[name], wanted, atol=1e-4)


def test_both_modes_of_the_norms():
    backbone = make()
    plain = backbone(IMAGES)["map5"].numpy()
    alone = [backbone(IMAGES[i:i + 1])["map5"] for i in range(4)]
    np.testing.assert_allclose(np.concatenate(alone), plain, atol=1e-4)
    moving = [v.numpy() for v in backbone.non_trainable_variables]
    assert np.abs(backbone(IMAGES, training=True)["map5"] - plain).max() > 1e-2 and len(moving) == 2 * 9
    assert all(np.abs(v - old).max() > 0 for v, old in zip(backbone.non_trainable_variables, moving))


def test_every_variable_gets_a_gradient():
    backbone = make()
    with tf.GradientTape() as tape:
        last = backbone(IMAGES, training=True)["map5"]
        total = tf.reduce_sum(last * tf.random.stateless_normal(last.shape, [0, 1]))
    variables = backbone.trainable_variables
    assert all(slope is not None and np.abs(slope).max() > 1e-3 for slope in tape.gradient(total, variables))
    assert len(variables) == 1 + 9 * 3


@pytest.mark.parametrize("words", [{"units": (1, 1, 1)}, {"transitions": (1, 1)}, {"units": (1, 1, 0, 1)},
                                   {"transitions": (1, 0, 1)}, {"growth": 0}, {"stem_width": 0}, {"stem": 0},
                                   {"stem_stride": 0}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^cffn\(stem_width=.*\) needs four blocks, three transitions and numbers >="):
        make(**words)
