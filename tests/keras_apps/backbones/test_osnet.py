import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.osnet import OsnetBackbone

SMALL = {"widths": (8, 16, 24, 32)}


def test_maps_strides_and_parameters():
    backbone = OsnetBackbone()
    maps = backbone(tf.zeros([2, 63, 48, 3]))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "map3": (2, 32, 24, 64), "map4": (2, 16, 12, 96), "map5": (2, 8, 6, 128)}
    assert sum(int(tf.size(v)) for v in backbone.trainable_variables) < 300_000


def test_more_stages_blocks_and_the_other_strides():
    maps = OsnetBackbone((8, 8, 16, 16, 24), (1, 2, 1, 1), stem_stride=1, last_stride=1)(tf.zeros([1, 32, 32, 1]))
    assert [tuple(value.shape[1:]) for value in maps.values()] == [(16, 16, 16), (8, 8, 16), (8, 8, 24)]


def naive(x, kernel):
    """3x3 in NumPy, `kernel` [3, 3, d], each channel by itself."""
    padded, (_, h, w, _) = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape
    return sum(kernel[i, j] * padded[:, i:i + h, j:j + w] for i in range(3) for j in range(3))


@pytest.mark.parametrize("stage", [0, 1])
def test_a_block_is_its_formula(stage):
    backbone = OsnetBackbone(**SMALL)
    backbone(tf.zeros([1, 32, 32, 1]))
    block = backbone.stages[stage][0 if stage == 0 else 4]      # behind 1x1, norm, ReLU, average
    before, width = (8, 16) if stage == 0 else (16, 24)
    x = np.random.default_rng(0).normal(size=[2, 5, 6, before]).astype(np.float32)
    norm = 1 / np.sqrt(1 + 1.001e-5)           # of a batch norm that has seen nothing

    def kernels(part):
        return [v.numpy() for layer in part for v in layer.variables if "kernel" in v.name]

    relu = lambda values: np.maximum(values, 0)     # noqa: E731
    (narrow,), (hidden, out), (widen,), (shortcut,) = map(kernels, (block.narrow, block.gate, block.widen,
                                                                    block.shortcut))
    narrowed, joined = relu(norm * x @ narrow[0, 0]), 0
    for depth, stream in enumerate(block.streams, 1):
        seen, found = narrowed, kernels(stream)
        assert len(found) == 2 * depth
        for place, deep in zip(found[::2], found[1::2]):
            seen = relu(norm * naive(seen @ place[0, 0], deep[..., 0]))
        gate = 1 / (1 + np.exp(-relu(seen.mean((1, 2)) @ hidden[0, 0]) @ out[0, 0]))
        joined = joined + gate[:, None, None] * seen
    wanted = relu(norm * joined @ widen[0, 0] + norm * x @ shortcut[0, 0])
    assert wanted.shape == (2, 5, 6, width)
    np.testing.assert_allclose(block(x), wanted, atol=1e-4)


def test_streams_see_three_to_nine_places():
    block = OsnetBackbone(**SMALL).stages[0][0]
    block(tf.zeros([1, 11, 11, 8]))
    assert len(block.streams) == 4
    for depth, stream in enumerate(block.streams, 1):
        for variable in [variable for layer in stream for variable in layer.variables]:
            variable.assign(tf.abs(variable))       # so that no ReLU cuts a path
        x = tf.ones([1, 11, 11, 4])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for layer in stream:
                y = layer(y)
            centre = tf.reduce_sum(y[:, 5, 5])
        reach = np.abs(tape.gradient(centre, x)[0]).sum(-1) > 0
        assert reach.sum() == (2 * depth + 1)**2 and reach[5 - depth:6 + depth, 5 - depth:6 + depth].all()


def test_every_variable_gets_a_gradient():
    tf.keras.utils.set_random_seed(0)
    backbone = OsnetBackbone(**SMALL)
    images = tf.random.stateless_uniform([4, 32, 32, 3], [0, 0])
    backbone(images)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.square(backbone(images, training=True)["map5"]) * tf.random.stateless_normal(
            [4, 4, 4, 32], [1, 1]))
    gradients = tape.gradient(value, backbone.trainable_variables)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize("words, told", [
    ({"widths": (8, 8, 8), "blocks": (1, 1)}, "at least four widths"), ({"blocks": (1, 1)}, "at least four widths"),
    ({"widths": (8, 8, 8, 4)}, "widths >= 8"), ({"stem_stride": 4}, "strides 1 or 2"),
    ({"norm": "none"}, "`norm` is 'none'"),
])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        OsnetBackbone(**words)
