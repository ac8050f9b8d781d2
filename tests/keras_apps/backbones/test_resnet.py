import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.resnet import ResnetBackbone
from keras_apps.layers.blur_pool import BlurPoolLayer


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


def test_blur_has_no_parameters_and_reads_the_weights_of_the_plain_net(tmp_path):
    words = {"widths": (4, 6, 8), "blocks": (1, 1, 1), "stem_stride": 2}
    plain, blurred, images = ResnetBackbone(**words), ResnetBackbone(**words, blur=4), tf.zeros([1, 33, 30, 1])
    maps = [{name: value.shape for name, value in net(images).items()} for net in (plain, blurred)]
    assert maps[0] == maps[1]
    assert [v.shape for v in plain.variables] == [v.shape for v in blurred.variables]
    path = tf.train.Checkpoint(net=plain).write(str(tmp_path / "plain"))
    tf.train.Checkpoint(net=blurred).read(path).assert_existing_objects_matched()
    for one, other in zip(plain.variables, blurred.variables):
        np.testing.assert_array_equal(one, other)


def test_a_strided_convolution_becomes_convolution_relu_blur():
    backbone = ResnetBackbone(widths=(4, 6, 8), blocks=(1, 1, 1), blur=3)
    backbone(tf.zeros([1, 16, 16, 1]))
    block, blur = backbone.stages[1][0], BlurPoolLayer(3)
    x = tf.constant(np.random.default_rng(0).normal(size=[2, 9, 8, 4]), tf.float32)
    (first, last), (across,) = ([layer.kernel for layer in part.layers if isinstance(layer, tf.keras.layers.Conv2D)]
                                for part in (block.path, block.shortcut))
    block.path.layers[-1].gamma.assign([1.0] * 6)
    norm = 1 / np.sqrt(1 + 1.001e-5)           # of a batch norm that has seen nothing
    middle = blur(tf.nn.relu(norm * tf.nn.conv2d(x, first, 1, "SAME")))
    straight = norm * blur(tf.nn.conv2d(x, across, 1, "SAME"))
    wanted = tf.nn.relu(norm * tf.nn.conv2d(middle, last, 1, "SAME") + straight)
    np.testing.assert_allclose(block(x), wanted, atol=1e-5)
    assert not any(isinstance(layer, BlurPoolLayer) for layer in backbone.stages[0][0].path.layers), "stride 1"


def test_features_of_shifted_images_differ_less_with_blur():
    images = np.random.default_rng(0).random([16, 33, 33, 3]).astype(np.float32)
    tf.keras.utils.set_random_seed(0)
    weights, gaps = None, []
    for blur in (0, 4):
        net = ResnetBackbone(widths=(8, 8, 8), blocks=(1, 1, 1), stem_stride=2, blur=blur)
        net(images)
        for variable in net.trainable_variables:
            if "gamma" in variable.name:
                variable.assign(tf.ones_like(variable))
        weights = weights or net.get_weights()
        net.set_weights(weights)
        one, other = (tf.reduce_mean(net(images[:, :, start:start + 32], training=True)["map5"], [1, 2]).numpy()
                      for start in (0, 1))
        gaps.append(np.sum(np.square(one - other)) / np.sum(np.square(one - one.mean(0))))
    assert gaps[1] < 0.7 * gaps[0]


def test_first_norms_of_first_stages_are_half_instance_norm():
    backbone = ResnetBackbone(widths=(4, 7, 8, 10), blocks=(1, 2, 1, 1), instance=2)
    backbone(tf.zeros([1, 16, 16, 1]))
    # Only the batch half has moving statistics.
    moving = [[int(v.shape[0]) for v in block.path.non_trainable_variables[::2]]
              for stage in backbone.stages for block in stage]
    assert moving == [[2, 4], [4, 7], [4, 7], [8, 8], [10, 10]]


def test_refusals():
    with pytest.raises(ValueError, match="`blur` is 6 "):
        ResnetBackbone(blur=6)
    with pytest.raises(ValueError, match="`instance` is 5 .* from 0 to 4"):
        ResnetBackbone(instance=5)
    with pytest.raises(ValueError, match="as many blocks"):
        ResnetBackbone(widths=(4, 4, 4), blocks=(1,))
    with pytest.raises(ValueError, match="strides 1 or 2"):
        ResnetBackbone(stem_stride=3)


@pytest.mark.parametrize("sides", [(8, 8), (9, 7)])
def test_path_and_shortcut_of_a_strided_block_look_around_the_same_place(sides):
    block = ResnetBackbone(widths=(2, 2, 2), blocks=(1, 1, 1)).stages[1][0]
    images = tf.Variable(tf.random.stateless_normal([1, *sides, 2], [0, 0]))
    for part, reach in ((block.path.layers[0], 1), (block.shortcut.layers[0], 0)):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(part(images)[0, 2, 1])
        rows, columns = np.nonzero(np.abs(tape.gradient(value, images)[0]).sum(-1))
        assert set(rows) == set(range(4 - reach, 5 + reach)) and set(columns) == set(range(2 - reach, 3 + reach))
