"""Re-identification on drawn identities with cameras: terms, sides, galleries, tracks, refusals, what is served."""

import json

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.configs.vehicle_reid.stronger_baseline import get_config
from keras_apps.run import Run
from tests.keras_apps.runs import run_train
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
    run = make(str(tmp_path / "data"), query_camera="", protocol="all")
    found = evaluated(run)
    for name in ("rank1", "map"):
        assert 0 <= found[f"image_to_track_{name}"] <= 1 and 0 <= found[f"track_to_track_{name}"] <= 1


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
    assert {"rank1_partial", "map_partial", "rank1_partial_whole", "map_partial_whole"} <= set(found)
    assert 0 <= found["kind_accuracy"] <= 1 and "map_partial" not in evaluated(make(data))


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
    ({**ORIENTED, "reranker": "k_reciprocal()"}, "a re-ranker needs one vector an image"),
    ({**ORIENTED, "mirror": True}, "`mirror` is True .* a mirror image shows another orientation"),
    ({**ORIENTED, "data": {"augment": ("flip()",)}}, r"`data.augment` has \['flip\(\)'\]"),
    ({"data": {"test_split": "test"}}, "`data.test_split` is 'test' but the data have the splits"),
    ({"data": {"validation": 0.2, "validation_split": "val"}}, "only one of them may be set"),
])
def test_mistakes_are_refused_before_training(data, changes, message):
    with pytest.raises(ValueError, match=message):
        make(data, **changes)


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
