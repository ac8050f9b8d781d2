import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.metric.contrastive import ContrastiveLoss as BatchLoss
from keras_apps.losses.pair.contrastive import ContrastiveLoss

FORMS = [
    {"distance": "cosine", "squared": True}, {"distance": "cosine", "squared": False},
    {"distance": "euclidean", "squared": True}, {"distance": "euclidean", "squared": False},
    {"distance": "euclidean", "squared": True, "normalise": False, "margin": 3.0},
    {"distance": "euclidean", "squared": False, "normalise": False, "margin": 3.0},
    {"distance": "cosine", "negatives": 0.25},
]
SAME = np.array([1, 0, 1, 0, -1, 0, 1, 0])
FIRST, SECOND = np.random.default_rng(0).normal(size=[2, 8, 4])


def naive(first, second, same, margin=0.5, distance="cosine", squared=True, normalise=True, negatives=1.0):
    values = []
    for a, b, p in zip(first, second, same):
        if normalise:
            a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        d = 1 - a @ b if distance == "cosine" else np.linalg.norm(a - b)
        power, share = (2, 0.5) if squared else (1, 1)
        value = share * (p * d**power + negatives * (1 - p) * max(margin - d, 0) ** power)
        values.append(value if p >= 0 else 0)
    return np.array(values)


def value_and_gradient(loss, first, second, same):
    first, second = tf.convert_to_tensor(first), tf.convert_to_tensor(second)
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        value = loss(first, second, same)
    return value.numpy(), np.stack(tape.gradient(value, [first, second]))


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_loop(form):
    words = {"margin": 1.5, **form}
    wanted = naive(FIRST, SECOND, SAME, **words)
    np.testing.assert_allclose(ContrastiveLoss(**words)(FIRST, SECOND, SAME), wanted, atol=1e-9, rtol=0)
    assert np.count_nonzero(wanted[SAME == 0]) > 1


def test_points_placed_by_hand():
    # On the unit circle: 90 degrees apart, cosine distance 1; opposite ones, 2; 60 degrees, 1/2.
    first = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    second = np.array([[0.0, 3.0], [-1.0, 0.0], [0.5, np.sqrt(0.75)], [0.0, 1.0]])
    same = [True, True, False, False]
    np.testing.assert_allclose(ContrastiveLoss(margin=1.5)(first, second, same), [0.5, 2, 0.5, 0.125], atol=1e-12)
    np.testing.assert_allclose(ContrastiveLoss(margin=1.5, squared=False)(first, second, same), [1, 2, 1, 0.5],
                               atol=1e-12)
    # Not normalised: 3-4-5.
    value = ContrastiveLoss(margin=7, distance="euclidean", normalise=False)([[3.0, 4.0]] * 2, [[0.0, 0.0]] * 2, [1, 0])
    np.testing.assert_allclose(value, [12.5, 2], atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_two_is_the_batch_loss(form):
    """One other image is all pairs of an image."""
    for i, same in enumerate(SAME):
        labels = {1: [5, 5], 0: [5, 6], -1: [-1, 5]}[int(same)]
        batch = BatchLoss(**form)(np.stack([FIRST[i], SECOND[i]]), labels)
        pair = ContrastiveLoss(**form)(FIRST[i:i + 1], SECOND[i:i + 1], [same])
        np.testing.assert_allclose(batch, np.repeat(pair, 2), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_equal_embeddings_have_no_slope_whatever_they_are(form):
    loss = ContrastiveLoss(**form)
    for rows in (FIRST, np.zeros_like(FIRST), np.ones_like(FIRST), 1e30 * FIRST, 1e-30 * FIRST):
        for dtype in (np.float32, np.float64):
            value, gradient = value_and_gradient(loss, rows.astype(dtype), rows.astype(dtype), SAME)
            assert np.isfinite(value).all() and not gradient.any()
            if rows.any():
                assert not value[SAME != 0].any() and value[SAME == 0].all()


def test_a_zero_embedding_has_cosine_zero_with_all():
    for same, wanted in ((1, 0.5), (0, 0.125)):
        value, gradient = value_and_gradient(ContrastiveLoss(margin=1.5), FIRST * 0, SECOND, np.full(8, same))
        np.testing.assert_allclose(value, wanted, atol=1e-12)
        assert np.isfinite(gradient).all()


def test_a_pair_beyond_the_margin_and_an_unknown_one_do_not_move():
    far = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.1]])
    for form in FORMS:
        for same in (0, -1, -7):
            value, gradient = value_and_gradient(ContrastiveLoss(**{**form, "margin": 0.5}), *far, np.array([same]))
            assert not value.any() and not gradient.any()


def test_a_collapse_is_optimal_only_without_negatives():
    points = np.ones([4, 3])
    assert not ContrastiveLoss()(points, points, [1, 1, 1, 1]).numpy().any()
    np.testing.assert_allclose(ContrastiveLoss()(points, points, [1, 0, 1, 0]), [0, 0.125, 0, 0.125], atol=1e-12)
    assert not ContrastiveLoss(negatives=0.0)(points, points, [1, 0, 1, 0]).numpy().any()


@pytest.mark.parametrize("kind", [bool, np.int32, np.int64, np.uint8, np.float32, np.float64])
def test_the_truth_may_be_of_any_kind(kind):
    same = SAME == 1
    wanted = ContrastiveLoss(margin=1.5)(FIRST, SECOND, same)
    np.testing.assert_array_equal(ContrastiveLoss(margin=1.5)(FIRST, SECOND, same.astype(kind)), wanted)


def test_a_descent_draws_same_pairs_together_and_parts_others():
    loss, same = ContrastiveLoss(margin=1.0), np.array([1, 0])
    first, second = tf.Variable([[1.0, 0.5], [1.0, 0.1]]), tf.Variable([[-0.5, 1.0], [1.0, -0.1]])
    for _ in range(60):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(loss(first, second, same))
        for variable, slope in zip((first, second), tape.gradient(total, [first, second])):
            variable.assign_sub(0.3 * slope)
    cosine = np.sum(tf.math.l2_normalize(first, 1) * tf.math.l2_normalize(second, 1), axis=1)
    assert cosine[0] > 0.9 and cosine[1] < 0.2


@pytest.mark.parametrize("first, second, same", [
    (FIRST, SECOND, SAME[:, None]), (FIRST, SECOND, SAME[:1]), (FIRST, SECOND[:1], SAME), (FIRST[0], SECOND[0], SAME),
    (FIRST, SECOND[:, :2], SAME)])
def test_shapes_that_would_broadcast_are_refused(first, second, same):
    with pytest.raises(ValueError, match=r"`first` has shape \(.*`same` \(.*give each pair one truth"):
        ContrastiveLoss()(first, second, same)


@pytest.mark.parametrize("words, told", [
    ({"margin": 0}, "`margin` is 0 "), ({"margin": -1}, "`margin` is -1 "),
    ({"margin": float("nan")}, "`margin` is nan"),
    ({"margin": 2.5}, "never exceeds 2"), ({"distance": "manhattan"}, "cosine, euclidean"),
    ({"normalise": False}, "distance='euclidean'"), ({"negatives": -1.0}, "`negatives` is -1.0 "),
    ({"negatives": float("inf")}, "`negatives` is inf "),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        ContrastiveLoss(**words)
