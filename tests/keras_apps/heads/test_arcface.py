import math

import numpy as np
import pytest

from keras_apps.heads.arcface import ArcfaceHead

LABELS = np.array([0, 3, 2, -1, 3, 1])


def naive(embeddings, labels, head, margin=0.5):
    weights = head.weights.numpy().astype(np.float64)
    values = []
    for x, label in zip(embeddings, labels):
        cosines = [x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in weights]
        if label >= 0:
            angle = np.arccos(cosines[label])
            if angle <= np.pi - margin:
                cosines[label] = np.cos(angle + margin)
            else:
                cosines[label] -= margin * np.sin(margin)
        logits = head.scale * np.array(cosines)
        values.append(0.0 if label < 0 else np.log(np.sum(np.exp(logits))) - logits[label])
    return np.array(values)


def test_equals_the_loop():
    head = ArcfaceHead(classes=4, dimension=5, seed=1, scale=7.0)
    embeddings = np.random.default_rng(0).normal(size=[6, 5])
    wanted = naive(embeddings, LABELS, head)
    np.testing.assert_allclose(head.loss(embeddings, LABELS, 0), wanted, atol=1e-9, rtol=0)


def test_branches_by_hand():
    # Two orthogonal class vectors; the embedding at 60, then at 170 degrees from its own.
    head = ArcfaceHead(classes=2, dimension=2, scale=5.0)
    head.weights.assign([[1, 0], [0, 1]])
    beyond = math.cos(math.radians(170)) - 0.5 * math.sin(0.5)
    for degrees, own in ((60, math.cos(math.radians(60) + 0.5)), (170, beyond)):
        angle = math.radians(degrees)
        wanted = math.log(1 + math.exp(5 * (math.sin(angle) - own)))
        value = head.loss(np.array([[math.cos(angle), math.sin(angle)]]), [0], 0)
        np.testing.assert_allclose(value, [wanted], atol=1e-12)


def test_own_logit_falls_with_the_angle_all_the_way():
    head = ArcfaceHead(classes=2, dimension=3, scale=5.0, margin=1.2)
    head.weights.assign([[1, 0, 0], [0, 0, 1]])  # the other class stays at cosine 0
    angles = np.linspace(0, np.pi, 400)
    values = head.loss(np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1), np.zeros(400, int), 0)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("margin", [1.6, -0.1])
def test_a_margin_out_of_range_is_refused(margin):
    with pytest.raises(ValueError, match=f"`margin` is {margin} "):
        ArcfaceHead(classes=3, dimension=4, margin=margin)
