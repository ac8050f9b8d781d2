import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.pair.contrastive import ContrastiveLoss
from keras_apps.losses.pair.squared_contrastive import SquaredContrastiveLoss

SAME = np.array([1, 0, 1, 0, -1, 0, 1, 0])
FIRST, SECOND = np.random.default_rng(0).normal(size=[2, 8, 4])


def naive(first, second, same, margin):
    values = []
    for a, b, p in zip(first, second, same):
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        e = np.sum((a - b) ** 2)
        values.append(0.0 if p < 0 else 0.5 * p * e**2 + (1 - p) * max(margin - e, 0) ** 2)
    return np.array(values)


@pytest.mark.parametrize("margin", [1.5, 3.9])
def test_equals_the_loop(margin):
    wanted = naive(FIRST, SECOND, SAME, margin)
    np.testing.assert_allclose(SquaredContrastiveLoss(margin)(FIRST, SECOND, SAME), wanted, atol=1e-9, rtol=0)
    assert np.count_nonzero(wanted[SAME == 0]) > 1


def test_points_placed_by_hand():
    # 90 degrees apart: E = 2; opposite: E = 4; 60 degrees: E = 1.
    first = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    second = np.array([[0.0, 3.0], [-1.0, 0.0], [0.5, np.sqrt(0.75)]])
    found = SquaredContrastiveLoss(margin=1.5)(first, second, [True, True, False])
    np.testing.assert_allclose(found, [2, 8, 0.25], atol=1e-12)


def test_near_pairs_are_pulled_less_than_by_the_canonical_form_and_far_ones_more():
    angles = np.array([0.05, 2.5])
    first, second = np.array([[1.0, 0.0]] * 2), np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ours, usual = (loss(first, second, [1, 1]).numpy() for loss in (
        SquaredContrastiveLoss(), ContrastiveLoss(distance="euclidean")))
    assert ours[0] < usual[0] / 100 and ours[1] > usual[1]


def test_a_collapse_costs_the_different_pairs():
    points = np.ones([4, 3])
    np.testing.assert_allclose(SquaredContrastiveLoss()(points, points, [1, 0, 1, 0]), [0, 0.25, 0, 0.25], atol=1e-12)


@pytest.mark.parametrize("margin", [0.0, -1.0, np.inf, np.nan])
def test_refusals(margin):
    with pytest.raises(ValueError, match="`margin` is .* but must be a finite number above 0"):
        SquaredContrastiveLoss(margin=margin)
    with pytest.raises(ValueError, match="give each pair one truth"):
        SquaredContrastiveLoss()(FIRST, SECOND, tf.zeros([8, 1]))
