import itertools
import math

import numpy as np
import pytest

from keras_apps.metrics import collapse

RANDOM = np.random.default_rng(0)


def unit(row):
    return row / math.sqrt(sum(value * value for value in row))


def simplex(classes, each, dimensions=32):
    """Perfectly learnt classes: one point each, as far apart as they can be."""
    corners = np.eye(classes) - 1 / classes
    turned = np.linalg.qr(RANDOM.normal(size=(dimensions, classes)))[0].T
    return np.repeat(corners @ turned, each, axis=0), np.repeat(np.arange(classes), each)


def test_the_figures_equal_the_loop():
    vectors, labels = RANDOM.normal(size=(13, 5)) * RANDOM.uniform(0.1, 9, (13, 1)), RANDOM.integers(0, 3, 13)
    rows = [unit(row) for row in vectors]
    pairs = [(sum((a - b) ** 2 for a, b in zip(rows[i], rows[j])), labels[i] == labels[j])
             for i, j in itertools.combinations(range(13), 2)]
    close = [square for square, same in pairs if same]
    found = collapse.collapse(vectors, labels)
    assert found["alignment"] == pytest.approx(sum(close) / len(close), abs=1e-9)
    assert found["spread"] == pytest.approx(sum(math.sqrt(square) for square, _ in pairs) / len(pairs), abs=1e-9)
    assert found["uniformity"] == pytest.approx(
        math.log(sum(math.exp(-2 * square) for square, _ in pairs) / len(pairs)), abs=1e-9)
    energies = np.linalg.svd(np.array(rows), compute_uv=False) ** 2
    shares = [energy / sum(energies) for energy in energies]
    assert found["effective_rank"] == pytest.approx(
        math.exp(-sum(share * math.log(share) for share in shares)), abs=1e-9)


@pytest.mark.parametrize("rows, dimensions", [(50, 6), (6, 50)])
def test_rank_does_not_depend_on_order_length_or_turning(rows, dimensions):
    vectors = RANDOM.normal(size=(rows, dimensions))
    turn = np.linalg.qr(RANDOM.normal(size=(dimensions, dimensions)))[0]
    changed = (vectors * RANDOM.uniform(1e-3, 1e3, (rows, 1)))[RANDOM.permutation(rows)] @ turn
    assert collapse.effective_rank(changed) == pytest.approx(collapse.effective_rank(vectors), abs=1e-9)


def test_rank_of_known_sets():
    assert collapse.effective_rank(np.eye(7)) == pytest.approx(7)
    assert collapse.effective_rank(np.repeat(np.eye(9)[:3], 5, axis=0)) == pytest.approx(3)
    for classes in (3, 5, 20):
        assert collapse.effective_rank(simplex(classes, 4)[0]) == pytest.approx(classes - 1)
    line = np.outer([1.0, -2.0, 3.0, -0.5], RANDOM.normal(size=8))
    assert collapse.effective_rank(line) == pytest.approx(1)


def test_what_is_left_of_a_collapsed_network_does_not_count_as_dimensions():
    vectors = np.ones((100, 64)) + 0.01 * RANDOM.normal(size=(100, 64))
    found = collapse.collapse(vectors, np.arange(100) % 5)
    assert found["effective_rank"] < 1.01 and found["spread"] < 0.02 and found["uniformity"] > -0.01
    for same in (np.ones((9, 4)), np.zeros((9, 4)), np.full((9, 4), 1e200)):
        found = collapse.collapse(same, np.zeros(9, int))
        assert found == pytest.approx({"effective_rank": 1, "uniformity": 0, "spread": 0, "alignment": 0})


def test_better_embeddings_have_smaller_alignment_and_uniformity():
    learnt, labels = simplex(6, 5)
    noise = RANDOM.normal(size=learnt.shape)
    found = [collapse.collapse(learnt + strength * noise, labels)["alignment"] for strength in (0, 0.1, 0.3)]
    assert found[0] == pytest.approx(0, abs=1e-12) and found == sorted(found)
    together = [collapse.uniformity(shift + noise) for shift in (0, 1, 5)]
    assert together == sorted(together)


def test_no_pair_of_one_class_has_no_alignment():
    assert collapse.alignment(np.eye(3), [0, 1, 2]) is None
    assert "alignment" not in collapse.collapse(np.eye(3), [0, 1, 2])


@pytest.mark.parametrize("vectors, message", [
    (np.ones((1, 3)), "at least 2 rows"), (np.ones(3), r"must be \[n, D\]"),
    (np.array([[1.0, np.nan], [0, 1]]), "not finite"),
])
def test_what_has_no_pairs_is_refused(vectors, message):
    for function in (collapse.effective_rank, collapse.uniformity, collapse.spread):
        with pytest.raises(ValueError, match=message):
            function(vectors)


def test_another_number_of_labels_is_refused():
    with pytest.raises(ValueError, match=r"`labels` has shape \(2,\) but there are 3 vectors"):
        collapse.alignment(np.eye(3), [0, 1])
