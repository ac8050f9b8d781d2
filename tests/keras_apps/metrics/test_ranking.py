import numpy as np
import pytest

from keras_apps.metrics import ranking as module
from keras_apps.metrics.ranking import oneshot_accuracy, ranking, ranking_of


def naive(
    query, gallery, query_ids, gallery_ids, query_cams=None, gallery_cams=None, ranks=(1, 5, 10), drop=None,
    precision="step",
):
    firsts, precisions, penalties = [], [], []
    for i in range(len(query)):
        entries = []
        for j in range(len(gallery)):
            match = query_ids[i] == gallery_ids[j]
            junk = match and query_cams is not None and query_cams[i] == gallery_cams[j]
            if junk or gallery_ids[j] < 0 or (drop is not None and drop[i] == j):
                continue
            score = query[i] @ gallery[j] / np.linalg.norm(query[i]) / np.linalg.norm(gallery[j])
            entries.append((-round(score, 6), match))  # False sorts before True: ties against the search
        truth = [match for _, match in sorted(entries)]
        if any(truth):
            hits = [place for place, match in enumerate(truth, start=1) if match]
            firsts.append(hits[0])
            precisions.append(average_precision(truth, precision))
            penalties.append(len(hits) / hits[-1])
    result = {f"rank{k}": np.mean([first <= k for first in firsts]) for k in ranks}
    counts = {"queries": len(firsts), "unmatched": len(query) - len(firsts)}
    return {**result, "map": np.mean(precisions), "minp": np.mean(penalties), **counts}


def average_precision(truth, precision):
    """Walks down the list; the trapezoid as the area below the recall-precision curve from point to point."""
    seen, area, recall_before, precision_before = 0, 0.0, 0.0, 1.0
    for place, match in enumerate(truth, start=1):
        seen += match
        recall, now = seen / sum(truth), seen / place
        area += (recall - recall_before) * (now if precision == "step" else (now + precision_before) / 2)
        recall_before, precision_before = recall, now
    return area


def draw(seed=0, queries=17, entries=60, identities=8, dimension=3):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=[queries, dimension]), generator.normal(size=[entries, dimension]),
            generator.integers(0, identities, queries), generator.integers(0, identities, entries))


@pytest.mark.parametrize("precision", ["step", "trapezoid"])
@pytest.mark.parametrize("block", [None, 1, 150])
def test_equals_the_loop(block, precision, monkeypatch):
    if block:
        monkeypatch.setattr(module, "_BLOCK", block)
    for seed in range(3):
        data = draw(seed)
        assert ranking(*data, precision=precision) == pytest.approx(naive(*data, precision=precision), abs=1e-9)


@pytest.mark.parametrize("precision", ["step", "trapezoid"])
def test_equals_the_loop_with_many_matches(precision):
    data = draw(queries=5, entries=300, identities=2)
    assert ranking(*data, precision=precision) == pytest.approx(naive(*data, precision=precision), abs=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("block", [None, 150])
def test_given_scores_rank_as_the_vectors_do(kind, block, monkeypatch):
    if block:
        monkeypatch.setattr(module, "_BLOCK", block)
    query, gallery, query_ids, gallery_ids = draw(12)
    generator = np.random.default_rng(13)
    gallery_ids[:5] = -1
    words = {"query_cameras": generator.integers(0, 3, 17), "gallery_cameras": generator.integers(0, 3, 60),
             "same_index": generator.integers(-1, 60, 17), "query_cases": generator.integers(0, 2, 17),
             "gallery_cases": generator.integers(0, 2, 60), "precision": "trapezoid", "ranks": (1, 3)}
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, gallery)]
    scores = unit[0] @ unit[1].T
    if kind is np.int16:        # their places do as well
        scores = scores.reshape(-1).argsort().argsort().reshape(scores.shape)
    scores = scores.astype(kind)
    before = scores.copy()
    expected = ranking(query, gallery, query_ids, gallery_ids, **words)
    assert ranking_of(scores, query_ids, gallery_ids, **words) == expected
    np.testing.assert_array_equal(scores, before)


def test_given_scores_of_float64_are_not_rounded():
    scores = np.array([[1.0, 1.0 + 1e-12]])
    assert ranking_of(scores, [0], [1, 0])["rank1"] == 1 and ranking_of(scores, [0], [0, 1])["rank1"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_cameras_unknown_entries_and_unmatched_queries(seed):
    query, gallery, query_ids, gallery_ids = draw(seed, entries=30, identities=12)
    generator = np.random.default_rng(seed + 50)
    gallery_ids[generator.random(30) < 0.2] = -1
    query_ids[0] = -1
    cameras = generator.integers(0, 2, 17), generator.integers(0, 2, 30)
    got = ranking(query, gallery, query_ids, gallery_ids, *cameras, ranks=(1, 2, 7))
    assert got == pytest.approx(naive(query, gallery, query_ids, gallery_ids, *cameras, (1, 2, 7)), abs=1e-9)
    assert got["unmatched"] >= 1 and got["queries"] + got["unmatched"] == 17


def test_an_unknown_camera_is_nobodys_own():
    query, gallery, query_ids, gallery_ids = draw(4)
    unknown = np.full(17, -1), np.full(60, -1)
    assert ranking(query, gallery, query_ids, gallery_ids, *unknown) == ranking(query, gallery, query_ids, gallery_ids)
    mixed = np.arange(17) % 3 - 1, np.arange(60) % 3 - 1
    found = ranking(query, gallery, query_ids, gallery_ids, *mixed)
    apart = np.where(mixed[0] < 0, -2 - np.arange(17), mixed[0])      # one of its own each: the loop's way of saying so
    assert found == pytest.approx(naive(query, gallery, query_ids, gallery_ids, apart, mixed[1]), abs=1e-9)


def test_leave_one_out():
    _, gallery, _, ids = draw(4)
    got = ranking(gallery, gallery, ids, ids, same_index=np.arange(60))
    assert got == pytest.approx(naive(gallery, gallery, ids, ids, drop=np.arange(60)), abs=1e-9)
    assert ranking(gallery, gallery, ids, ids)["rank1"] == 1
    assert ranking(gallery, gallery, ids, ids, same_index=np.full(60, -1))["rank1"] == 1


def test_by_hand():
    # One query at 0 degrees; matches at 10 and 30, wrong entries at 20 and 40: precisions 1/1 and 2/3.
    angles = np.radians([10, 20, 30, 40])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    query, ids = np.array([[2.0, 0.0]]), ["a", "b", "a", "b"]
    got = ranking(query, gallery, ["a"], ids)
    assert got == {"rank1": 1, "rank5": 1, "rank10": 1, "map": pytest.approx(5 / 6), "minp": pytest.approx(2 / 3),
                   "queries": 1, "unmatched": 0}
    # Trapezoid: 1 for the first; the second lies between precision 1/2 at rank 2 and 2/3 at rank 3.
    assert ranking(query, gallery, ["a"], ids, precision="trapezoid")["map"] == pytest.approx((1 + 7 / 12) / 2)
    # The camera of the match at 10 degrees is the query's: it goes, and the wrong entry at 20 comes first.
    got = ranking(query, gallery, ["a"], ids, [1], [1, 1, 2, 2])
    assert got["rank1"] == 0 and got["rank5"] == 1 and got["map"] == got["minp"] == pytest.approx(1 / 2)
    got = ranking(query, gallery, ["a"], ids, [1], [1, 1, 2, 2], precision="trapezoid")
    assert got["map"] == pytest.approx((0 / 1 + 1 / 2) / 2)


def test_a_collapsed_network_is_not_rewarded():
    ids = np.repeat(np.arange(5), 4)
    got = ranking(np.ones([20, 3]), np.ones([20, 3]), ids, ids, same_index=np.arange(20))
    assert got["rank1"] == got["rank5"] == got["rank10"] == 0
    assert got["map"] == pytest.approx(np.mean([1 / 17, 2 / 18, 3 / 19]))


def test_order_names_rotation_and_length_play_no_part():
    query, gallery, query_ids, gallery_ids = draw(5)
    wanted = ranking(query, gallery, query_ids, gallery_ids)
    order = np.random.default_rng(6).permutation(60)
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=[3, 3]))[0]
    names = np.array([f"person {k}" for k in range(8)])
    query, gallery = 5 * query @ turn, 1e-20 * gallery[order] @ turn
    got = ranking(query, gallery, names[query_ids], names[gallery_ids[order]])
    assert got == pytest.approx(wanted, abs=1e-9)


def test_better_embeddings_rank_better():
    generator = np.random.default_rng(8)
    ids, centres = np.repeat(np.arange(6), 5), np.eye(6)
    maps = [ranking(rows, rows, ids, ids, same_index=np.arange(30))["map"]
            for rows in (centres[ids] + spread * generator.normal(size=[30, 6]) for spread in (0.1, 0.5, 3))]
    assert maps[0] == 1 and maps[0] > maps[1] > maps[2]


def test_arguments_stay_as_they_are():
    data = draw(9)
    before = [part.copy() for part in data]
    ranking(*data)
    for part, copy in zip(data, before):
        np.testing.assert_array_equal(part, copy)


def test_oneshot_equals_the_loop():
    generator = np.random.default_rng(10)
    query, gallery = generator.normal(size=[20, 2]), generator.normal(size=[20, 2])
    query_ids, gallery_ids = np.tile(np.arange(5), 4), np.tile(np.arange(5)[::-1], 4)
    cases = np.repeat(["run1", "run2", "run3", "run4"], 5)
    right = 0
    for i in range(20):
        scores = {gallery_ids[j]: query[i] @ gallery[j] / np.linalg.norm(gallery[j])
                  for j in range(20) if cases[j] == cases[i]}
        right += max(scores, key=scores.get) == query_ids[i]
    got = oneshot_accuracy(query, gallery, query_ids, gallery_ids, cases, cases)
    assert got == right / 20 and 0 < got < 1 and type(got) is float
    order = generator.permutation(20)
    assert oneshot_accuracy(query[order], gallery, query_ids[order], gallery_ids, cases[order], cases) == got


def test_oneshot_looks_only_inside_the_case_and_counts_ties_and_absence_as_wrong():
    query, ids = np.array([[1.0, 0.0], [1.0, 0.0]]), [0, 0]
    gallery = np.array([[1.0, 0.1], [0.0, 1.0], [1.0, 0.0]])
    assert oneshot_accuracy(query[:1], gallery, [0], [0, 1, 1], [7], [7, 7, 8]) == 1
    assert oneshot_accuracy(query[:1], gallery, [0], [0, 1, 1], [7], [7, 7, 7]) == 0
    assert oneshot_accuracy(query[:1], np.ones([2, 2]), [0], [0, 1], [7], [7, 7]) == 0
    assert oneshot_accuracy(query, gallery, ids, [0, 1, 1], [7, 8], [7, 7, 8]) == 0.5


def test_oneshot_leaves_out_a_case_without_gallery():
    query, gallery = np.eye(2)[[0, 0, 1]], np.eye(2)
    assert oneshot_accuracy(query, gallery, [0, 1, 0], [0, 1], [7, 7, 8], [7, 7]) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_cases_are_searched_by_themselves(seed):
    query, gallery, query_ids, gallery_ids = draw(seed, queries=30, entries=60, identities=4)
    generator = np.random.default_rng(seed + 90)
    query_cases, gallery_cases = generator.integers(0, 4, 30), generator.integers(0, 4, 60)
    query_cases[:5], query_ids[5:9], query_cases[5:9] = 9, 77, 8        # no gallery; no match
    gallery_cases[:3] = 8
    gallery_ids[3:9] = -1
    drop = generator.integers(-1, 60, 30)
    cameras = generator.integers(0, 2, 30), generator.integers(0, 2, 60)
    ranked, counts = [], []
    for case in range(4):
        asked, offered = query_cases == case, gallery_cases == case
        places = np.append(np.where(offered, np.cumsum(offered) - 1, -1), -1)
        ranked.append(naive(query[asked], gallery[offered], query_ids[asked], gallery_ids[offered],
                            cameras[0][asked], cameras[1][offered], drop=places[drop[asked]]))
        counts.append(ranked[-1]["queries"])
    got = ranking(query, gallery, query_ids, gallery_ids, *cameras, same_index=drop, query_cases=query_cases,
                  gallery_cases=gallery_cases)
    for name in ("rank1", "rank5", "rank10", "map", "minp"):
        assert got[name] == pytest.approx(np.average([one[name] for one in ranked], weights=counts), abs=1e-9)
    assert got["queries"] == sum(counts) and got["unmatched"] == 30 - sum(counts)


def test_a_case_without_a_pair_does_not_end_the_ranking():
    rows, ids, cases = np.eye(3)[[0, 0, 1, 0, 1]], np.array([1, 1, 2, 3, 4]), np.array([0, 0, 0, 1, 2])
    got = ranking(rows, rows, ids, ids, same_index=np.arange(5), query_cases=cases, gallery_cases=cases)
    assert got == {"rank1": 1, "rank5": 1, "rank10": 1, "map": 1, "minp": 1, "queries": 2, "unmatched": 3}
    with pytest.raises(ValueError, match="no query of 5 has a match"):
        ranking(rows, rows, ids, ids, same_index=np.arange(5), query_cases=np.arange(5), gallery_cases=np.arange(5))


DATA = draw(11)


@pytest.mark.parametrize("call, told", [
    (lambda: ranking(DATA[0], DATA[1][:, :2], *DATA[2:]), r"shape \(17, 3\)"),
    (lambda: ranking(DATA[0], DATA[1], DATA[2][:5], DATA[3]), r"`query_identities` has shape \(5,\)"),
    (lambda: ranking(DATA[0], DATA[1], DATA[2], DATA[3][:5]), r"`gallery_identities` has shape \(5,\)"),
    (lambda: ranking(DATA[0] * np.nan, *DATA[1:]), "`query` row 0"),
    (lambda: ranking(DATA[0], DATA[1] * np.inf, *DATA[2:]), "`gallery` row 0"),
    (lambda: ranking(*DATA, query_cameras=np.zeros(17)), "`gallery_cameras` is None"),
    (lambda: ranking(*DATA, np.zeros(17), np.full(60, "0")), "`query_cameras` are float64 and `gallery_cameras` <U1"),
    (lambda: ranking(*DATA, np.full(17, b"0"), np.full(60, "0")), "`query_cameras` are .S1 and `gallery_cameras` <U1"),
    (lambda: ranking(*DATA, gallery_cases=np.zeros(60)), "`query_cases` is None but the other side has cases"),
    (lambda: ranking(*DATA, query_cases=np.zeros(3), gallery_cases=np.zeros(60)), r"`query_cases` has shape \(3,\)"),
    (lambda: ranking(*DATA, ranks=(0, 1)), "`ranks` has 0"),
    (lambda: ranking(*DATA, same_index=np.full(17, 60)), "`same_index`"),
    (lambda: ranking(*DATA, precision="area"), "`precision` is 'area' but must be one of step, trapezoid"),
    (lambda: ranking_of(DATA[0], *DATA[2:]), r"`gallery_identities` has shape \(60,\) but must be \[3\]"),
    (lambda: ranking_of(np.full([17, 60], np.nan), *DATA[2:]), "`scores` row 0 has a value that is not finite"),
    (lambda: ranking_of(np.zeros(17), *DATA[2:]), r"`scores` is float64 \(17,\)"),
    (lambda: ranking_of(np.full([17, 60], "a"), *DATA[2:]), "`scores` is <U1"),
    (lambda: ranking(DATA[0], DATA[1], DATA[2] + 100, DATA[3]), "no query of 17 has a match"),
    (lambda: ranking(DATA[0][:0], DATA[1], DATA[2][:0], DATA[3]), "`query` has 0 rows"),
    (lambda: oneshot_accuracy(*DATA, np.ones(17, int), np.zeros(60, int)), "`gallery_cases` has no 1"),
    (lambda: oneshot_accuracy(*DATA, np.ones(3, int), np.zeros(60, int)), r"`query_cases` has shape \(3,\)"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
