import numpy as np
import pytest
import tensorflow as tf

from tfrecords.views.simclr import SimclrViews

IMAGES = tf.constant(np.random.default_rng(0).random((60, 16, 12, 3)), tf.float32)
SEED = tf.constant([3, 4])


@pytest.mark.parametrize("words, shape", [({}, (60, 2, 16, 12, 3)), ({"views": 3, "size": 8}, (60, 3, 8, 8, 3)),
                                          ({"size": (6, 9), "blur": 0.5}, (60, 2, 6, 9, 3))])
def test_shape_range_and_that_views_differ(words, shape):
    views, = SimclrViews(**words)(IMAGES, SEED)
    assert views.shape == shape and views.dtype == tf.float32
    assert float(tf.reduce_min(views)) >= 0 and float(tf.reduce_max(views)) <= 1
    assert (views[:, 0] != views[:, 1]).numpy().any((1, 2, 3)).all()


def test_same_seed_same_pixels_eager_graph_and_unknown_batch_size():
    method = SimclrViews(blur=0.5)
    graph = tf.function(method, input_signature=[tf.TensorSpec([None, 16, 12, 3]), tf.TensorSpec([2], tf.int32)])
    assert graph.get_concrete_function().output_shapes[0].as_list() == [None, 2, 16, 12, 3]
    np.testing.assert_allclose(graph(IMAGES, SEED)[0], method(IMAGES, SEED)[0], atol=4e-6)
    np.testing.assert_array_equal(method(IMAGES, SEED)[0], method(IMAGES, SEED)[0])
    assert (method(IMAGES, tf.constant([3, 5]))[0] != method(IMAGES, SEED)[0]).numpy().any()


def test_strength_zero_is_the_image_as_often_as_there_are_views():
    views, = SimclrViews(views=3, blur=0.5)(IMAGES, SEED, 0.0)
    np.testing.assert_array_equal(views, np.repeat(IMAGES[:, None], 3, axis=1))


def test_a_view_shows_its_own_image_alone():
    views = SimclrViews()(IMAGES, SEED)[0].numpy()
    others = tf.concat([IMAGES[:30], 1.0 - IMAGES[30:]], axis=0)
    np.testing.assert_array_equal(SimclrViews()(others, SEED)[0][:30], views[:30])


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels(channels):
    assert SimclrViews(blur=0.5)(tf.ones([4, 8, 8, channels]), SEED)[0].shape == [4, 2, 8, 8, channels]


def test_shares_of_the_recipe():
    """Of smooth pictures too wide to be told from their crops: which views are grey, mirrored, jittered."""
    ramp = np.linspace(0.3, 0.7, 16, dtype=np.float32)[None, None, :, None] * np.float32([0.9, 1.0, 0.7])
    images = tf.constant(np.tile(ramp, (400, 16, 1, 1)))
    views = SimclrViews(area=(0.9, 1.0))(images, SEED)[0].numpy().reshape(800, 16, 16, 3)
    grey = np.ptp(views, axis=-1).max((1, 2)) < 1e-6
    assert 0.15 < grey.mean() < 0.25
    slope = (views[:, :, -1] - views[:, :, 0]).mean((1, 2))
    assert 0.45 < (slope < 0).mean() < 0.55
    plain = np.abs(views[..., 0] / views[..., 1] - 0.9).max((1, 2)) < 1e-3
    assert 0.1 < plain[~grey].mean() < 0.3


@pytest.mark.parametrize("words, told", [({"views": 0}, "`views` is 0"), ({"colour": 2}, "`colour` is 2"),
                                         ({"blur": -1}, "`blur` is -1"), ({"area": (0, 1)}, "0 < smallest")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        SimclrViews(**words)
