import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment._operations import OPERATIONS, SIGNED, applied, brightness, posterise
from tfrecords.augment.ct_augment import CtAugmentAugment

IMAGES = tf.random.stateless_uniform([300, 6, 6, 3], [0, 1], 0.2, 0.4)
SEED = tf.constant([4, 5])


def test_bins_follow_the_weights_and_a_probe_does_not():
    method = CtAugmentAugment(operations=2, bins=4)
    weights = np.tile(np.float32([0.5, 1.0, 0.0, 0.9]), (14, 1))       # 0.5 lies below 0.8 of the largest
    images, choices = method.call_with_choices(IMAGES, SEED, weights=weights)
    shares = np.bincount(choices["bin"].numpy().ravel(), minlength=4) / 600
    np.testing.assert_allclose(shares, [0, 1 / 1.9, 0, 0.9 / 1.9], atol=0.07)
    operations = np.bincount(choices["operation"].numpy().ravel(), minlength=14)
    assert operations.min() > 20 and operations.max() < 70
    _, probed = method.call_with_choices(IMAGES, SEED, weights=weights, probe=True)
    np.testing.assert_allclose(np.bincount(probed["bin"].numpy().ravel()) / 600, 0.25, atol=0.07)
    _, plain = method.call_with_choices(IMAGES, SEED)
    np.testing.assert_array_equal(plain["bin"], probed["bin"])
    np.testing.assert_array_equal(plain["operation"], choices["operation"])


def test_each_operation_has_weights_of_its_own():
    weights = np.zeros((14, 14), np.float32)
    weights[np.arange(14), np.arange(14)] = 0.1
    _, choices = CtAugmentAugment(bins=14).call_with_choices(IMAGES, SEED, weights=weights)
    np.testing.assert_array_equal(choices["bin"], choices["operation"])


def test_levels_lie_in_their_bins():
    """Of 3 bins the last: brightness above 1 + 0.9 / 3, and posterise takes 3 or 4 bits away."""
    weights = np.tile(np.float32([0, 0, 1]), (14, 1))
    out, choices = CtAugmentAugment(operations=1, bins=3).call_with_choices(IMAGES, SEED, weights=weights)
    chosen = choices["operation"].numpy()[:, 0]
    bright = chosen == OPERATIONS.index(brightness)
    factor = (out.numpy() / IMAGES.numpy())[bright].mean((1, 2, 3))
    assert factor.min() >= 1.299 and 1.6 < factor.max() <= 1.901 and bright.sum() > 5
    coarse = np.round(out.numpy()[chosen == OPERATIONS.index(posterise)] * 255)
    assert (coarse % 8 == 0).all() and (coarse % 16 != 0).any()


def test_choices_say_what_was_done():
    """With bins so narrow that they tell the level, the images can be made again from the choices."""
    method = CtAugmentAugment(operations=2, bins=20000)
    out, choices = method.call_with_choices(IMAGES[:40], SEED)
    again = IMAGES[:40]
    for number in range(2):
        operation, place = choices["operation"][:, number], choices["bin"][:, number] / 20000
        level = tf.where(tf.gather(tf.constant(SIGNED), operation), 2 * place - 1, place)
        again = applied(again, operation, tf.cast(level, tf.float32), "zero")
    close = np.abs(out - again).max((1, 2, 3)) < 0.01
    assert close.mean() > 0.9       # a level at the edge of a posterised or solarised step may fall to either side


def test_weights_move_towards_what_the_model_bears():
    method = CtAugmentAugment(operations=2, bins=3, decay=0.9)
    choices = {"operation": np.array([[0, 5], [5, 5]]), "bin": np.array([[2, 1], [1, 0]])}
    before = method.first()
    after = method.updated(before, choices, [0.25, 1.0])
    expected = np.ones((14, 3))
    expected[0, 2] = 0.9 + 0.1 * 0.75
    expected[5, 1] = 0.9 * (0.9 + 0.1 * 0.75)
    expected[5, 0] = 0.9
    np.testing.assert_allclose(after, expected, atol=1e-6)
    assert (before == 1).all(), "the weights that were given stay"


def test_weights_fed_to_one_graph_change_what_it_draws():
    method = CtAugmentAugment(operations=1, bins=4)     # tracing takes most of the time
    graph = tf.function(lambda weights: method.call_with_choices(IMAGES, SEED, weights=weights)[1]["bin"])
    for only in (1, 3):
        assert (graph(tf.one_hot(tf.fill([14], only), 4)).numpy() == only).all()


@pytest.mark.parametrize("words, told", [({"operations": 0}, "both >= 1"), ({"bins": 0}, "both >= 1"),
                                         ({"threshold": 2}, "both in"), ({"decay": -1}, "both in"),
                                         ({"fill": "grey"}, "`fill` is 'grey'")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        CtAugmentAugment(**words)
