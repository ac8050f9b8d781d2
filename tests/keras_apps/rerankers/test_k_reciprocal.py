import numpy as np
import pytest

from keras_apps.metrics.ranking import ranking, ranking_of
from keras_apps.rerankers.k_reciprocal import KReciprocalReranker, _reciprocal


def naive(query, gallery, k1, k2, weight):
    """The formula of the docstring with sets and loops."""
    rows = [row / np.linalg.norm(row) for row in [*query, *gallery]]
    points = range(len(rows))
    squares = [[np.sum((a - b) ** 2) for b in rows] for a in rows]
    d = [[value / max(line) for value in line] for line in squares]

    def near(i, k):
        return [i, *sorted((j for j in points if j != i), key=lambda j: d[i][j])][:k + 1]

    def reciprocal(i, k):
        return {j for j in near(i, k) if i in near(j, k)}

    encoded = np.zeros((len(rows), len(rows)))
    for i in points:
        own = reciprocal(i, k1)
        wide = set(own)
        for c in own:
            theirs = reciprocal(c, round(k1 / 2))
            if 3 * len(theirs & own) > 2 * len(theirs):
                wide |= theirs
        for j in wide:
            encoded[i, j] = np.exp(-d[i][j])
        encoded[i] /= encoded[i].sum()
    encoded = np.array([np.mean([encoded[j] for j in near(i, k1)[:k2]], axis=0) for i in points])
    result = np.zeros((len(query), len(gallery)))
    for i in range(len(query)):
        for j in range(len(gallery)):
            at = len(query) + j
            shared = np.minimum(encoded[i], encoded[at]).sum()
            result[i, j] = -((1 - weight) * (1 - shared / (2 - shared)) + weight * d[i][at])
    return result


def draw(seed, queries=9, entries=25, dimension=4):
    generator = np.random.default_rng(seed)
    return generator.normal(size=[queries, dimension]), 3 * generator.normal(size=[entries, dimension])


@pytest.mark.parametrize("k1, k2, weight", [(6, 3, 0.3), (5, 1, 0.3), (7, 4, 0.0), (1, 6, 0.5), (6, 3, 1.0)])
def test_equals_the_loop(k1, k2, weight):
    for seed in range(3):
        query, gallery = draw(seed)
        got = KReciprocalReranker(k1, k2, weight)(query, gallery)
        assert got.dtype == np.float64 and got.shape == (9, 25)
        np.testing.assert_allclose(got, naive(query, gallery, k1, k2, weight), rtol=0, atol=1e-9)


@pytest.mark.parametrize("queries, entries", [(1, 1), (1, 3), (4, 2)])
def test_more_neighbours_than_points(queries, entries):
    query, gallery = draw(3, queries, entries)
    got = KReciprocalReranker()(query, gallery)
    np.testing.assert_allclose(got, naive(query, gallery, 20, 6, 0.3), rtol=0, atol=1e-9)


def test_the_expansion_is_reached():
    reranker, points = KReciprocalReranker(6, 1), np.concatenate(draw(0))
    distances = reranker._distances(points / np.linalg.norm(points, axis=1, keepdims=True))
    order = reranker._neighbours(distances)
    own, wider = _reciprocal(order).sum(axis=1), np.count_nonzero(reranker._encoded(distances, order), axis=1)
    assert (wider >= own).all() and (wider > own).any()


def test_order_rotation_and_length_play_no_part():
    query, gallery = draw(4)
    wanted = KReciprocalReranker(5, 3)(query, gallery)
    generator = np.random.default_rng(5)
    order, turn = generator.permutation(25), np.linalg.qr(generator.normal(size=[4, 4]))[0]
    got = KReciprocalReranker(5, 3)(query @ turn * 1e-20, gallery[order] @ turn * 1e20)
    np.testing.assert_allclose(got, wanted[:, order], rtol=0, atol=1e-9)
    np.testing.assert_allclose(KReciprocalReranker(5, 3)(query[::-1], gallery), wanted[::-1], rtol=0, atol=1e-9)


def test_by_distance_alone_the_cosine_decides():
    query, gallery = draw(6)
    cosine = (query / np.linalg.norm(query, axis=1, keepdims=True)) @ (
        gallery / np.linalg.norm(gallery, axis=1, keepdims=True)).T
    got = KReciprocalReranker(weight=1.0)(query, gallery)
    np.testing.assert_array_equal(np.argsort(-got, axis=1), np.argsort(-cosine, axis=1))


def test_identical_and_zero_rows_are_finite():
    same = KReciprocalReranker(3, 2)(np.ones([2, 3]), np.ones([30, 3]))
    assert np.isfinite(same).all() and (same >= -1).all() and (same <= 0).all()
    assert np.isfinite(KReciprocalReranker()(np.zeros([2, 3]), np.eye(3))).all()


def test_float32_stays_and_arguments_too():
    query, gallery = (rows.astype(np.float32) for rows in draw(7))
    before = query.copy(), gallery.copy()
    got = KReciprocalReranker(6, 3)(query, gallery)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, KReciprocalReranker(6, 3)(*draw(7)), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(query, before[0])
    np.testing.assert_array_equal(gallery, before[1])


def test_a_chain_is_found_past_a_crowd_that_lies_nearer():
    # The query's identity is a chain of 12 degrees from link to link; a crowd stands at -15 to -19 degrees, near the
    # query, which is no neighbour of the crowd's.
    degrees = np.array([12, 24, 36, -15, -16, -17, -18, -19])
    gallery = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)
    query, ids = np.array([[1.0, 0.0]]), [1, 1, 1, 2, 2, 2, 2, 2]
    plain = ranking(query, gallery, [1], ids)
    assert plain["map"] == pytest.approx((1 + 2 / 7 + 3 / 8) / 3)
    assert ranking_of(KReciprocalReranker(3, 2)(query, gallery), [1], ids)["map"] == 1


@pytest.mark.parametrize("call, told", [
    (lambda: KReciprocalReranker(k1=0), "`k1` is 0 and `k2` 6"),
    (lambda: KReciprocalReranker(k2=0), "`k2` 0"),
    (lambda: KReciprocalReranker(k1=2.5), "`k1` is 2.5 and `k2` 6 but both must be whole numbers of at least 1; use"),
    (lambda: KReciprocalReranker(k2=float("nan")), "`k1` is 20 and `k2` nan"),
    (lambda: KReciprocalReranker(k1=float("inf")), "`k1` is inf"),
    (lambda: KReciprocalReranker(k1="7"), "`k1` is 7"),
    (lambda: KReciprocalReranker(weight=1.5), "`weight` is 1.5"),
    (lambda: KReciprocalReranker(weight=float("nan")), "`weight` is nan"),
    (lambda: KReciprocalReranker()(np.ones([2, 3]), np.ones([4, 2])), r"`query` has shape \(2, 3\)"),
    (lambda: KReciprocalReranker()(np.ones([0, 3]), np.ones([4, 3])), r"`query` has shape \(0, 3\)"),
    (lambda: KReciprocalReranker()(np.ones([2, 3]), np.full([4, 3], np.inf)), "`gallery` row 0 has a value that is"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
