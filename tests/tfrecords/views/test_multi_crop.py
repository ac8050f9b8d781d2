import numpy as np
import pytest
import tensorflow as tf

from tfrecords.views.multi_crop import MultiCropViews

IMAGES = tf.constant(np.random.default_rng(0).random((40, 24, 24, 3)), tf.float32)
SEED = tf.constant([3, 4])
PLAIN = {"crops": ((2, 24, (1, 1)), (3, 24, (1, 1))), "colour": 0.0}


def test_groups_have_their_sizes_and_all_views_differ():
    large, small = MultiCropViews()(IMAGES, SEED)
    assert large.shape == [40, 2, 32, 32, 3] and small.shape == [40, 6, 16, 16, 3]
    for group in (large, small):
        assert float(tf.reduce_min(group)) >= 0 and float(tf.reduce_max(group)) <= 1
        for i in range(group.shape[1]):
            for j in range(i):
                assert (group[:, i] != group[:, j]).numpy().any((1, 2, 3)).all()
    assert [views.shape[1] for views in MultiCropViews(((1, 8, (0.5, 1)), (1, 8, (0.2, 0.5)), (1, 4, (0.1, 0.2))))(
        IMAGES, SEED)] == [1, 1, 1]
    assert [views.shape[1] for views in MultiCropViews(((5, 8, (0.5, 1)),))(IMAGES, SEED)] == [5]


def test_same_seed_same_pixels_eager_graph_and_unknown_batch_size():
    method = MultiCropViews()
    graph = tf.function(method, input_signature=[tf.TensorSpec([None, 24, 24, 3]), tf.TensorSpec([2], tf.int32)])
    assert [shape.as_list() for shape in graph.get_concrete_function().output_shapes] == [
        [None, 2, 32, 32, 3], [None, 6, 16, 16, 3]]
    for one, other in zip(graph(IMAGES, SEED), method(IMAGES, SEED)):
        # Where a crop's pixel equals the threshold to the last digit, solarising may fall to either side.
        assert (np.abs(one - other) < 4e-6).mean() > 0.9999


def test_strength_zero_is_the_image_as_often_as_there_are_views():
    for views in MultiCropViews(**PLAIN)(IMAGES, SEED, 0.0):
        np.testing.assert_array_equal(views, np.repeat(IMAGES[:, None], views.shape[1], axis=1))


def sharpness(views):
    return np.abs(np.diff(views, axis=3)).mean((2, 3, 4))


def test_the_first_views_are_blurred_the_second_seldom_and_the_further_ones_in_one_of_two():
    images = tf.constant(np.random.default_rng(1).random((300, 24, 24, 1)), tf.float32)
    large, small = (sharpness(views.numpy()) for views in MultiCropViews(**PLAIN, solarise=0)(images, SEED))
    blurred = [(views < 0.999 * sharpness(images.numpy()[:, None])).mean(0) for views in (large, small)]
    # A sigma near 0.1 changes nothing that could be seen: about one in ten.
    assert blurred[0][0] > 0.8 and blurred[0][1] < 0.2
    assert (np.abs(blurred[1] - 0.45) < 0.1).all()


def test_the_second_view_alone_is_solarised():
    images = tf.fill([300, 24, 24, 1], 0.9)
    views = np.concatenate(MultiCropViews(**PLAIN)(images, SEED), axis=1)
    solarised = (views < 0.5).all((2, 3, 4)).mean(0)
    assert 0.12 < solarised[1] < 0.28 and (np.delete(solarised, 1) == 0).all()


def test_what_befalls_a_view_is_drawn_apart():
    images = tf.constant(np.tile(np.float32([0.9, 0.8, 0.7]), (1000, 4, 4, 1)))
    views = MultiCropViews(((2, 4, (1, 1)),), colour=0.0, solarise=0.5)(images, SEED)[0].numpy()[:, 1]
    grey, solarised = np.ptp(views, axis=-1).max((1, 2)) < 1e-6, (views < 0.5).all((1, 2, 3))
    assert abs((grey & solarised).mean() - 0.1) < 0.03 and abs(grey.mean() - 0.2) < 0.04


def test_crops_show_their_share_of_the_image():
    ramp = np.tile(np.linspace(0, 1, 24, dtype=np.float32)[None, None, :, None], (200, 24, 1, 1))
    large, small = MultiCropViews(blur=(0, 0, 0), solarise=0, colour=0)(tf.constant(ramp), SEED)
    wide, narrow = (np.ptp(views.numpy(), axis=3).mean() for views in (large, small))
    assert 0.65 < wide < 0.9 and 0.25 < narrow < 0.45


@pytest.mark.parametrize("words, told", [
    ({"crops": ()}, "`crops` is"), ({"crops": ((0, 8, (0.1, 1)),)}, "`crops` is"), ({"crops": ((2, 8),)}, "`crops` is"),
    ({"blur": (1, 2, 0)}, "`blur` is"), ({"blur": (1,)}, "`blur` is"), ({"solarise": -1}, "solarise=-1"),
    ({"colour": 3}, "colour=3"), ({"crops": ((2, 8, (0.5, 0.1)),)}, "0 < smallest")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        MultiCropViews(**words)
