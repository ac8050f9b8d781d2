import itertools
import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.metric.triplet import TripletLoss

MININGS = ("batch_hard", "semi_hard", "all")
DISTANCES = ("euclidean", "squared", "cosine")
ALL_FORMS = [
    {"mining": mining, "distance": distance, "soft": soft}
    for mining, distance, soft in itertools.product(MININGS, DISTANCES, (False, True))
]
FORMS = [
    {"mining": mining, **words} for mining in MININGS for words in (
        {"distance": "euclidean"}, {"distance": "squared", "soft": True}, {"distance": "cosine"},
        {"distance": "euclidean", "normalise": False, "margin": 1.0})
]
LABELS = np.array([0, 0, 0, 1, 1, 2, -1, -1, 3, 3])


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=[10, 4])


def naive(
    embeddings, labels, margin=0.2, mining="batch_hard", soft=False, distance="euclidean", normalise=True
):
    if normalise:
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def between(i, j):
        if distance == "cosine":
            return 1 - embeddings[i] @ embeddings[j]
        return np.linalg.norm(embeddings[i] - embeddings[j]) ** (2 if distance == "squared" else 1)

    def triplet(near, far):
        return np.log1p(np.exp(near - far)) if soft else max(near - far + margin, 0)

    values = np.zeros(len(labels))
    for i, label in enumerate(labels):
        positives = [between(i, j) for j, other in enumerate(labels) if other == label and j != i]
        negatives = [between(i, j) for j, other in enumerate(labels) if other != label and other >= 0]
        if label < 0 or not positives or not negatives:
            continue
        if mining == "batch_hard":
            values[i] = triplet(max(positives), min(negatives))
        elif mining == "semi_hard":
            chosen = [min([n for n in negatives if n > p], default=max(negatives)) for p in positives]
            values[i] = np.mean([triplet(p, n) for p, n in zip(positives, chosen)])
        else:
            values[i] = np.mean([triplet(p, n) for p in positives for n in negatives])
    return values


def value_and_gradient(loss, embeddings, labels):
    embeddings = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(embeddings, labels)
    return value.numpy(), tf.convert_to_tensor(tape.gradient(value, embeddings)).numpy()


@pytest.mark.parametrize("form", ALL_FORMS + FORMS)
def test_equals_the_loop(form, embeddings):
    got = TripletLoss(**{"margin": 0.3, **form})(embeddings, LABELS)
    np.testing.assert_allclose(got, naive(embeddings, LABELS, **{"margin": 0.3, **form}), atol=1e-9, rtol=0)
    assert got.dtype == tf.float64


@pytest.mark.parametrize("mining", MININGS)
def test_equals_the_loop_with_classes_of_every_size(mining):
    generator = np.random.default_rng(5)
    for _ in range(3):
        embeddings, labels = generator.normal(size=[24, 3]), generator.integers(-1, 6, 24)
        np.testing.assert_allclose(TripletLoss(mining=mining)(embeddings, labels),
                                   naive(embeddings, labels, mining=mining), atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    # On a line, one class at 0, 1, 4, the other at 2, 9. Anchor 0: positives 1 and 4, negatives 2 and 9.
    points, labels = np.array([[0.0], [1.0], [4.0], [2.0], [9.0]]), [0, 0, 0, 1, 1]
    first = [float(TripletLoss(1.5, mining, normalise=False)(points, labels)[0]) for mining in MININGS]
    # hard 4 - 2 + 1.5; semi-hard: 1 against 2, 4 against 9; all: (1,2) .5, (1,9) 0, (4,2) 3.5, (4,9) 0
    np.testing.assert_allclose(first, [3.5, 0.25, 1.0], atol=1e-12)
    # At 9: its positive at distance 7, negatives 9, 8, 5: semi-hard takes 8. At 2: its positive at distance
    # 7, no negative farther: the farthest, 2.
    values = TripletLoss(1.5, "semi_hard", normalise=False)(points, labels)
    np.testing.assert_allclose(values[3:], [6.5, 0.5], atol=1e-12)


def test_semi_hard_passes_over_a_negative_at_the_very_distance_of_the_positive():
    # Whole numbers around 0, so all distances are exact. At 0: the positive at 1, negatives at -1, 4 and -4.
    points, labels = np.array([[0.0], [1.0], [-1.0], [4.0], [-4.0]]), [0, 0, 1, 1, 1]
    loss = TripletLoss(0.2, "semi_hard", distance="squared", normalise=False)
    assert loss(points, labels)[0] == 0


@pytest.mark.parametrize("form", FORMS)
def test_gradient_matches_central_differences(form, embeddings):
    loss, step = TripletLoss(**{"margin": 0.3, **form}), 1e-5
    generator = np.random.default_rng(6)
    shares = generator.normal(size=10)  # every anchor counts with a weight of its own
    _, gradient = value_and_gradient(lambda *batch: loss(*batch) * shares, embeddings, LABELS)
    for _ in range(3):
        way = generator.normal(size=embeddings.shape)
        rise = loss(embeddings + step * way, LABELS) - loss(embeddings - step * way, LABELS)
        np.testing.assert_allclose(np.sum(gradient * way), np.sum(rise * shares) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_order_names_and_rotation_play_no_part(form, embeddings):
    loss = TripletLoss(**form)
    value = loss(embeddings, LABELS).numpy()
    order = np.random.default_rng(1).permutation(10)
    np.testing.assert_allclose(loss(embeddings[order], LABELS[order]), value[order], atol=1e-12)
    renamed = np.where(LABELS < 0, LABELS, 90 - 7 * LABELS)
    np.testing.assert_allclose(loss(embeddings, renamed), value, atol=1e-12)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=[4, 4]))[0]
    np.testing.assert_allclose(loss(embeddings @ turn, LABELS), value, atol=1e-12)
    if form.get("normalise", True):
        np.testing.assert_allclose(loss(embeddings * np.arange(1, 11)[:, None], LABELS), value, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_unknown_labels_change_nothing(form, embeddings):
    loss = TripletLoss(**form)
    value = loss(embeddings, LABELS).numpy()
    known = LABELS >= 0
    assert not value[~known].any()
    np.testing.assert_allclose(loss(embeddings[known], LABELS[known]), value[known], atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0, 0, -1], [-1, -1, -1]])
def test_no_triplet_gives_exactly_zero(form, labels, embeddings):
    value, gradient = value_and_gradient(TripletLoss(**form), embeddings[:3], np.array(labels))
    assert not value.any() and not gradient.any()


@pytest.mark.parametrize("form", FORMS)
def test_equal_and_zero_and_huge_inputs_stay_finite(form, embeddings):
    loss = TripletLoss(**form)
    for batch in (np.full([10, 4], 0.3), np.zeros([10, 4]), embeddings * 1e15):
        value, gradient = value_and_gradient(loss, batch.astype(np.float32), LABELS)
        assert np.isfinite(value).all() and np.isfinite(gradient).all() and (value >= 0).all()


@pytest.mark.parametrize("mining", MININGS)
def test_a_collapsed_batch_sits_at_the_margin(mining):
    value = TripletLoss(0.3, mining)(np.ones([10, 4], np.float32), LABELS).numpy()
    np.testing.assert_allclose(value, np.where(np.isin(LABELS, [0, 1, 3]), 0.3, 0), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_better_embeddings_have_a_smaller_loss(form):
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 3)
    noise, centres = generator.normal(size=[12, 4]), 3 * np.eye(4)[labels]
    loss = TripletLoss(**form)
    good, bad = (float(tf.reduce_mean(loss(centres + spread * noise, labels))) for spread in (0.05, 20))
    assert good < bad


def test_half_precision_is_computed_in_float32(embeddings):
    for mining, dtype in itertools.product(MININGS, (tf.float16, tf.bfloat16)):
        half, loss = tf.cast(embeddings, dtype), TripletLoss(mining=mining)
        value = loss(half, LABELS)
        assert value.dtype == tf.float32
        np.testing.assert_array_equal(value, loss(tf.cast(half, tf.float32), LABELS))


@pytest.mark.parametrize("mining", MININGS)
def test_graph_of_unknown_batch_size_equals_eager(mining, embeddings):
    loss = TripletLoss(mining=mining)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float64), tf.TensorSpec([None], tf.int32)])
    def graph(embeddings, labels):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = loss(embeddings, labels)
        return value, tf.convert_to_tensor(tape.gradient(value, embeddings))

    for size in (10, 4):
        part, labels = embeddings[:size], LABELS[:size].astype(np.int32)
        for got, wanted in zip(graph(part, labels), value_and_gradient(loss, part, labels)):
            np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_equals_tensorflow_addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorflow_addons import losses
    generator = np.random.default_rng(4)
    labels = np.repeat(np.arange(8), 4)  # P x K: a mean of means is the mean over pairs
    embeddings = generator.normal(size=[32, 6]).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    for distance, name in (("euclidean", "L2"), ("squared", "squared-L2"), ("cosine", "angular")):
        normalise = distance == "cosine"
        wanted = losses.triplet_semihard_loss(labels, embeddings, 0.4, name)
        got = TripletLoss(0.4, "semi_hard", distance=distance, normalise=normalise)(embeddings, labels)
        np.testing.assert_allclose(tf.reduce_mean(got), wanted, atol=1e-6)
        for soft in (False, True):
            wanted = losses.triplet_hard_loss(labels, embeddings, 0.4, soft, name)
            got = TripletLoss(0.4, "batch_hard", soft, distance, normalise)(embeddings, labels)
            np.testing.assert_allclose(tf.reduce_mean(got), wanted, atol=1e-6)


@pytest.mark.parametrize("words, told", [
    ({"margin": -0.1}, "`margin` is -0.1 "), ({"margin": float("inf")}, "`margin` is inf "),
    ({"mining": "hardest"}, "batch_hard, semi_hard, all"), ({"distance": "L2"}, "euclidean, squared, cosine"),
    ({"distance": "cosine", "normalise": False}, "distance='euclidean'"),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        TripletLoss(**words)
