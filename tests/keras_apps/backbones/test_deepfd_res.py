import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.deepfd_res import DeepfdResBackbone
from keras_apps.layers.batch_norm import LEAST, BatchNormLayer

SMALL = {"widths": (3, 4, 6), "blocks": (1, 2, 1), "stem": 5, "stem_stride": 2}
IMAGES = np.random.default_rng(0).random([4, 16, 16, 2]).astype(np.float32)


def make(**words):
    tf.keras.utils.set_random_seed(0)
    return DeepfdResBackbone(**{**SMALL, **words})


def test_published_maps_and_parameters_at_64_pixels():
    backbone = DeepfdResBackbone()
    maps = backbone(tf.keras.Input([64, 64, 3]))
    assert {name: tuple(one.shape[1:]) for name, one in maps.items()} == {
        "map3": (16, 16, 96), "map4": (8, 8, 128), "map5": (4, 4, 256)}
    stem, wide = 49 * 3 * 96 + 96, {96: [96] * 4, 128: [96] + [128] * 7, 256: [128] + [256] * 5}
    kernels = sum(9 * before * width for width, inputs in wide.items() for before in inputs)
    norms = sum(2 * before for inputs in wide.values() for before in inputs)
    assert sum(int(tf.size(v)) for v in backbone.trainable_variables) == stem + kernels + norms


def test_28_pixels_with_a_smaller_step_and_other_sides():
    maps = make(stem_stride=2)(np.zeros([1, 28, 28, 1], np.float32))
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(14, 14, 3), (7, 7, 4), (4, 4, 6)]
    maps = make(stem_stride=1)(np.zeros([1, 12, 20, 3], np.float32))
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(12, 20, 3), (6, 10, 4), (3, 5, 6)]


def test_without_means_and_with_kernels_of_one_a_place_sees_only_its_own_surroundings():
    backbone = make(kernel=(3, 1, 1), means=(2, 1))
    maps = backbone(IMAGES)
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(8, 8, 3), (4, 4, 4), (4, 4, 6)]
    with tf.GradientTape() as tape:
        images = tf.constant(IMAGES[:1])
        tape.watch(images)
        place = backbone(images)["map5"][0, 1, 1]
    seen = np.flatnonzero(np.abs(tape.gradient(place, images))[0].sum(axis=(1, 2)))
    # A place i of map3 sees 2 i - 5 to 2 i + 7; this one of map4 and map5 is the mean of the places 2 and 3.
    assert seen.tolist() == list(range(0, 14))


def test_is_its_formula():
    backbone = make()
    backbone(IMAGES)
    for variable in backbone.trainable_variables:
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [1, 2]))

    def swish(x):
        return x / (1 + np.exp(-x))
    x = tf.nn.conv2d(IMAGES * 2 - 1, backbone.stem.kernel, 2, "SAME").numpy() + backbone.stem.bias.numpy()
    maps = []
    for place, level in enumerate(backbone.levels):
        if place:
            x = x.reshape(4, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4))
        for block in level:
            y = x
            for norm, convolution in zip(block.norms, block.convolutions):      # which have seen nothing yet
                y = y / np.sqrt(1 + LEAST) * norm.gamma.numpy() + norm.beta.numpy()
                y = tf.nn.conv2d(swish(y), convolution.kernel, 1, "SAME").numpy()
            wider = np.zeros([*x.shape[:3], y.shape[-1] - x.shape[-1]], np.float32)
            x = y + np.concatenate([x, wider], axis=-1)
        maps.append(x)
    for found, wanted in zip(backbone(IMAGES).values(), maps):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_both_modes_of_the_norms():
    backbone = make()
    plain = backbone(IMAGES)["map5"].numpy()
    alone = [backbone(IMAGES[i:i + 1])["map5"] for i in range(4)]
    np.testing.assert_allclose(np.concatenate(alone), plain, atol=1e-4)
    moving = [v.numpy() for v in backbone.non_trainable_variables]
    assert np.abs(backbone(IMAGES, training=True)["map5"] - plain).max() > 1e-2
    assert len(moving) == 16
    assert all(np.abs(v - old).max() > 0 for v, old in zip(backbone.non_trainable_variables, moving))
    assert np.abs(backbone(IMAGES)["map5"] - plain).max() > 1e-4, "and what was seen counts later"


def test_every_variable_gets_a_gradient():
    backbone = make()
    with tf.GradientTape() as tape:
        last = backbone(IMAGES, training=True)["map5"]
        total = tf.reduce_sum(last * tf.random.stateless_normal(last.shape, [0, 1]))
    variables = backbone.trainable_variables
    assert all(slope is not None and np.abs(slope).max() > 1e-3 for slope in tape.gradient(total, variables))
    assert len(variables) == 2 + 4 * 2 * 3
    assert sum(isinstance(layer, BatchNormLayer) for layer in backbone.submodules) == 8


@pytest.mark.parametrize("words", [{"widths": (4, 4)}, {"widths": (6, 4, 8)}, {"blocks": (1, 1)}, {"blocks": (1, 0, 1)},
                                   {"kernel": 0}, {"kernel": (3, 3)}, {"means": (2,)},
                                   {"means": (2, 0)}, {"stem": 0}, {"stem_stride": 0}])
def test_refusals(words):
    with pytest.raises(ValueError, match=r"^deepfd_res\(widths=.*\) needs three widths that do not fall, "):
        make(**words)
