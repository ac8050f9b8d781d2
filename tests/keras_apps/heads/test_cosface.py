import numpy as np
import pytest

from keras_apps.heads.cosface import CosfaceHead

LABELS = np.array([0, 3, 2, -1, 3, 1])


def naive(embeddings, labels, head, margin=0.35):
    weights = head.weights.numpy().astype(np.float64)
    values = []
    for x, label in zip(embeddings, labels):
        cosines = [x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in weights]
        if label >= 0:
            cosines[label] -= margin
        logits = head.scale * np.array(cosines)
        values.append(0.0 if label < 0 else np.log(np.sum(np.exp(logits))) - logits[label])
    return np.array(values)


def test_equals_the_loop():
    head = CosfaceHead(classes=4, dimension=5, seed=1, scale=7.0)
    embeddings = np.random.default_rng(0).normal(size=[6, 5])
    wanted = naive(embeddings, LABELS, head)
    np.testing.assert_allclose(head.loss(embeddings, LABELS, 0), wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("margin", [1.0, -0.1])
def test_a_margin_out_of_range_is_refused(margin):
    with pytest.raises(ValueError, match=f"`margin` is {margin} "):
        CosfaceHead(classes=3, dimension=4, margin=margin)
