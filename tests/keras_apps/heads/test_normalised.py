import numpy as np

from keras_apps.heads.normalised import NormalisedHead

LABELS = np.array([0, 3, 2, -1, 3, 1])


def naive(embeddings, labels, head):
    weights = head.weights.numpy().astype(np.float64)
    values = []
    for x, label in zip(embeddings, labels):
        cosines = [x @ w / np.linalg.norm(x) / np.linalg.norm(w) for w in weights]
        logits = head.scale * np.array(cosines)
        values.append(0.0 if label < 0 else np.log(np.sum(np.exp(logits))) - logits[label])
    return np.array(values)


def test_equals_the_loop():
    head = NormalisedHead(classes=4, dimension=5, seed=1, scale=7.0)
    embeddings = np.random.default_rng(0).normal(size=[6, 5])
    wanted = naive(embeddings, LABELS, head)
    np.testing.assert_allclose(head.loss(embeddings, LABELS, 0), wanted, atol=1e-9, rtol=0)


def test_default_scale():
    assert NormalisedHead(3, 4).scale == 16
