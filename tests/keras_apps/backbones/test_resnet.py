import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.resnet import ResnetBackbone


def test_maps_strides_and_parameters():
    backbone = ResnetBackbone(widths=(4, 6, 8, 10), blocks=(1, 2, 1, 1))
    maps = backbone(tf.zeros([2, 32, 24, 3]))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "map3": (2, 16, 12, 6), "map4": (2, 8, 6, 8), "map5": (2, 4, 3, 10)}
    block = 9 * 4 * 4 * 2 + 4 * 4          # two convolutions and two norms of gain and shift
    first = [v for v in backbone.stages[0][0].trainable_variables]
    assert sum(int(tf.size(v)) for v in first) == block


def test_last_stride_and_stem_stride():
    maps = ResnetBackbone(widths=(4, 4, 4), blocks=(1, 1, 1), stem_stride=2, last_stride=1)(tf.zeros([1, 32, 32, 1]))
    assert maps["map4"].shape[1:3] == maps["map5"].shape[1:3] == (8, 8)


def test_a_block_starts_as_its_shortcut():
    backbone = ResnetBackbone(widths=(4, 4, 4), blocks=(3, 1, 1))
    images = tf.random.stateless_uniform([2, 8, 8, 1], [0, 0])
    stem = backbone.stem(images * 4.0 - 2.0)
    np.testing.assert_allclose(backbone(images)["map3"], tf.nn.relu(stem), atol=1e-6)


def test_every_variable_gets_a_gradient_after_a_step():
    backbone = ResnetBackbone(widths=(4, 6, 8), blocks=(1, 1, 1))
    images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 0])
    backbone(images)
    for variable in backbone.trainable_variables:
        if "gamma" in variable.name:
            variable.assign_add(tf.ones_like(variable) * 0.1)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.square(backbone(images, training=True)["map5"]) * tf.random.stateless_normal(
            [4, 4, 4, 8], [1, 1]))
    gradients = tape.gradient(value, backbone.trainable_variables)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)


def test_refusals():
    with pytest.raises(ValueError, match="as many blocks"):
        ResnetBackbone(widths=(4, 4, 4), blocks=(1,))
    with pytest.raises(ValueError, match="strides 1 or 2"):
        ResnetBackbone(stem_stride=3)
