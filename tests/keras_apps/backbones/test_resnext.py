import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.resnext import ResnextBackbone
from keras_apps.layers.batch_norm import LEAST

SMALL = {"widths": (4, 8, 8), "blocks": (1, 2, 1), "cardinality": 2}
IMAGES = np.random.default_rng(0).random([3, 12, 12, 2]).astype(np.float32)


def make(**words):
    tf.keras.utils.set_random_seed(0)
    return ResnextBackbone(**{**SMALL, **words})


def test_maps():
    maps = make()(IMAGES)
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(12, 12, 8), (6, 6, 16), (3, 3, 16)]
    assert make(stem_stride=2)(IMAGES)["map3"].shape[1] == 6


def test_the_groups_are_one_convolution_with_a_kernel_of_blocks():
    backbone = make()
    backbone(IMAGES)
    block = backbone.stages[1][0]
    x = tf.random.stateless_normal([2, 6, 6, 8], [0, 1])
    joined = tf.concat([group(part) for group, part in zip(block.groups, tf.split(x, 2, axis=-1))], -1)
    whole = np.zeros([3, 3, 8, 8], np.float32)
    for place, group in enumerate(block.groups):
        whole[:, :, 4 * place:4 * place + 4, 4 * place:4 * place + 4] = group.kernel.numpy()
    np.testing.assert_allclose(joined, tf.nn.conv2d(x, whole, 2, "SAME"), atol=1e-5)


def test_a_block_begins_as_its_shortcut():
    backbone = make()
    backbone(IMAGES)
    block = backbone.stages[1][1]
    x = tf.nn.relu(tf.random.stateless_normal([2, 6, 6, 16], [0, 1]))
    np.testing.assert_array_equal(block(x), x)
    wider = backbone.stages[0][0]
    x = tf.random.stateless_normal([2, 6, 6, 4], [0, 2])
    straight = tf.nn.conv2d(x, wider.shortcut.layers[0].kernel, 1, "SAME") / np.sqrt(1 + LEAST)
    np.testing.assert_allclose(wider(x), tf.nn.relu(straight), atol=1e-4)


def test_every_variable_gets_a_gradient():
    backbone = make()
    backbone(IMAGES)
    for variable in backbone.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))
    with tf.GradientTape() as tape:
        last = backbone(IMAGES, training=True)["map5"]
        total = tf.reduce_sum(last * tf.random.stateless_normal(last.shape, [0, 1]))
    assert all(slope is not None and np.abs(slope).max() > 1e-4
               for slope in tape.gradient(total, backbone.trainable_variables))


@pytest.mark.parametrize("words", [{"widths": (4, 8)}, {"blocks": (1, 1)}, {"blocks": (1, 0, 1)}, {"cardinality": 3},
                                   {"stem_stride": 3}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^resnext\(widths=.*\) needs"):
        make(**words)
