import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from keras_apps.metrics import generation
from keras_apps.metrics.generation import (
    THREE_DEVIATIONS,
    class_shares,
    coverage,
    frechet,
    nearest_mode,
    precision_recall,
)


def draw(seed=0, real=60, fake=50, dimensions=4):
    generator = np.random.default_rng(seed)
    return generator.normal(size=[real, dimensions]), 1.3 * generator.normal(size=[fake, dimensions]) + 0.4


def modes(centres, each, seed, spread=0.05):
    """Points around centres on the unit circle's eighths, and which."""
    labels = np.repeat(centres, each)
    angles = labels * math.pi / 4
    noise = np.random.default_rng(seed).normal(size=[len(labels), 2])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) + spread * noise, labels


def turned(rows, seed=9):
    return rows @ np.linalg.qr(np.random.default_rng(seed).normal(size=[rows.shape[1]] * 2))[0]


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)))


def radius(rows, i, neighbours):
    return sorted(distance(rows[i], rows[j]) for j in range(len(rows)) if j != i)[neighbours - 1]


def share_inside(asked, rows, neighbours):
    radii = [radius(rows, i, neighbours) for i in range(len(rows))]
    return sum(any(distance(row, rows[i]) <= radii[i] for i in range(len(rows))) for row in asked) / len(asked)


def naive_mode(row, real, labels, share):
    clouds = {k: [r for r, label in zip(real, labels) if label == k] for k in sorted(set(labels))}
    means = {k: sum(cloud) / len(cloud) for k, cloud in clouds.items()}
    nearest = min(means, key=lambda k: distance(row, means[k]))
    reach = np.quantile([distance(r, means[nearest]) for r in clouds[nearest]], share)
    return nearest if distance(row, means[nearest]) <= reach else -1


@pytest.mark.parametrize("rows, dimensions", [(60, 4), (300, 16), (2, 1)])
def test_frechet_equals_the_formula(rows, dimensions):
    real, fake = draw(1, rows, rows + 7, dimensions)
    covariances = [np.cov(side, rowvar=False).reshape(dimensions, dimensions) for side in (real, fake)]
    root = sqrtm(covariances[0] @ covariances[1])
    wanted = np.square(real.mean(axis=0) - fake.mean(axis=0)).sum() + np.trace(sum(covariances) - 2 * root.real)
    value = frechet(real, fake)
    assert value == pytest.approx(wanted, abs=1e-9) and type(value) is float


def test_frechet_by_hand():
    # Means 0 and 3; variances with n - 1: 2 and 8, so (sqrt 2 - sqrt 8)^2 = 2 beside the 9 of the means.
    assert frechet([[-1], [1]], [[1], [5]]) == pytest.approx(11)
    # Covariances diag(2, 0) and diag(0, 2) have nothing in common: 2 + 2.
    assert frechet([[-1, 0], [1, 0]], [[0, -1], [0, 1]]) == pytest.approx(4)
    # A point and a point: only the means count.
    assert frechet(np.zeros([3, 2]), np.full([4, 2], 2.0)) == pytest.approx(8)


def test_frechet_depends_on_no_order_turn_or_shift():
    real, fake = draw(2)
    value = frechet(real, fake)
    assert value > 0.5
    assert frechet(fake, real) == pytest.approx(value, abs=1e-9)
    assert frechet(real[::-1], np.roll(fake, 5, axis=0)) == pytest.approx(value, abs=1e-9)
    assert frechet(turned(real) + 5, turned(fake) + 5) == pytest.approx(value, abs=1e-9)
    assert frechet(3 * real, 3 * fake) == pytest.approx(9 * value, abs=1e-9)


@pytest.mark.parametrize("rows, dimensions", [(200, 8), (20, 64), (2, 5)])
def test_frechet_of_one_set_is_nothing_and_never_negative(rows, dimensions):
    real, _ = draw(3, rows, 2, dimensions)
    assert 0 <= frechet(real, real) < 1e-20
    assert 0 <= frechet(real, real[::-1]) < 1e-20
    # A difference of two traces would lose this, and where rows are few be negative.
    nearly = frechet(real, (1 + 1e-6) * real)
    wanted = 1e-12 * (np.square(real.mean(axis=0)).sum() + real.var(axis=0, ddof=1).sum())
    assert nearly == pytest.approx(wanted, rel=1e-6)
    assert frechet(np.ones([4, 3]), np.ones([9, 3])) == 0


@pytest.mark.parametrize("size", [1e-150, 1e-30, 1e30, 1e150])
def test_frechet_and_balls_at_any_size(size):
    real, fake = draw(4)
    assert frechet(size * real, size * fake) == pytest.approx(size**2 * frechet(real, fake), rel=1e-9, abs=0)
    assert precision_recall(size * real, size * fake) == precision_recall(real, fake)
    labels = np.arange(len(real))
    np.testing.assert_array_equal(nearest_mode(size * real, labels, size * fake), nearest_mode(real, labels, fake))


def test_frechet_takes_float32_and_leaves_arguments():
    real, fake = (side.astype(np.float32) for side in draw(5))
    before = real.copy()
    assert frechet(real, fake) == pytest.approx(frechet(real.astype(float), fake.astype(float)), abs=1e-12)
    precision_recall(real, fake)
    np.testing.assert_array_equal(real, before)


@pytest.mark.parametrize("block", [1 << 22, 170, 1])
@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_precision_and_recall_equal_the_loop(neighbours, block, monkeypatch):
    monkeypatch.setattr(generation, "_BLOCK", block)
    real, fake = draw(6)
    found = precision_recall(real, fake, neighbours)
    wanted = share_inside(fake, real, neighbours), share_inside(real, fake, neighbours)
    assert found == pytest.approx(wanted, abs=1e-9) and 0 < min(found) and max(found) < 1
    assert all(type(value) is float for value in found)


def test_precision_and_recall_by_hand():
    # Radii of 0, 1, 3: 1, 1, 2, so the reals cover [-1, 5]; of 5, 6, 9: 1, 1, 3, so the fakes cover [4, 12].
    real, fake = np.array([[0.0], [1], [3]]), np.array([[5.0], [6], [9]])
    assert precision_recall(real, fake, 1) == (pytest.approx(1 / 3), 0)     # 5 lies on the rim, which is inside
    assert precision_recall(fake, real, 1) == (0, pytest.approx(1 / 3))
    # The second nearest: radii 3, 2, 3 and [-3, 6]; 4, 3, 4 and [1, 13].
    assert precision_recall(real, fake, 2) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_precision_and_recall_depend_on_no_order_turn_or_shift():
    real, fake = draw(7)
    found = precision_recall(real, fake)
    assert precision_recall(real[::-1], np.roll(fake, 3, axis=0)) == found
    assert precision_recall(turned(real) + 2, turned(fake) + 2) == found
    assert precision_recall(fake, real) == found[::-1]


def test_equal_sets_are_wholly_inside_and_far_ones_wholly_outside():
    real, _ = draw(8)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    point = np.ones([6, 3])         # radius 0: nothing but the point itself
    assert precision_recall(point, point) == (1, 1)
    assert precision_recall(point, point + 1e-9) == (0, 0)


def test_noise_costs_precision_and_a_mode_never_drawn_costs_recall():
    real, _ = modes(range(8), 40, 0)
    good, _ = modes(range(8), 40, 1)
    found = {spread: precision_recall(real, modes(range(8), 40, 1, spread)[0]) for spread in (0.05, 0.15, 0.5)}
    assert found[0.05][0] > 0.95 and found[0.05][0] > found[0.15][0] > found[0.5][0]
    fewer = [precision_recall(real, modes(range(kinds), 40, 1)[0]) for kinds in (8, 6, 2)]
    assert [recall for _, recall in fewer] == pytest.approx([1, 6 / 8, 2 / 8], abs=0.06)
    assert min(precision for precision, _ in fewer) > 0.95
    values = [frechet(real, modes(range(8), 40, 1, spread)[0]) for spread in (0.05, 0.15, 0.5)]
    assert values == sorted(values)
    assert frechet(real, good) < frechet(real, modes(range(6), 40, 1)[0]) < frechet(real, modes(range(2), 40, 1)[0])


def test_points_on_a_ring_are_counted_by_their_mode():
    real, labels = modes(range(8), 40, 2)
    shares = {kinds: class_shares(nearest_mode(real, labels, modes(range(kinds), 40, 3)[0]), 8) for kinds in (8, 6)}
    assert coverage(shares[8])["classes_covered"] == 8 and coverage(shares[8])["least_class_share"] > 0.1
    assert coverage(shares[6]) == {"classes_covered": 6, "least_class_share": 0}
    noise = nearest_mode(real, labels, modes(range(8), 40, 3, 0.5)[0])
    assert class_shares(noise, 8).sum() < 0.5 < shares[8].sum()


def test_nearest_mode_equals_the_loop():
    real, fake = draw(10)
    labels = np.random.default_rng(0).integers(0, 4, len(real))
    for share in (0.3, THREE_DEVIATIONS):
        found = nearest_mode(real, labels, fake, share)
        assert found.dtype == np.int64
        assert found.tolist() == [naive_mode(row, real, labels, share) for row in fake]
        assert -1 in found and len(set(found)) > 2
    order = np.random.default_rng(1).permutation(len(real))
    np.testing.assert_array_equal(nearest_mode(real[order], labels[order], fake[::-1]),
                                  nearest_mode(real, labels, fake)[::-1])


def test_nearest_mode_by_hand():
    # Means 1, 10, 30; reaches 1, 2, 0.
    real, labels = np.array([[0.0], [2], [8], [12], [30]]), [7, 7, 2, 2, 5]
    fake = [[-0.1], [0], [5.4], [5.6], [8], [12], [12.1], [30], [29.9]]     # 0, 8 and 12 lie on a rim
    assert nearest_mode(real, labels, fake, 1).tolist() == [-1, 7, -1, -1, 2, 2, -1, 5, -1]


def test_the_default_reach_is_three_deviations_of_a_cloud_in_the_plane():
    real = 0.3 * np.random.default_rng(0).normal(size=(200_000, 2))
    fake = np.array([[0.3 * radius, 0.0] for radius in (2.95, 3.05)])
    assert nearest_mode(real, np.zeros(len(real), int), fake).tolist() == [0, -1]


def test_class_shares_and_coverage_by_hand():
    shares = class_shares([0, 0, 2, -1, 0], 4)
    np.testing.assert_allclose(shares, [0.6, 0, 0.2, 0], atol=1e-12)
    assert coverage(shares) == {"classes_covered": 2, "least_class_share": 0}
    assert coverage(shares, 0.2)["classes_covered"] == 2 and coverage(shares, 0.21)["classes_covered"] == 1
    assert coverage(class_shares([0] * 97 + [1] * 3, 2)) == {"classes_covered": 2, "least_class_share": 0.03}
    assert coverage(class_shares([0, 0], 1)) == {"classes_covered": 1, "least_class_share": 1}
    assert coverage(class_shares([-1, -1], 2)) == {"classes_covered": 0, "least_class_share": 0}
    found = coverage(shares)
    assert type(found["classes_covered"]) is int and type(found["least_class_share"]) is float
    predicted = np.random.default_rng(0).integers(-1, 5, 50)
    np.testing.assert_allclose(class_shares(predicted, 5), [np.mean([p == k for p in predicted]) for k in range(5)])
    np.testing.assert_array_equal(class_shares(predicted[::-1], 5), class_shares(predicted, 5))


REAL, FAKE = draw(11, 8, 7)
BROKEN = np.where(np.arange(8)[:, None] == 5, np.inf, REAL)


@pytest.mark.parametrize("call, told", [
    (lambda: frechet(REAL, FAKE[:, :3]), r"`real` has shape \(8, 4\) and `fake` \(7, 3\)"),
    (lambda: frechet(REAL[0], FAKE), r"`real` has shape \(4,\)"),
    (lambda: frechet(REAL[:, :0], FAKE[:, :0]), r"`real` has shape \(8, 0\)"),
    (lambda: frechet(REAL[:1], FAKE), "`real` has 1 rows but must have at least 2"),
    (lambda: frechet(REAL, FAKE[:0]), "`fake` has 0 rows"),
    (lambda: frechet(BROKEN, FAKE), "`real` row 5 has a value that is not finite"),
    (lambda: frechet(REAL, FAKE * np.nan), "`fake` row 0 has a value that is not finite"),
    (lambda: precision_recall(REAL, FAKE, 7), "`fake` has 7 rows but must have at least 8"),
    (lambda: precision_recall(FAKE, REAL, 7), "`real` has 7 rows but must have at least 8"),
    (lambda: precision_recall(BROKEN, FAKE), "`real` row 5"),
    (lambda: precision_recall(REAL, FAKE, 0), "`neighbours` is 0"),
    (lambda: precision_recall(REAL, FAKE, 1.5), "`neighbours` is 1.5"),
    (lambda: nearest_mode(REAL[:0], [], FAKE), "`real` has 0 rows"),
    (lambda: nearest_mode(REAL, [0] * 8, FAKE, 0), "`share` is 0"),
    (lambda: nearest_mode(REAL, [0] * 8, FAKE[:0]), "`fake` has 0 rows"),
    (lambda: nearest_mode(REAL, [0] * 7, FAKE), r"`labels` is int64 \(7,\)"),
    (lambda: nearest_mode(REAL, [0.0] * 8, FAKE), "`labels` is float64"),
    (lambda: class_shares([], 3), r"`predicted` is float64 \(0,\)"),
    (lambda: class_shares([0.5], 3), "`predicted` is float64"),
    (lambda: class_shares([0, 3], 3), "`predicted` has the class 3"),
    (lambda: class_shares([0, -2], 3), "`predicted` has the class -2"),
    (lambda: class_shares([0], 0), "`classes` is 0"),
    (lambda: coverage([]), "`shares` is"),
    (lambda: coverage([0.5, np.nan]), "`shares` is"),
    (lambda: coverage([3, 5]), "`shares` is"),
    (lambda: coverage([0.5, 0.5], 0), "`least` is 0"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
