import numpy as np
import pytest

from keras_apps.metrics import protocols, ranking
from keras_apps.metrics.protocols import by_tracks, evaluate, match_tracks, tracks

FIGURES = ("rank1", "rank5", "rank10", "map", "minp")


def draw(seed, queries=20, entries=60, identities=7, cameras=3):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=[queries, 4]), generator.normal(size=[entries, 4]),
            generator.integers(0, identities, queries), generator.integers(0, identities, entries),
            generator.integers(0, cameras, queries), generator.integers(0, cameras, entries))


def naive(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, junk):
    """rank1, map and minp by going down each query's list; junk(identity, camera, own identity, own camera)."""
    found = []
    for row, own, own_camera in zip(query, query_ids, query_cameras):
        order = np.argsort(-(gallery @ row) / np.linalg.norm(gallery, axis=1))
        truth = [gallery_ids[j] == own for j in order
                 if not junk(gallery_ids[j], gallery_cameras[j], own, own_camera)]
        hits = np.flatnonzero(truth) + 1
        if len(hits):
            found.append((hits[0] == 1, np.mean(np.arange(1, len(hits) + 1) / hits), len(hits) / hits[-1]))
    return {**dict(zip(("rank1", "map", "minp"), np.mean(found, axis=0))), "queries": len(found),
            "unmatched": len(query) - len(found)}


def agree(got, wanted):
    assert {name: got[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("protocol", ["market1501", "veri", "veri_wild"])
@pytest.mark.parametrize("text", [False, True])
def test_same_identity_and_camera_are_junk_and_distractors_are_wrong(protocol, text):
    query, gallery, query_ids, gallery_ids, *cameras = draw(0)
    query_ids[query_ids == 0] = 1           # identity 0 is of the gallery alone: distractors
    query_ids[0] = 99
    gallery_ids[:9] = -1
    wanted = naive(query, gallery, query_ids, gallery_ids, *cameras,
                   lambda identity, camera, own, own_camera: identity == -1 or (identity == own
                                                                                and camera == own_camera))
    assert (gallery_ids == 0).any() and wanted["unmatched"] >= 1
    ids = [side.astype(str) if text else side for side in (query_ids, gallery_ids)]
    got = evaluate(query, gallery, *ids, *cameras, protocol)
    agree(got, wanted)
    assert sorted(got) == sorted([*FIGURES, "queries", "unmatched"])
    without = gallery_ids != 0
    assert evaluate(query, gallery[without], query_ids, gallery_ids[without], cameras[0], cameras[1][without],
                    protocol)["map"] > got["map"], "distractors stay in the gallery"
    agree(evaluate(query, gallery, *ids, *[side.astype(str) for side in cameras], protocol), wanted)


def test_all_goes_by_no_camera():
    data = draw(1)
    wanted = naive(*data, lambda identity, camera, own, own_camera: False)
    agree(evaluate(*data, "all"), wanted)
    agree(evaluate(*data[:4], protocol="all"), wanted)
    assert evaluate(*data, "all")["map"] != evaluate(*data)["map"]
    assert evaluate(*data, "all", "trapezoid")["map"] == ranking.ranking(*data[:4], precision="trapezoid")["map"]
    assert "rank3" in evaluate(*data, "all", ranks=(3,))


def test_a_row_that_is_the_query_itself_is_left_out():
    _, rows, _, ids, _, _ = draw(2)
    got = evaluate(rows, rows, ids, ids, protocol="all", same_index=np.arange(60))
    assert got == ranking.ranking(rows, rows, ids, ids, same_index=np.arange(60))
    assert evaluate(rows, rows, ids, ids, protocol="all")["rank1"] == 1


def naive_vehicle_id(rows, ids, galleries):
    found = []
    for gallery in galleries:
        asked = [i for i in range(len(rows)) if i not in gallery]
        found.append(naive(rows[asked], rows[gallery], ids[asked], ids[gallery], ids[asked], ids[gallery],
                           lambda *_: False))
    return {name: np.mean([one[name] for one in found]) for name in ("rank1", "map", "minp")}


def test_vehicle_id_draws_one_image_of_each_identity(monkeypatch):
    _, rows, _, ids, _, _ = draw(3)
    ids[50:] = -1
    galleries, search = [], ranking.ranking

    def spy(query, gallery, query_ids, gallery_ids, **words):
        galleries.append([int(np.flatnonzero((rows == row).all(axis=1))[0]) for row in gallery])
        assert len(query) + len(gallery) == 50 and sorted(gallery_ids) == list(range(7))
        return search(query, gallery, query_ids, gallery_ids, **words)
    monkeypatch.setattr(protocols.ranking, "ranking", spy)
    got = evaluate(rows, rows, ids, ids, protocol="vehicle_id")
    assert len(galleries) == 10 and len({tuple(gallery) for gallery in galleries}) == 10
    assert (got["queries"], got["unmatched"]) == (43, 0) and got["map"] != got["rank1"]
    agree(got, naive_vehicle_id(rows, ids, galleries))
    assert got["map"] == pytest.approx(evaluate(rows, rows, ids, ids, protocol="vehicle_id")["map"], abs=0)
    assert evaluate(rows, rows, ids, ids, protocol="vehicle_id", seed=1)["map"] != got["map"]
    galleries.clear()
    evaluate(rows, rows, ids, ids, protocol="vehicle_id", repeats=2)
    assert len(galleries) == 2


def test_vehicle_id_takes_each_row_once():
    query, gallery, query_ids, gallery_ids, *_ = draw(4)
    both, ids = np.concatenate([gallery, query]), np.concatenate([gallery_ids, query_ids])
    wanted = evaluate(both, both, ids, ids, protocol="vehicle_id")
    assert wanted["queries"] == 80 - 7
    assert evaluate(query, gallery, query_ids, gallery_ids, protocol="vehicle_id") == wanted
    own = np.append(np.full(20, -1), [5, 9])        # two of the gallery ask as well
    assert evaluate(np.concatenate([query, gallery[[5, 9]]]), gallery, np.append(query_ids, gallery_ids[[5, 9]]),
                    gallery_ids, protocol="vehicle_id", same_index=own) == wanted


@pytest.mark.parametrize("protocol", ["market1501", "vehicle_id", "all"])
def test_a_re_ranker_decides_among_known_entries_only(protocol):
    query, gallery, query_ids, gallery_ids, *cameras = draw(5)
    gallery_ids[::7] = -1
    wanted = evaluate(query, gallery, query_ids, gallery_ids, *cameras, protocol)
    seen = []

    def cosine(query, gallery):
        seen.append(len(gallery))
        return query @ gallery.T / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(gallery, axis=1)
    got = evaluate(query, gallery, query_ids, gallery_ids, *cameras, protocol, reranker=cosine)
    assert got == pytest.approx(wanted, abs=1e-9)
    assert set(seen) == {7 if protocol == "vehicle_id" else np.count_nonzero(gallery_ids >= 0)}
    worst = evaluate(query, gallery, query_ids, gallery_ids, *cameras, protocol, reranker=lambda *s: -cosine(*s))
    assert worst["map"] != got["map"]


def test_a_re_ranker_with_unknown_entries_still_leaves_the_query_out():
    rows, ids = draw(6)[1], draw(6)[3]
    ids[[0, 4, 11]] = -1
    wanted = evaluate(rows, rows, ids, ids, protocol="all", same_index=np.arange(60))
    assert evaluate(rows, rows, ids, ids, protocol="all", same_index=np.arange(60), reranker=lambda a, b: (
        a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1))) == pytest.approx(wanted, abs=1e-9)


def test_tracks_are_means_of_unit_frames():
    generator = np.random.default_rng(7)
    rows, track_of = generator.normal(size=[12, 3]) * 10, np.array([4, 2, 4, -1, 2, 7, 7, 4, 2, 2, -1, 7])
    ids, cameras = np.where(track_of == 2, 8, 9), np.array(["c1", "c2"])[track_of % 2]
    names, vectors, identities, found_cameras = tracks(rows, track_of, ids, cameras)
    assert names.tolist() == [2, 4, 7] and identities.tolist() == [8, 9, 9]
    assert found_cameras.tolist() == ["c1", "c1", "c2"]
    for name, vector in zip(names, vectors):
        unit = [row / np.linalg.norm(row) for row, track in zip(rows, track_of) if track == name]
        np.testing.assert_allclose(vector, np.mean(unit, axis=0), rtol=0, atol=1e-6)
    assert tracks(rows, track_of.astype(str), track_of)[0].tolist() == ["-1", "2", "4", "7"]
    assert tracks(rows, track_of, ids)[3] is None


def tracked(seed, spread=2.0):
    """Frames of 12 tracks, two of each of 6 identities in cameras 0 and 1; how far frames lie off is `spread`."""
    generator = np.random.default_rng(seed)
    centres, track_of = generator.normal(size=[6, 8]), np.repeat(np.arange(12), 5)
    ids, cameras = track_of // 2, track_of % 2
    return centres[ids] + spread * generator.normal(size=[60, 8]), ids, cameras, track_of


def test_tracks_beat_images():
    maps = []
    for seed in range(4):
        rows, ids, cameras, track_of = tracked(seed)
        ask, offered = cameras == 0, cameras == 1
        facts = (rows[ask], rows[offered], ids[ask], ids[offered], cameras[ask], cameras[offered])
        plain = evaluate(*facts, "veri")
        found = match_tracks(*facts, track_of[ask], track_of[offered], "veri")
        maps.append((plain["map"], found["image_to_track_map"], found["track_to_track_map"]))
        assert found["image_to_track_queries"] == 30 and found["track_to_track_queries"] == 6
        assert found["hit1"] == found["image_to_track_rank1"] and found["hit5"] == found["image_to_track_rank5"]
        assert not any(name.startswith("track_to") for name in match_tracks(*facts, None, track_of[offered], "veri"))
        assert "hit1" not in match_tracks(*facts, track_of[ask], track_of[offered], "all")
        names, entries, entry_ids, entry_cameras = tracks(rows[offered], track_of[offered], ids[offered],
                                                          cameras[offered])
        agree(found, {f"image_to_track_{name}": value for name, value in naive(
            rows[ask], entries, ids[ask], entry_ids, cameras[ask], entry_cameras,
            lambda identity, camera, own, own_camera: identity == own and camera == own_camera).items()})
    assert (np.diff(np.mean(maps, axis=0)) > 0).all()


@pytest.mark.parametrize("protocol", ["veri", "all"])
def test_in_one_set_no_track_finds_itself(protocol):
    rows, ids, cameras, track_of = tracked(0, spread=0.01)
    every = np.ones(60, bool)
    found = by_tracks(rows, rows, ids, cameras, track_of, (every, every), protocol)
    assert found["track_to_track_map"] == found["image_to_track_map"] == 1
    # One track an identity: what is left is no match, and no figure.
    first = cameras == 0
    assert by_tracks(rows, rows, ids, cameras, track_of, (first, first), protocol) == {}
    # Two files number their tracks each for itself: track 0 of the one is not track 0 of the other.
    apart = match_tracks(rows[first], rows[~first], ids[first], ids[~first], cameras[first], cameras[~first],
                         track_of[first] // 2, track_of[~first] // 2, protocol)
    assert apart["track_to_track_rank1"] == 1
    assert by_tracks(rows, rows, ids, None, track_of, (every, every), "all")["image_to_track_rank1"] == 1
    assert by_tracks(rows, rows, ids, cameras, track_of, (every, every), "vehicle_id") == {}


DATA = draw(8)
TRACKS = tracked(1)


@pytest.mark.parametrize("call, told", [
    (lambda: evaluate(*DATA, "market"), "`protocol` is 'market' but must be one of market1501, veri, veri_wild, "),
    (lambda: evaluate(*DATA[:4]), "`protocol` is market1501 but queries and gallery do not both name their cameras"),
    (lambda: evaluate(*DATA[:5], protocol="veri"), "add them, or use protocol=all"),
    (lambda: evaluate(DATA[0], DATA[1], DATA[2].astype(str), *DATA[3:]), "are <U21 and `gallery_identities` int64"),
    (lambda: evaluate(DATA[0][:, :2], *DATA[1:]), r"`query` has shape \(20, 2\)"),
    (lambda: evaluate(DATA[0], DATA[1], DATA[2][:4], *DATA[3:]), r"`query_identities` has shape \(4,\)"),
    (lambda: evaluate(DATA[0], DATA[1], DATA[2], DATA[3][:4], protocol="vehicle_id"), r"`gallery_identities` has"),
    (lambda: evaluate(*DATA[:4], DATA[4][:3], DATA[5]), r"`query_cameras` has shape \(3,\)"),
    (lambda: evaluate(DATA[0], DATA[1], DATA[2] + 50, *DATA[3:]), "no query of 20 has a match"),
    (lambda: evaluate(*DATA, "vehicle_id", repeats=0), "`repeats` is 0"),
    (lambda: evaluate(DATA[0], DATA[0], range(20), range(20), protocol="vehicle_id"), "20 images are all of different"),
    (lambda: tracks(TRACKS[0], TRACKS[3] // 2, TRACKS[1], TRACKS[2]), "track 0 has the cameras 0 and 1"),
    (lambda: tracks(TRACKS[0], TRACKS[3] // 4, TRACKS[1]), "track 0 has the identities 0 and 1 but a track has one"),
    (lambda: tracks(TRACKS[0], np.full(60, -1), TRACKS[1]), "`track_of` names no track for 60 frames"),
    (lambda: tracks(TRACKS[0], TRACKS[3][:5], TRACKS[1]), r"`track_of` has shape \(5,\)"),
    (lambda: tracks(TRACKS[0] * np.nan, TRACKS[3], TRACKS[1]), "`vectors` row 0 has a value that is not finite"),
])
def test_wrong_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
