import numpy as np
import pytest

from keras_apps.metrics.ranking import ranking, ranking_of
from keras_apps.rerankers.query_expansion import QueryExpansionReranker


def naive(query, gallery, count, power):
    query, gallery = ([row / np.linalg.norm(row) for row in rows] for rows in (query, gallery))
    result = []
    for one in query:
        nearest = sorted(gallery, key=lambda row, one=one: -(one @ row))[:count]
        wider = one + sum(max(one @ row, 0) ** power * row for row in nearest)
        result.append([wider @ row / np.linalg.norm(wider) for row in gallery])
    return np.array(result)


def draw(seed):
    generator = np.random.default_rng(seed)
    return generator.normal(size=[7, 3]), generator.normal(size=[20, 3])


@pytest.mark.parametrize("count, power", [(5, 0.0), (1, 0.0), (3, 3.0), (20, 1.0), (100, 0.5)])
def test_equals_the_loop(count, power):
    for seed in range(3):
        got = QueryExpansionReranker(count, power)(*draw(seed))
        np.testing.assert_allclose(got, naive(*draw(seed), count, power), rtol=0, atol=1e-9)


def test_order_and_length_play_no_part_and_arguments_stay():
    query, gallery = draw(4)
    before, order = gallery.copy(), np.random.default_rng(5).permutation(20)
    wanted = QueryExpansionReranker()(query, gallery)
    np.testing.assert_allclose(QueryExpansionReranker()(1e20 * query, gallery[order]), wanted[:, order], atol=1e-9)
    np.testing.assert_array_equal(gallery, before)
    assert QueryExpansionReranker()(query.astype(np.float32), gallery.astype(np.float32)).dtype == np.float32


def test_identical_opposite_and_zero_rows_are_finite():
    np.testing.assert_allclose(QueryExpansionReranker()(np.ones([2, 3]), np.ones([9, 3])), 1)
    for gallery in (-np.ones([1, 3]), np.zeros([4, 3])):        # the query and its expansion cancel
        assert np.isfinite(QueryExpansionReranker()(np.ones([2, 3]), gallery)).all()
        assert np.isfinite(QueryExpansionReranker(power=2.0)(np.ones([2, 3]), gallery)).all()


def test_it_reaches_on_towards_what_it_found():
    degrees = np.radians([10, 12, 14, 40, -30, -31])
    gallery, ids = np.stack([np.cos(degrees), np.sin(degrees)], axis=1), [1, 1, 1, 1, 2, 2]
    query = np.array([[1.0, 0.0]])
    assert ranking(query, gallery, [1], ids)["map"] == pytest.approx((3 + 4 / 6) / 4)
    assert ranking_of(QueryExpansionReranker(3)(query, gallery), [1], ids)["map"] == 1


@pytest.mark.parametrize("call, told", [
    (lambda: QueryExpansionReranker(count=0), "`count` is 0"),
    (lambda: QueryExpansionReranker(count=1.5), "`count` is 1.5 but must be a whole number of at least 1; use 5"),
    (lambda: QueryExpansionReranker(count=float("nan")), "`count` is nan"),
    (lambda: QueryExpansionReranker(power=float("inf")), "`power` is inf but must be finite"),
    (lambda: QueryExpansionReranker(power=-1), "`power` is -1"),
    (lambda: QueryExpansionReranker(power=float("nan")), "`power` is nan"),
    (lambda: QueryExpansionReranker()(np.ones(3), np.ones([4, 3])), r"`query` has shape \(3,\)"),
    (lambda: QueryExpansionReranker()(np.full([2, 3], np.nan), np.ones([4, 3])), "`query` row 0 has a value that is"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
