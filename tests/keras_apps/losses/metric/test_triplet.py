import itertools
import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.losses.metric.triplet import TripletLoss

MININGS = ("batch_hard", "semi_hard", "all", "random")
DISTANCES = ("euclidean", "squared", "cosine")
FORMS = [
    {"mining": mining, "distance": distance, "soft": soft}
    for mining, distance, soft in itertools.product(MININGS, DISTANCES, (False, True))
] + [{"mining": mining, "normalise": False, "margin": 1.0} for mining in MININGS]
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
        elif mining == "all":
            values[i] = np.mean([triplet(p, n) for p in positives for n in negatives])
        else:
            members = [j for j, other in enumerate(labels) if other == label]
            round_trip = [j % len(labels) for j in range(i, i + len(labels))]
            others = [between(i, j) for j in round_trip if labels[j] != label and labels[j] >= 0]
            rank = members.index(i)
            values[i] = np.mean([
                triplet(between(i, j), others[(rank + slot * (len(members) + 1)) % len(others)])
                for slot, j in enumerate(members) if j != i])
    return values


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_loop(form, embeddings):
    got = TripletLoss(**{"margin": 0.3, **form})(embeddings, LABELS)
    np.testing.assert_allclose(got, naive(embeddings, LABELS, **{"margin": 0.3, **form}), atol=1e-9, rtol=0)


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
    # hard 4 - 2 + 1.5; semi-hard: 1 against 2, 4 against 9; all: (1,2) .5, (1,9) 0, (4,2) 3.5, (4,9) 0; random: by
    # places, positive 1 (slot 1) takes negative 4 mod 2 = the first, 2; positive 4 (slot 2) negative 8 mod 2, 2 again
    np.testing.assert_allclose(first, [3.5, 0.25, 1.0, 2.0], atol=1e-12)
    # At 9: its positive at distance 7, negatives 9, 8, 5: semi-hard takes 8. At 2: its positive at distance
    # 7, no negative farther: the farthest, 2.
    values = TripletLoss(1.5, "semi_hard", normalise=False)(points, labels)
    np.testing.assert_allclose(values[3:], [6.5, 0.5], atol=1e-12)


def test_semi_hard_passes_over_a_negative_at_the_very_distance_of_the_positive():
    # Whole numbers around 0, so all distances are exact. At 0: the positive at 1, negatives at -1, 4 and -4.
    points, labels = np.array([[0.0], [1.0], [-1.0], [4.0], [-4.0]]), [0, 0, 1, 1, 1]
    loss = TripletLoss(0.2, "semi_hard", distance="squared", normalise=False)
    assert loss(points, labels)[0] == 0


def test_random_over_shuffled_batches_is_the_mean_over_all_triplets():
    generator = np.random.default_rng(8)
    embeddings, labels = generator.normal(size=[12, 3]), np.repeat(np.arange(4), 3)
    values, loss = [], tf.function(TripletLoss(0.3, "random", normalise=False))
    for _ in range(1500):       # as `pk` does: whole classes in random order, their images in random order
        order = np.concatenate([3 * label + generator.permutation(3) for label in generator.permutation(4)])
        value = np.zeros(12)
        value[order] = loss(tf.constant(embeddings[order]), tf.constant(labels[order]))
        values.append(value)
    expected = naive(embeddings, labels, 0.3, "all", normalise=False)
    error = np.std(values, axis=0) / np.sqrt(len(values))
    assert (np.abs(np.mean(values, axis=0) - expected) < 4.5 * error + 1e-9).all()
    assert np.std(values, axis=0).mean() > 0.1


@pytest.mark.parametrize("mining", MININGS)
def test_a_collapsed_batch_sits_at_the_margin(mining):
    value = TripletLoss(0.3, mining)(np.ones([10, 4], np.float32), LABELS).numpy()
    np.testing.assert_allclose(value, np.where(np.isin(LABELS, [0, 1, 3]), 0.3, 0), atol=1e-6)


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
    ({"mining": "hardest"}, "batch_hard, semi_hard, all, random"), ({"distance": "L2"}, "euclidean, squared, cosine"),
    ({"distance": "cosine", "normalise": False}, "distance='euclidean'"),
])
def test_wrong_settings_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        TripletLoss(**words)
