import numpy as np
import pytest

from keras_apps.losses.metric.contrastive import ContrastiveLoss

FORMS = [
    {"distance": "cosine", "squared": True}, {"distance": "cosine", "squared": False},
    {"distance": "euclidean", "squared": True}, {"distance": "euclidean", "squared": False},
    {"distance": "euclidean", "squared": True, "normalise": False, "margin": 3.0},
    {"distance": "cosine", "negatives": 0.25},
]
LABELS = np.array([0, 0, 0, 1, 1, 2, -1, -1, 3])


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=[9, 4])


def naive(embeddings, labels, margin=0.5, distance="cosine", squared=True, normalise=True, negatives=1.0):
    if normalise:
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    values = []
    for i in range(len(labels)):
        pulls, pushes = [], []
        for j in range(len(labels)):
            if j == i or labels[i] < 0 or labels[j] < 0:
                continue
            if distance == "cosine":
                d = 1 - embeddings[i] @ embeddings[j]
            else:
                d = np.linalg.norm(embeddings[i] - embeddings[j])
            if labels[i] == labels[j]:
                pulls.append(d**2 / 2 if squared else d)
            else:
                pushes.append(max(margin - d, 0) ** 2 / 2 if squared else max(margin - d, 0))
        values.append(sum(pulls) / max(len(pulls), 1) + negatives * sum(pushes) / max(len(pushes), 1))
    return np.array(values)


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_loop(form, embeddings):
    got = ContrastiveLoss(**{"margin": 0.9, **form})(embeddings, LABELS)
    np.testing.assert_allclose(got, naive(embeddings, LABELS, **{"margin": 0.9, **form}), atol=1e-9, rtol=0)


def test_points_placed_by_hand():
    # Unit circle: 0 and 90 degrees are one class, 180 the other. Cosine distances 1, 2 and 1.
    points = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    value = ContrastiveLoss(margin=1.5)(points, [7, 7, 8])
    np.testing.assert_allclose(value, [0.5, 0.5 + 0.125, (0 + 0.125) / 2], atol=1e-12)
    value = ContrastiveLoss(margin=1.5, squared=False)(points, [7, 7, 8])
    np.testing.assert_allclose(value, [1, 1 + 0.5, 0.25], atol=1e-12)


def test_one_class_only_pulls(embeddings):
    value = ContrastiveLoss()(embeddings, np.zeros(9, int)).numpy()
    np.testing.assert_allclose(value, naive(embeddings, np.zeros(9, int)), atol=1e-12)


def test_a_collapse_is_optimal_only_without_negatives():
    points = np.ones([4, 3])
    np.testing.assert_allclose(ContrastiveLoss()(points, [0, 0, 0, 0]), 0, atol=1e-15)
    assert (ContrastiveLoss()(points, [0, 0, 1, 1]).numpy() > 0.1).all()
    np.testing.assert_allclose(ContrastiveLoss(negatives=0.0)(points, [0, 0, 1, 1]), 0, atol=1e-15)


def test_without_negatives_only_the_pull_is_left(embeddings):
    value = ContrastiveLoss(distance="euclidean", normalise=False, negatives=0.0)(embeddings, LABELS)
    far = ContrastiveLoss(distance="euclidean", normalise=False, margin=1e-6)(embeddings, LABELS)
    np.testing.assert_allclose(value, far, atol=1e-12)


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
