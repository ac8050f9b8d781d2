import numpy as np
import pytest
import tensorflow as tf

from tfrecords.augment._operations import OPERATIONS, SIGNED
from tfrecords.augment.rand_augment import RandAugmentAugment


def test_each_image_has_its_own_operation_each_as_often():
    images = tf.random.stateless_uniform([700, 9, 8, 3], [0, 1])
    out = RandAugmentAugment(1, 0.6)(images, tf.constant([2, 3])).numpy()
    ways = [(number, sign) for number, signed in enumerate(SIGNED) for sign in ((1, -1) if signed else (1,))]
    gaps = np.stack([np.abs(OPERATIONS[number](images, tf.fill([700], 0.6 * sign), "zero") - out).max((1, 2, 3))
                     for number, sign in ways])
    assert gaps.min(0).max() < 1e-5, "an image that no operation explains"
    found = np.array(ways)[gaps.argmin(0)]
    counts = np.bincount(found[:, 0], minlength=len(OPERATIONS))
    assert len(counts) == 14 and counts.min() >= 25 and counts.max() <= 80, counts
    signs = found[np.array(SIGNED)[found[:, 0]], 1]
    assert 0.4 < (signs > 0).mean() < 0.6


def test_two_operations_are_one_after_the_other():
    images = tf.random.stateless_uniform([40, 9, 8, 3], [0, 1])
    out = RandAugmentAugment(2, 0.6)(images, tf.constant([2, 3])).numpy()
    ways = [(number, sign) for number, signed in enumerate(SIGNED) for sign in ((1, -1) if signed else (1,))]
    best = np.full(40, np.inf)
    for number, sign in ways:
        first = OPERATIONS[number](images, tf.fill([40], 0.6 * sign), "zero")
        for other, way in ways:
            both = OPERATIONS[other](first, tf.fill([40], 0.6 * way), "zero")
            best = np.minimum(best, np.abs(both - out).max((1, 2, 3)))
    assert best.max() < 1e-5


def test_strength_is_also_the_share_that_is_reached():
    images = tf.random.stateless_uniform([400, 9, 8, 3], [0, 1])
    kept = (RandAugmentAugment(1, 1.0)(images, tf.constant([2, 3]), 0.5).numpy() == images.numpy()).all((1, 2, 3))
    assert 0.46 < kept.mean() < 0.62     # half of them, and those that drew identity


@pytest.mark.parametrize("words, told", [({"operations": 0}, "`operations` is 0"), ({"magnitude": 1.1}, "`magnitude`"),
                                         ({"fill": "grey"}, "`fill` is 'grey'")])
def test_refusals(words, told):
    with pytest.raises(ValueError, match=told):
        RandAugmentAugment(**words)
