"""Re-identification on drawn identities with cameras: terms, sides, galleries, tracks, refusals, what is served."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config
from keras_apps.run import Run
from tests.keras_apps.runs import run_train
from tfrecords.sources.folder import FolderSource
from tfrecords.sources.market1501 import Market1501Source
from tfrecords.sources.synthetic import SyntheticSource
from tfrecords.write import write

STRATEGY = tf.distribute.get_strategy()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 identities of 4 images by 2 cameras."""
    folder = tmp_path_factory.mktemp("reid") / "data"
    write([SyntheticSource("identities", identities=24, images=4, cameras=2, size=24)], folder, shards=2)
    return str(folder)


def small(**changes):
    config = get_config()
    config.update({"steps": 4, "batch": 8, "checkpoint_every": 4, "log_every": 1, "size": 24, "schedule": "constant()",
                   "backbone": "small_cnn(widths=(4, 4, 8), pool_last=False, blur=3)",
                   "neck": "mffm(widths=(4, 4, 8), fused=8)", "distractors": (), "query_camera": "1"})
    config.data.update({"train_split": "", "validation_split": "", "test_split": "", "holdout": 0.5, "augment": ()})
    data = changes.pop("data", {})
    config.update(changes)
    config.data.update(data)
    return config


def make(folder, **changes):
    return Run(small(**changes), folder, STRATEGY)


def evaluated(run):
    return run.app.evaluate(run.splits)


# ---- terms

def batch_of(run):
    return next(iter(run.batches(run.app.stages()[0]).dataset(0)))


def test_distances_are_learned_before_the_norm_and_identities_after_it(data):
    run = make(data)
    batch = batch_of(run)
    terms, _ = run.app.losses("train", batch, tf.constant([0, 1]), tf.constant(0))
    assert set(terms) == {"head", "metric", "center", "active"} and set(run.app.weights("train", 0)) == {
        "head", "metric", "center"}
    run = make(data)        # the moving averages have not moved
    feature, embedding = run.app.network.both(batch["image"], training=True)
    assert np.abs(feature - embedding).max() > 0.1, "else nothing is told apart here"
    np.testing.assert_allclose(terms["head"], run.app.head.loss(embedding, batch["label"], 0), rtol=1e-5)
    np.testing.assert_allclose(terms["metric"], run.app.loss(feature, batch["label"]), rtol=1e-5)
    np.testing.assert_allclose(terms["center"], run.app.center(feature, batch["label"]), rtol=1e-5)


def test_without_a_norm_both_are_one(data):
    run = make(data, norm="none")
    feature, embedding = run.app.network.both(batch_of(run)["image"], training=True)
    assert feature is embedding


def test_the_weight_of_the_center_loss_does_not_slow_its_centers(data):
    moved = []
    for weight in (1e-3, 0.5):
        run = make(data, weights={"head": 0.0, "metric": 0.0, "center": weight}, steps=1, ema=0.0)
        first = run.app.center.trainable_variables[0].numpy()
        run.loop(None).run()
        moved.append(run.app.center.trainable_variables[0].numpy() - first)
    assert np.abs(moved[0]).max() > 1e-3
    np.testing.assert_allclose(moved[1], moved[0], atol=1e-5)


def test_the_loss_falls(data):
    rows = []
    config = small(steps=60, log_every=5, batch=24)
    config.optimizers.network = "adam(rate=3e-3)"
    Run(config, data, STRATEGY).loop(None, [lambda loop, logs: rows.append(logs["train/loss"])]).run()
    assert np.mean(rows[-3:]) < 0.8 * np.mean(rows[:3])


# ---- figures

def test_figures_are_those_of_a_naive_search(data):
    run = make(data)
    test, found = run.splits["test"], evaluated(run)
    vectors, _ = run.app.vectors_of(test)
    asking = np.array(run.records.names("camera"))[test.column("camera")] == "1"
    firsts, precisions, penalties = [], [], []
    for query in np.flatnonzero(asking):
        others = np.flatnonzero(~asking)
        order = others[np.argsort(-(vectors[others] @ vectors[query]), kind="stable")]
        right = np.flatnonzero(test.identities[order] == test.identities[query]) + 1
        if len(right):
            firsts.append(right[0])
            precisions.append(np.mean(np.arange(1, len(right) + 1) / right))
            penalties.append(len(right) / right[-1])
    assert found["queries"] == len(firsts) and found["gallery"] == np.sum(~asking)
    assert found["queries"] + found["unmatched"] == np.sum(asking)
    assert found["rank1"] == pytest.approx(np.mean(np.array(firsts) == 1))
    assert found["rank5"] == pytest.approx(np.mean(np.array(firsts) <= 5))
    assert found["map"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert found["minp"] == pytest.approx(np.mean(penalties), abs=1e-6)
    assert all(0 <= found[f"floor_{name}"] <= 1 for name in ("rank1", "rank5", "map", "minp"))
    assert 0 <= found["shift_consistency"] <= 1 and {"threshold", "far_at_threshold"} <= set(found)


def test_a_wider_gallery_is_harder_and_says_what_it_is_made_of(data):
    run = make(data, distractors=("validation", "train"), data={"validation": 0.4})
    found = evaluated(run)
    names = np.array(run.records.names("camera"))
    others = {name: np.sum(names[split.column("camera")] != "1") for name, split in run.splits.items()}
    assert found["gallery"] == others["test"] and found["gallery_middle"] == others["test"] + others["validation"]
    assert found["gallery_large"] == sum(others.values())
    for name in ("rank1", "map", "minp"):
        assert found[f"{name}_large"] <= found[f"{name}_middle"] <= found[name]
        assert 0 <= found[f"floor_{name}_large"] <= found[f"floor_{name}_middle"] <= found[f"floor_{name}"]
    assert found["seen_identities_middle"] == 0 and found["seen_identities_large"] == len(run.names)


def test_without_a_camera_that_asks_each_image_asks_all_others(data):
    found = evaluated(make(data, query_camera="", protocol="all"))
    assert found["gallery"] == found["queries"] + found["unmatched"] == 48
    run = make(data, query_camera="", protocol="all")
    test = run.splits["test"]
    test.identities = np.arange(48)        # every image its own identity, found only by itself
    with pytest.raises(ValueError, match="no held-out query of 48 has a match in the gallery of 48 images; check"):
        run.app.search.require(test, "held-out")


def test_the_own_camera_is_no_answer_under_market1501(data):
    found = evaluated(make(data, query_camera="", protocol="market1501"))
    all_of_them = evaluated(make(data, query_camera="", protocol="all"))
    assert found["map"] != all_of_them["map"] and found["queries"] <= all_of_them["queries"]


def test_a_reranker_adds_its_figures(data):
    found = evaluated(make(data, reranker="k_reciprocal(k1=5, k2=2)"))
    assert {"rank1_reranked", "map_reranked", "minp_reranked"} <= set(found)
    assert "map_reranked" not in evaluated(make(data))


def test_tracks_are_searched_as_one(tmp_path):
    write([SyntheticSource("tracks", identities=12, tracks=2, frames=3, cameras=2, size=24)], tmp_path / "data")
    for changes in ({}, {**ORIENTED, "head": "linear()"}):
        run = make(str(tmp_path / "data"), query_camera="", protocol="all", **changes)
        found, test = evaluated(run), run.splits["test"]
        vectors, _ = run.app.vectors_of(test)
        asked, tracks = run.app.asked_of(test) if changes else vectors, test.column("track")
        names, firsts = np.unique(tracks), np.unique(tracks, return_index=True)[1]
        offered = np.stack([vectors[tracks == name].mean(0) for name in names])
        offered /= np.linalg.norm(offered, axis=1, keepdims=True)
        asking = np.stack([asked[tracks == name].mean(0) for name in names])
        for sides, rows, own, ids in (("image", asked, tracks, test.identities),
                                      ("track", asking, names, test.identities[firsts])):
            scores = rows @ offered.T
            scores[own[:, None] == names] = -np.inf
            right = test.identities[firsts][scores.argmax(1)] == ids
            assert found[f"{sides}_to_track_rank1"] == pytest.approx(right.mean(), abs=1e-9)


def test_false_detections_stay_in_the_gallery_and_are_wrong(tmp_path):
    """Through the source: what Market-1501 numbers 0000 is of nobody and never a right answer."""
    random = np.random.default_rng(0)
    for folder, people, cameras in (("bounding_box_train", range(1, 9), (1, 2)), ("query", range(9, 15), (1,)),
                                    ("bounding_box_test", range(9, 15), (2, 3)),
                                    ("bounding_box_test", [0, -1], (4, 5))):
        for person in people:
            for camera in cameras:
                for number in range(1 if folder != "bounding_box_test" or person > 0 else 15):
                    path = tmp_path / "market" / folder / f"{person:04d}_c{camera}s1_{number:06d}_00.png"
                    path = path.with_name(path.name.replace("-001", "-1"))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(random.integers(0, 255, (24, 24, 3), np.uint8)).save(path)
    write([Market1501Source(str(tmp_path / "market"))], tmp_path / "data")
    run = make(str(tmp_path / "data"), query_camera="", data={"train_split": "train", "test_split": "test"})
    found, test = evaluated(run), run.splits["test"]
    assert found["gallery"] == 12 + 30 and found["queries"] == 6 and found["left_out"] == 0
    lost = run.splits["distractors"]
    vectors, others = run.app.vectors_of(test)[0], run.app.vectors_of(lost)[0]
    query, gallery = run.app.search.sides(test)
    ranks = []
    for place in np.flatnonzero(query):
        same = test.identities[gallery] == test.identities[place]
        scores, wrong = vectors[gallery] @ vectors[place], others @ vectors[place]
        ranks.append(1 + np.sum(scores[~same] >= scores[same].max()) + np.sum(wrong >= scores[same].max()))
    assert found["rank5"] == pytest.approx(np.mean(np.array(ranks) <= 5)) and max(ranks) > 12
    few = make(str(tmp_path / "data"), query_camera="", data={"train_split": "train", "test_split": "test",
                                                              "test_images": 12})
    found = evaluated(few)
    assert found["left_out"] == 6 + 18 and found["gallery"] == 8 + 12


def test_the_sheet_shows_queries_and_answers(data):
    run = make(data)
    evaluated(run)
    sheet = run.app.pictures(run.splits)["ranking"]
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3 and min(sheet.shape[:2]) > 300 and sheet.std() > 10


# ---- matchers

ORIENTED = {"matcher": "oriented(branch=4)", "mirror": False, "loss": ""}
PARTS = {"matcher": "part_aware(parts=('full', 'upper50', 'left50'))"}


@pytest.mark.parametrize("changes, own", [
    (ORIENTED, {"center", "same", "other", "kind"}), (PARTS, {"metric", "center", "kind"})])
def test_a_matcher_adds_its_terms_and_its_weights_move(data, changes, own):
    run = make(data, **changes)
    terms, _ = run.app.losses("train", batch_of(run), tf.constant([0, 1]), tf.constant(0))
    assert set(run.app.weights("train", 0)) == {"head"} | own == set(terms) - {"active"}
    first = [variable.numpy() for variable in run.app.matcher.trainable_variables]
    run.loop(None).run()
    assert all(np.any(now != before) for now, before in zip(run.app.matcher.trainable_variables, first))


def test_orientations_are_those_of_the_rows(data):
    run = make(data, **ORIENTED)
    batch = batch_of(run)
    kinds = run.records.column("orientation")[batch["index"].numpy()]
    terms, _ = run.app.losses("train", batch, tf.constant([0, 1]), tf.constant(0))
    run = make(data, **ORIENTED)
    _, embedding = run.app.network.both(batch["image"], training=True)
    wanted = run.app.matcher.losses(embedding, batch["label"], tf.constant(kinds))
    for name in ("same", "other", "kind"):
        np.testing.assert_allclose(terms[name][0], wanted[name][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [ORIENTED, PARTS], ids=["oriented", "part_aware"])
def test_queries_are_searched_by_the_vectors_that_ask(data, changes):
    run = make(data, **changes)
    test, found = run.splits["test"], evaluated(run)
    asked, (vectors, _) = run.app.asked_of(test), run.app.vectors_of(test)
    asking = np.array(run.records.names("camera"))[test.column("camera")] == "1"
    scores, same = asked[asking] @ vectors[~asking].T, test.identities[asking][:, None] == test.identities[~asking]
    matched = same.any(1)
    assert found["rank1"] == pytest.approx(np.mean([row[line.argmax()] for row, line in zip(
        same[matched], scores[matched])]))
    held = run.app._held["embedding"]
    upper = np.triu_indices(len(asked), 1)
    np.testing.assert_allclose(held[0], (asked @ vectors.T)[upper], atol=1e-5)
    first, second = test.load([0]), test.load([5])
    served = run.app.signatures()["verify"]["function"](first, second)
    assert float(served["score"][0]) == pytest.approx(asked[0] @ vectors[5], abs=1e-5)
    assert set(run.app.pictures(run.splits)) == {"roc", "precision_recall", "scores", "pairs", "ranking"}


def test_views_of_the_querys_orientation_are_junk_when_turned(data):
    run = make(data, query_camera="")
    test, found = run.splits["test"], evaluated(run)
    vectors, _ = run.app.vectors_of(test)
    kinds, precisions = test.column("orientation"), []
    for query in range(len(vectors)):
        junk = (test.identities == test.identities[query]) & (kinds == kinds[query])
        order = np.argsort(-(vectors @ vectors[query]), kind="stable")
        order = order[~junk[order]]
        right = np.flatnonzero(test.identities[order] == test.identities[query]) + 1
        if len(right):
            precisions.append(np.mean(np.arange(1, len(right) + 1) / right))
    assert found["map_turned"] == pytest.approx(np.mean(precisions), abs=1e-6) and found["map_turned"] != found["map"]


def test_a_restyled_gallery_is_embedded_anew_and_the_queries_are_not(data):
    found = evaluated(make(data, restyle="jitter(brightness=0.0, contrast=0.0)"))
    assert found["map_restyled"] == pytest.approx(found["map"], abs=1e-6)
    run = make(data, restyle="solarise(share=1.0)")
    test, found = run.splits["test"], evaluated(run)
    vectors, _ = run.app.vectors_of(test)
    query, offered = run.app.search.sides(test)
    changed = run.app.embed(run.app.restyle(tf.constant(test.load(offered)), tf.constant([0, 0]), 1.0)).numpy()
    same = test.identities[query][:, None] == test.identities[offered]
    right = (same[range(len(same)), (vectors[query] @ changed.T).argmax(1)])[same.any(1)]
    assert found["rank1_restyled"] == pytest.approx(np.mean(right)) and found["map_restyled"] != found["map"]


def test_parts_are_asked_for_beside_the_whole(data):
    found = evaluated(make(data, **PARTS))
    assert "map_partial" not in evaluated(make(data))
    run = make(data, **PARTS)
    test, matcher = run.splits["test"], run.app.matcher
    drawn = np.random.default_rng(0).integers(3, size=len(test.rows), dtype=np.int32)
    images = tf.constant(test.load())
    parts = matcher.crop(images, drawn)
    query, gallery = run.app.search.sides(test)
    same = test.identities[query][:, None] == test.identities[gallery]
    matched = same.any(1)
    for name, asked, offered in (("partial", run.app.ask(parts), run.app.embed(images)),
                                 ("partial_whole", run.app.look(parts)[1], run.app.look(images)[1])):
        scores = asked.numpy()[query] @ offered.numpy()[gallery].T
        right = same[range(len(same)), scores.argmax(1)][matched]
        assert found[f"rank1_{name}"] == pytest.approx(right.mean())
    told = matcher.kind(run.app.look(parts)[0]).numpy().argmax(1)
    assert found["kind_accuracy"] == pytest.approx(np.mean(told[query] == drawn[query]))
    assert {"floor_map_partial", "floor_map_partial_whole"} <= set(found)


# ---- refusals

@pytest.mark.parametrize("changes, message", [
    ({"head": "", "loss": ""}, "`head` and `loss` are both empty but at least one must be named"),
    ({"weights": {"circle": 1.0}}, "`weights` has center, circle, head, metric but must have center, head and metric"),
    ({"distractors": ("test",)}, "`distractors` has test but takes validation and train"),
    ({"query_camera": "9"}, "`query_camera` is '9' but the held-out images then hold no queries; their cameras are"),
    ({"protocol": "marked"}, "`protocol` is 'marked' but must be one of .*market1501"),
    ({"average_precision": "steps"}, "`average_precision` is 'steps' but must be step or trapezoid"),
    ({"weights": {"center": 0.0}}, "`weight` is 0"),
    ({"clip": 1.0}, "`clip` is 1.0 but the gradient of the centres"),
    ({"weights": {"center": 1e-3, "head": 1.0, "metric": float("nan")}}, "`weights.metric` is nan but must be a fin"),
    ({"weights": {"center": 1e-3, "head": -1.0, "metric": 1.0}}, "`weights.head` is -1.0"),
    ({**PARTS, "protocol": "vehicle_id"}, "`matcher` is .* beside protocol vehicle_id"),
    ({"distractors": ("train",), "protocol": "vehicle_id"}, "`distractors` is .* beside protocol vehicle_id"),
    ({**PARTS, "data": {"mixing": ("turned_classes(mirror=True)",)}}, "`data.mixing` is .* beside matcher"),
    ({**ORIENTED, "reranker": "k_reciprocal()"}, "a re-ranker needs one vector an image"),
    ({**ORIENTED, "mirror": True}, "`mirror` is True .* a mirror image shows another orientation"),
    ({**ORIENTED, "data": {"augment": ("flip()",)}}, r"`data.augment` has \['flip\(\)'\]"),
    ({"data": {"test_split": "test"}}, "`data.test_split` is 'test' but the data have the splits"),
    ({"data": {"validation": 0.2, "validation_split": "val"}}, "only one of them may be set"),
])
def test_mistakes_are_refused_before_training(data, changes, message):
    with pytest.raises(ValueError, match=message):
        make(data, **changes)


def test_searches_that_cannot_be_judged_are_refused_before_training(tmp_path):
    write([SyntheticSource("identities", identities=12, images=4, cameras=1, size=24)], tmp_path / "one")
    with pytest.raises(ValueError, match="no held-out query of 24 has a match .* of its own camera does not count"):
        make(str(tmp_path / "one"), query_camera="")
    for identity in range(12):
        for number in range(4):
            path = tmp_path / "images" / f"{identity}_t{number}_{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (24, 24), (20 * identity, 60 * number, 0)).save(path)
    write([FolderSource(tmp_path / "images", r"(?P<identity>\d+)_t(?P<track>\d)_")], tmp_path / "tracks")
    with pytest.raises(ValueError, match="track 0 has the identities .* but a track has one"):
        make(str(tmp_path / "tracks"), query_camera="", protocol="all")


def test_cameras_must_be_there_where_they_are_asked_for(tmp_path):
    write([SyntheticSource("tail", classes=6, images=12, size=24)], tmp_path / "data")
    with pytest.raises(ValueError, match="`query_camera` is '1' but the data name no camera"):
        make(str(tmp_path / "data"))
    with pytest.raises(ValueError, match="market1501.* camera"):
        make(str(tmp_path / "data"), query_camera="")
    assert evaluated(make(str(tmp_path / "data"), query_camera="", protocol="all"))["queries"] > 0


# ---- served

@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, ORIENTED, PARTS], ids=["plain", "oriented", "part_aware"])
def test_the_exported_search_ranks_as_the_evaluation(data, tmp_path, changes):
    from saved_models import gallery
    run_train(data, tmp_path / "run", small(neck="last()", **changes), str(tmp_path / "models"))
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["gallery"] > 0
    run = make(data, neck="last()", **changes)
    test = run.splits["test"]
    loop = run.loop(str(tmp_path / "run"))
    loop.restore(training=False)
    with loop.averaged():
        vectors, _ = run.app.vectors_of(test)
        asked = run.app.asked_of(test) if changes else vectors
    encoded = run.records.images(test.rows)
    offered = np.flatnonzero(run.app.search.sides(test)[1])
    entries = [(test.names[test.identities[place]], f"{place}", encoded[place]) for place in offered]
    version = gallery.build(tmp_path / "models" / "vehicle_reid" / "1", entries, tmp_path / "models", k=5)
    search = tf.saved_model.load(str(version)).signatures["search"]
    for query in np.flatnonzero(run.app.search.sides(test)[0])[:6]:
        found = search(image_bytes=tf.constant([encoded[query]]))
        scores = vectors[offered] @ asked[query]
        order = np.argsort(-scores, kind="stable")[:5]
        np.testing.assert_allclose(found["scores"][0], scores[order], atol=1e-4)
        assert [name.decode() for name in found["identities"][0].numpy()] == [
            test.names[test.identities[offered[place]]] for place in order]
