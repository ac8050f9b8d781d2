import numpy as np
import pytest
import tensorflow as tf

from keras_apps.backbones.deepfd_coupled import DeepfdCoupledBackbone

SMALL = {"widths": (3, 4, 6), "blocks": (1, 1, 1), "stem": 5, "stem_stride": 2}
IMAGES = np.random.default_rng(0).random([4, 16, 16, 2]).astype(np.float32)


def make(**words):
    tf.keras.utils.set_random_seed(0)
    return DeepfdCoupledBackbone(**{**SMALL, **words})


def test_published_maps_at_64_pixels():
    backbone = DeepfdCoupledBackbone()
    maps = backbone(tf.keras.Input([64, 64, 3]))
    assert {name: tuple(one.shape[1:]) for name, one in maps.items()} == {
        "map3": (16, 16, 128), "map4": (8, 8, 192), "map5": (4, 4, 256)}
    sizes = [{tuple(v.shape[:2]) for v in stream.trainable_variables if v.shape.rank == 4} for stream in
             backbone.streams]
    assert sizes == [{(7, 7), (3, 3)}, {(7, 7), (5, 5)}]


def test_28_pixels_with_a_smaller_step():
    maps = make()(np.zeros([1, 28, 28, 1], np.float32))
    assert [tuple(one.shape[1:]) for one in maps.values()] == [(14, 14, 6), (7, 7, 8), (4, 4, 12)]


def test_maps_of_both_streams_side_by_side():
    backbone = make()
    for training in (False, True):
        maps = backbone(IMAGES, training=training)
        streams = [stream(IMAGES, training=training) for stream in backbone.streams]
        for name, one in maps.items():
            np.testing.assert_allclose(one, np.concatenate([stream[name] for stream in streams], axis=-1), atol=1e-5)
    first, second = (stream.stem.kernel.numpy() for stream in backbone.streams)
    assert np.abs(first - second).max() > 0.01, "weights of their own"


def test_every_variable_gets_a_gradient():
    backbone = make()
    with tf.GradientTape() as tape:
        last = backbone(IMAGES, training=True)["map5"]
        total = tf.reduce_sum(last * tf.random.stateless_normal(last.shape, [0, 1]))
    variables = backbone.trainable_variables
    assert all(slope is not None and np.abs(slope).max() > 1e-3 for slope in tape.gradient(total, variables))
    assert len(variables) == 2 * (2 + 3 * 2 * 3)


@pytest.mark.parametrize("words", [{"widths": (6, 4, 8)}, {"blocks": (1, 1)}, {"stem": 0}, {"stem_stride": 0}])
def test_refusals(words):
    with pytest.raises(ValueError, match="needs three widths that do not fall"):
        make(**words)
