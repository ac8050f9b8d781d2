"""Fake image detection on digits and fakes that leave a plain trace: rows, phases, figures, shortcuts, serving."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps.actions import WriteHistory
from keras_apps.apps import fake_image_detection
from keras_apps.configs.fake_image_detection import folder as folder_config
from keras_apps.metrics import detection
from keras_apps.run import Run, claim, stored_config
from saved_models.signatures import example_of
from tests.keras_apps.fakes import TRACES, blocky, changed, checkered, reals, small_detection, write_fakes
from tests.keras_apps.runs import run_evaluate, run_train
from tests.tfrecords.drawn import Drawn
from tfrecords import schema
from tfrecords.write import write

STRATEGY = tf.distribute.get_strategy()
SEED = tf.constant([3, 4])
SOURCES = ["real", *TRACES]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """192 real digits and 64 fakes of each of three kinds; 115, 29 and 48, and 39, 9 and 16, to train, val and test."""
    return write_fakes(tmp_path_factory.mktemp("fakes") / "data")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    return write_fakes(tmp_path_factory.mktemp("tracked") / "data", count=32, tracks=True)


def make(folder, **changes):
    return Run(small_detection(**changes), str(folder), STRATEGY)


@pytest.fixture(scope="module")
def plain(data):
    """A run with a held-out generator whose weights no test moves."""
    return make(data, held_out="faint")


def evaluated(run):
    return run.app.evaluate(run.splits)


def batch_of(run):
    return next(iter(run.batches(run.app.stages()[0]).dataset(0)))


def play(run, loop, batch, phase, times=1):
    """Steps of one phase on one batch."""
    stage = next(stage for stage in loop.stages if phase in stage["phases"])
    for _ in range(times):
        logs = loop.arithmetic.take(stage, lambda: batch)
    return logs


def values(variables):
    return [variable.numpy() for variable in variables]


def same(one, two):
    return all((first == second).all() for first, second in zip(one, two, strict=True))


def told(run, rows):
    """[(source, split)] of rows."""
    return list(zip(run.records.values("source", rows), run.records.values("split", rows)))


# ---- which images

def test_the_held_out_generator_is_never_trained_on_nor_chosen_by(plain):
    run = plain
    drawn = {row for stage in run.app.stages() for batch in run.batches(stage).dataset(0).take(40).as_numpy_iterator()
             for row in batch["index"].tolist()}
    assert drawn <= set(run.rows.tolist()) and len(drawn) > 0.9 * len(run.rows)
    assert {source for source, _ in told(run, run.rows)} == {"real", "checkered", "blocky"}
    assert {split for _, split in told(run, run.rows)} == {"train"} and len(run.rows) == 116 + 2 * 39
    validation = told(run, run.splits["validation"].rows)
    assert {source for source, _ in validation} == {"real", "checkered", "blocky"}
    assert {split for _, split in validation} == {"val"}
    assert run.names == ["real", "fake"] and run.trained_on == ["blocky", "checkered"]
    fake = np.array(run.records.values("label", run.rows)) == "fake"
    np.testing.assert_array_equal(run.labels[run.rows], fake)


def test_the_test_is_on_its_held_out_fakes_beside_as_many_unseen_real_images(plain):
    run = plain
    test, seen = run.splits["test"], run.splits["seen"]
    rows = told(run, test.rows)
    assert rows.count(("real", "test")) == 16 and rows.count(("faint", "test")) == 16
    assert {source for source, _ in rows} == {"real", "faint"}
    assert [test.names[i] if i >= 0 else "real" for i in test.identities] == [source for source, _ in rows]
    assert test.unseen and test.left_out == 0 and not set(test.rows) & set(run.rows)
    rows = told(run, seen.rows)
    assert {split for _, split in rows} == {"test"} and len(rows) == 64
    assert {source: sum(own == source for own, _ in rows) for source in SOURCES} == {
        "real": 32, "checkered": 16, "blocky": 16, "faint": 0}


def test_without_a_held_out_generator_the_test_holds_all_of_them(data):
    run = make(data)
    assert set(run.splits) == {"train", "validation", "test"} and not run.splits["test"].unseen
    assert {source for source, _ in told(run, run.splits["test"].rows)} == set(SOURCES)
    assert evaluated(run)["unseen_source"] == 0.0


def test_as_many_of_both_kinds_are_judged_up_to_a_number(data):
    run = make(data, held_out="faint", data={"test_images": 20})
    for name in ("test", "seen"):
        split = run.splits[name]
        assert len(split.rows) == 20 and (split.identities < 0).sum() == 10
    assert run.splits["test"].left_out == 48 + 16 - 20, "48 real and the 16 held-out fakes"
    assert run.splits["seen"].left_out == 48 + 32 - 20 and run.splits["train"].left_out == 0
    few = run.splits["validation"]
    assert len(few.rows) == 20 and (few.identities < 0).sum() == 10
    again = make(data, held_out="faint", data={"test_images": 20})
    np.testing.assert_array_equal(run.splits["test"].rows, again.splits["test"].rows)


def test_labels_keeps_so_many_images_a_kind(data):
    run = make(data, held_out="faint", labels=10)
    assert np.bincount(run.labels[run.rows]).tolist() == [10, 10]


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory):
    """Your own folders: no split, no source, films of four frames."""
    place = tmp_path_factory.mktemp("unsplit") / "data"
    images = np.concatenate([reals(80), checkered(reals(60, seed=1))])
    columns = [{"label": "genuine" if row < 80 else "fake", "track": f"film {row // 4}"} for row in range(140)]
    write([Drawn(images, columns)], place)
    return str(place)


def own_folders(**changes):
    """The config for one's own folders, cut down as `small_detection` is."""
    config = folder_config.get_config()
    small = small_detection()
    config.update({key: small[key] for key in ("steps", "batch", "checkpoint_every", "size", "backbone", "code",
                                               "schedule", "robustness", "follow_every")})
    return changed(config, changes)


def test_own_folders_need_neither_splits_nor_sources(unsplit):
    run = Run(own_folders(data={"validation": 0.3}), unsplit, STRATEGY)
    tracks = run.records.column("track")
    parts = [run.rows, run.splits["validation"].rows, np.flatnonzero(run.labels < 0)]
    assert not set(tracks[parts[0]]) & set(tracks[parts[2]]), "a film lies on one side"
    assert 0.45 < len(parts[0]) / 140 < 0.8 and len(parts[1]) and len(run.splits["test"].rows)
    assert run.names == ["real", "fake"], "whatever the real ones are called"
    assert len(batch_of(run)["label"]) == 16
    assert "found_fake" in evaluated(run)


# ---- training

def test_both_phases_lower_their_loss_and_the_pairs_teach_no_classifier(data):
    run = make(data, held_out="faint")
    app, loop, batch = run.app, run.loop(None), batch_of(run)
    assert [(stage["name"], stage["steps"]) for stage in app.stages()] == [("pairs", 4), ("classifier", 4)]
    assert sorted(batch["label"].numpy().tolist()) == [0] * 8 + [1] * 8, "half real, half fake"
    for phase, moved in (("pairs", {"trunk"}), ("classifier", {"trunk", "classifier"})):
        before = {name: values(getattr(app.network, name)) for name in ("trunk", "classifier")}
        first = play(run, loop, batch, phase)[f"{phase}/loss"]
        last = play(run, loop, batch, phase, 15)[f"{phase}/loss"]
        assert float(last) < 0.5 * float(first), phase
        for name in before:
            assert same(values(getattr(app.network, name)), before[name]) == (name not in moved), (phase, name)


def test_pairs_are_of_codes_and_say_which_still_count(plain):
    app, run = plain.app, plain
    terms, _ = app.losses("pairs", batch_of(run), SEED, 0)
    assert set(terms) == {"pairs", "active"} and app.weights("pairs", 0) == {"pairs": 1.0} and app.across()
    np.testing.assert_array_equal(terms["active"], np.float32(terms["pairs"].numpy() > 0))
    codes = app.code(batch_of(run)["image"]).numpy()
    assert codes.shape == (16, 8) and codes.min() > 0
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-5)


def test_without_pairs_the_classifier_has_all_steps(data):
    run = make(data, loss="")
    assert [(stage["name"], stage["steps"]) for stage in run.app.stages()] == [("classifier", 8)]
    assert not run.app.across()
    play(run, run.loop(None), batch_of(run), "classifier")


@pytest.mark.parametrize("head, own", [("", {"classifier": "adam(rate=1e-2)"}), ("cosface()", {})])
def test_freeze_leaves_all_below_the_classifier_as_it_is(data, head, own):
    run = make(data, freeze=True, head=head, optimizers=own)
    app, loop, batch = run.app, run.loop(None), batch_of(run)
    assert set(app.variables("classifier", "classifier")) == {"classifier" if own else "network"}
    play(run, loop, batch, "pairs")
    below = [v for part in (app.network.backbone, app.network.project) for v in part.variables]
    before, classifier = values(below), values(app.network.classifier)
    play(run, loop, batch, "classifier", 3)
    assert same(values(below), before), "moving averages too"
    assert not any(same([one], [two]) for one, two in zip(values(app.network.classifier), classifier))


def test_a_classifier_may_have_a_rate_of_its_own(data):
    run = make(data, optimizers={"classifier": "sgd(rate=1e-30)"})
    app, loop, batch = run.app, run.loop(None), batch_of(run)
    trunk, classifier = values(app.network.trunk), values(app.network.classifier)
    play(run, loop, batch, "classifier")
    for one, two in zip(values(app.network.classifier), classifier):
        np.testing.assert_allclose(one, two, atol=1e-20)
    assert not same(values(app.network.trunk), trunk)


@pytest.mark.parametrize("changes", [
    {"head": "cosface()", "domain": "both"}, {"domain": "both"}, {"domain": "spectrum"},
    {"loss": "triplet(margin=0.8, mining='batch_hard', normalise=False)",
     "backbone": "cffn(stem_width=4, units=(1, 1, 1, 1), transitions=(4, 4, 4), growth=4, stem_stride=1)"}],
    ids=lambda changes: "-".join(changes.values())[:30])
def test_every_choice_takes_both_steps_scores_and_says_where(data, changes):
    run = make(data, **changes)
    loop, batch = run.loop(None), batch_of(run)
    for phase in ("pairs", "classifier"):
        assert np.isfinite(float(play(run, loop, batch, phase)[f"{phase}/loss"]))
    score, places = run.app.score(batch["image"]).numpy(), run.app.fake_map(batch["image"]).numpy()
    assert score.shape == (16,) and np.isfinite(score).all()
    assert places.shape == (16, 16, 16) and 0 <= places.min() and places.max() <= 1
    assert run.app.maps_places == ("domain" not in changes), "of a spectrum a place is a frequency"


def test_without_places_there_is_no_map(data):
    run = make(data, held_out="faint", domain="both")
    found = evaluated(run)
    assert not any("patch" in name for name in found) and "maps" not in run.app.pictures(run.splits)
    assert list(run.app.signatures()) == ["detect"]


def test_a_few_steps_have_both_stages(data):
    for steps, share, wanted in ((2, 0.01, [1, 1]), (2, 0.99, [1, 1]), (100, 0.13, [13, 87]), (1, 0.5, [1])):
        stages = make(data, steps=steps, pair_share=share).app.stages()
        assert [stage["steps"] for stage in stages] == wanted and stages[-1]["name"] == "classifier"


# ---- figures

@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A finished run that has learnt the traces, watched, changed images judged, exported."""
    place = tmp_path_factory.mktemp("run")
    config = small_detection(steps=60, ema=0.9, held_out="faint", log_every=5, checkpoint_every=60, follow_every=20,
                             false_alarms=0.1, robustness=("blur(share=1.0, sigma=(0.7, 0.7))",))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        run_train(data, place / "run", config, str(place / "models"))
    (place / "said.txt").write_text(said.getvalue())
    return place


@pytest.fixture(scope="module")
def live(trained, data):
    """The run again, standing at its last step with its averaged weights."""
    run = Run(stored_config(trained / "run"), data, STRATEGY)
    loop = run.loop(str(trained / "run"))
    loop.restore(training=False)
    with loop.averaged():
        evaluated(run)
        yield run


@pytest.fixture(scope="module")
def found(trained):
    return json.loads((trained / "run" / "evaluation.json").read_text())


def test_the_losses_fall_in_both_stages(trained):
    rows = WriteHistory.read(trained / "run")
    for phase in ("pairs", "classifier"):
        losses = [row[f"{phase}/loss"] for row in rows if f"{phase}/loss" in row]
        assert losses[-1] < 0.3 * losses[0] and len(losses) > 5, phase
        assert {row["step"] > 30 for row in rows if f"{phase}/loss" in row} == {phase == "classifier"}


def test_figures_stand_beside_a_floor(found):
    names = ("auc", "f", "precision", "recall", "f_real", "precision_real", "recall_real", "accuracy")
    for name in names:
        for key in (name, f"{name}_seen", f"floor_{name}", f"floor_{name}_seen"):
            assert 0 <= found[key] <= 1, key
    for name in ("precision_at_threshold", "recall_at_threshold", "f_at_threshold", "apcer", "bpcer", "acer",
                 "found_checkered", "found_blocky", "found_faint", "auc_blur", "auc_seen_blur", "patch_mass",
                 "patch_mass_control", "floor_patch_mass", "probe_file_size", "probe_mean_colour", "probe_spectrum",
                 "probe_thumbnail", "probe_height_and_width"):
        assert 0 <= found[name] <= 1, name
    assert found["floor"] == "8 x 8 thumbnail" and found["images"] == 32 and found["step"] == 60
    assert found["left_out"] == 0 and found["threshold_reals"] == 28 and found["false_alarms"] == 0.1
    assert "spectrum" in found["shortcuts"].split(", ") and "height and width" not in found["shortcuts"]
    assert found["unseen_source"] == 1.0 and found["resized"] == 0.0 and "auc_track_mean" not in found
    assert found["auc"] > 0.95 and found["auc"] > found["floor_auc"] - 0.05, "such traces are learnt in 60 steps"


def test_figures_are_those_of_the_scores(live, found):
    test, seen = live.splits["test"], live.splits["seen"]
    scores, fake = live.app.score(test.load()).numpy(), test.identities >= 0
    called = scores >= 0
    assert found["precision"] == pytest.approx(fake[called].mean(), abs=0.07)
    assert found["recall"] == pytest.approx(called[fake].mean(), abs=0.07) == found["found_faint"]
    assert found["recall_real"] == pytest.approx((~called[~fake]).mean(), abs=0.07)
    pairs = (scores[fake][:, None] > scores[~fake]).mean()
    assert found["auc"] == pytest.approx(pairs, abs=1e-3)
    called = live.app.score(seen.load()).numpy() >= 0
    names = np.array([seen.names[i] for i in seen.identities])
    assert found["found_blocky"] == pytest.approx(called[names == "blocky"].mean(), abs=0.07)


def test_the_threshold_lets_so_many_real_validation_images_be_called_fake_and_no_more(live, found):
    validation = live.splits["validation"]
    scores, fake = live.app.score(validation.load()).numpy(), validation.identities >= 0
    threshold = live.app.calibration["threshold"]
    alarms = (scores[~fake] >= np.float32(threshold)).mean()
    assert alarms <= 0.1 and (scores[~fake] >= np.sort(scores[~fake])[-4]).mean() > 0.1
    assert ((scores[~fake] >= np.sort(scores[~fake])[-3]).mean()) > alarms - 1e-9, "and as many as may be"
    assert found["threshold"] == pytest.approx(threshold, abs=1e-3) and live.app.calibration["false_alarms"] == 0.1
    test = live.splits["test"]
    scores, real = live.app.score(test.load()).numpy(), test.identities < 0
    assert found["bpcer"] == pytest.approx((scores[real] >= threshold).mean(), abs=0.07)
    assert found["apcer"] == pytest.approx((scores[~real] < threshold).mean(), abs=0.07)


def test_the_map_lies_on_a_patch_of_a_fake_more_than_on_one_of_another_real_image(found):
    assert found["floor_patch_mass"] == 0.25, "a quarter of the area"
    assert found["patch_mass"] > found["patch_mass_control"] + 0.05
    assert found["patch_mass"] > found["floor_patch_mass"]


def test_pasted_patches_are_where_the_boxes_say(live):
    test = live.splits["test"]
    images = test.load()
    boxes, made = live.app._pasted(test, images)
    assert boxes.shape == (8, 4) and (boxes[:, 2:] == 8).all() and len({tuple(box) for box in boxes}) > 4
    real, fake = images[test.identities < 0], images[test.identities >= 0]
    for place, (y, x, height, width) in enumerate(boxes[:6]):
        outside = np.ones((16, 16), bool)
        outside[y:y + height, x:x + width] = False
        fits = [image for image in real if (image[outside] == made[""][place][outside]).all()]
        assert len(fits) == 1 and (fits[0][outside] == made["_control"][place][outside]).all()
        patch = made[""][place][y:y + height, x:x + width]
        assert any((patch == image[y:y + height, x:x + width]).all() for image in fake)
        patch = made["_control"][place][y:y + height, x:x + width]
        assert any((patch == image[y:y + height, x:x + width]).all() for image in real) and (
            patch != fits[0][y:y + height, x:x + width]).any()


def test_the_held_out_generator_is_watched_while_training(trained):
    rows = [row for row in WriteHistory.read(trained / "run") if "follow/auc" in row]
    assert [row["step"] for row in rows] == [1, 20, 40, 60]
    keys = {"auc", "f", "precision", "recall", "found_faint", "distance_real_real", "distance_fake_fake",
            "distance_real_fake"}
    assert all(keys == {name[7:] for name in row if name.startswith("follow/")} for row in rows)
    assert rows[-1]["follow/distance_real_fake"] > 2 * rows[-1]["follow/distance_real_real"]


def test_pictures_and_page(trained, live):
    names = sorted(path.stem for path in (trained / "run" / "pictures").iterdir())
    assert names == ["distances", "followed", "maps", "mistakes", "roc", "scores"]
    page = (trained / "run" / "report.html").read_text()
    assert "Nothing was chosen by them." in page and "blue frame" not in page and page.count("data:image/png") == 6
    vectors, labels, images = live.app.projection(live.splits)
    assert vectors.shape == (32, 8) and set(labels) == {"real", "faint"} and images.shape == (32, 16, 16, 1)
    scores, fake = live.app.scored(live.splits)["fakes"]
    assert 0 <= scores.min() and scores.max() <= 1 and detection.auc(scores, fake) == pytest.approx(
        detection.auc(live.app._found["scores"], fake), abs=1e-3)


def test_codes_of_pairs_are_measured_kind_by_kind():
    codes = np.array([[0.5, 0], [1, 0], [0, 1], [0, 1]])       # their length does not count
    found = fake_image_detection._pair_distances(codes, np.array([False, False, True, True]))
    assert found["real-real"].tolist() == found["fake-fake"].tolist() == [0.0]
    np.testing.assert_allclose(found["real-fake"], [2 ** 0.5] * 4)
    one = fake_image_detection._distances(codes[1:3], np.array([False, True]))
    assert set(one) == {"distance_real_fake"}, "no pair of one kind, no figure"
    many = np.concatenate([np.tile([1.0, 0], (900, 1)), np.tile([0.0, 1], (900, 1))])
    found = fake_image_detection._pair_distances(many, np.arange(1800) >= 900)
    assert {name: len(values) for name, values in found.items()} == {
        "real-real": 300 * 299 // 2, "fake-fake": 300 * 299 // 2, "real-fake": 300 * 300}, "as many of both kinds"


def test_the_best_checkpoint_may_be_chosen_by_seen_generators(data):
    run = make(data, held_out="faint", evaluate_every=4, best="auc")
    brief = run.app.evaluate({"test": run.splits["validation"]})
    assert set(brief) == {"auc", "f", "precision", "recall"}
    loop = run.loop(None)
    assert set(loop.judge()) == set(brief)


def test_tracks_are_judged_as_one(tracked):
    run = make(tracked, held_out="faint")
    found, test = evaluated(run), run.splits["test"]
    scores, tracks = run.app.score(test.load()).numpy(), test.column("track")
    firsts = {track: np.flatnonzero(tracks == track) for track in np.unique(tracks)}
    assert len(firsts) < len(tracks)
    fake = np.array([test.identities[rows[0]] >= 0 for rows in firsts.values()])
    for name, one in (("mean", np.mean), ("worst", np.max)):
        joined = np.array([one(scores[rows]) for rows in firsts.values()])
        wanted = (joined[fake][:, None] > joined[~fake]).mean() + (joined[fake][:, None] == joined[~fake]).mean() / 2
        assert found[f"auc_track_{name}"] == pytest.approx(wanted, abs=1e-6)


def test_a_name_that_a_real_and_a_fake_film_share_is_two_tracks(tmp_path):
    images = np.concatenate([reals(48), checkered(reals(48, seed=1))])
    columns = [{"label": "real" if row < 48 else "fake", "track": f"film {row % 48 // 4}",
                "split": ("train", "val", "test")[row % 48 // 4 % 3]} for row in range(96)]
    write([Drawn(images, columns)], tmp_path / "data")
    run = make(tmp_path / "data", data={"sampler": "balanced()"})
    found, test = evaluated(run), run.splits["test"]
    scores, fake = run.app.score(test.load()).numpy(), test.identities >= 0
    means = scores.reshape(-1, 4).mean(axis=1)
    truth = fake.reshape(-1, 4)
    assert (truth == truth[:, :1]).all() and truth[:, 0].sum() == len(truth) / 2 == 4
    assert found["auc_track_mean"] == pytest.approx(detection.auc(means, truth[:, 0]), abs=1e-6)


# ---- shortcuts

class Stored:
    """A source of encoded images with columns."""

    def __init__(self, parts):
        self.parts = parts
        self.description = {"source": "stored"}

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        for place, (image, kind, columns) in enumerate(self.parts):
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, kind)
            yield schema.Item(f"{place:03d}", stream.getvalue, columns, stamp="1")


def stored(folder, kinds, channels=None):
    """Real and fake images (blocky, checkered) of 16 pixels in the formats `kinds`, in three splits."""
    parts = []
    for label, source, kind, trace in (("real", "real", kinds[0], None), ("fake", "blocky", kinds[1], blocky),
                                       ("fake", "checkered", kinds[1], checkered)):
        images = reals(80 if trace is None else 40, seed=len(source))
        for place, image in enumerate(images if trace is None else trace(images)):
            split = ("train", "train", "val", "test")[place % 4]
            if channels:
                image = channels(image, place)
            parts.append((image, kind, {"label": label, "source": source, "split": split}))
    write([Stored(parts)], folder)
    return str(folder)


def test_the_probe_warns_where_the_kinds_differ_in_their_file_format(tmp_path):
    run = make(stored(tmp_path / "data", ("JPEG", "PNG")))
    said = run.app.probe(run.splits)
    warned = [sentence for sentence in said if sentence.startswith("warning: ")]
    assert any("the real images are stored as JPEG, the fakes as PNG: the detector will learn the file format; write "
               "both by --source=\"fakes(...)\"." in sentence for sentence in warned)
    assert any("file size alone tells real from fake in" in sentence for sentence in warned)
    shortcuts = evaluated(run)["shortcuts"].split(", ")
    assert "file format" in shortcuts and "file size" in shortcuts


def test_the_probe_says_what_each_fact_tells_and_warns_of_those_that_tell_much(plain):
    run = plain
    said = run.app.probe(run.splits)
    assert len([sentence for sentence in said if sentence.startswith("shortcut probe: ")]) == 5
    assert not any("stored as" in sentence or "warning: height" in sentence for sentence in said)
    assert any(sentence.startswith("warning: spectrum alone tells") for sentence in said), "a checkerboard does"
    found = evaluated(run)
    warned = [sentence.removeprefix("warning: ").partition(" alone")[0] for sentence in said if "warning" in sentence]
    assert ", ".join(warned) == found["shortcuts"]
    for sentence in said[:5]:
        name = sentence.removeprefix("shortcut probe: ").partition(" alone")[0].replace(" ", "_")
        assert f"{found[f'probe_{name}']:.1%}" in sentence


def test_the_training_begins_with_what_the_probe_found(trained):
    said = (trained / "said.txt").read_text()
    assert said.count("shortcut probe: ") == 5 and "warning: spectrum alone tells real from fake in" in said
    assert said.index("shortcut probe: ") < said.index("trained to step 60")


def test_images_that_are_stored_as_numbers_are_judged_too(tmp_path):
    random = np.random.default_rng(0)
    images = random.normal(size=(120, 16, 16, 5)).astype(np.float32)
    images[60:] += (np.indices((16, 16)).sum(axis=0) % 2 * 2.0 - 1)[..., None]
    columns = [{"label": "real" if row < 60 else "fake", "split": ("train", "train", "val", "test")[row % 4]}
               for row in range(120)]
    write([Drawn(images, columns)], tmp_path / "data")
    run = make(tmp_path / "data", data={"sampler": "balanced()"})
    assert run.app.probe(run.splits) == [], "they have no file format, nor a size"
    found = evaluated(run)
    assert 0 <= found["auc"] <= 1 and not any(name.startswith("probe") for name in found)
    run.app.about({**found, "minutes_wall": 1.0})


# ---- starting from another run

def test_a_run_that_was_trained_on_the_held_out_generator_is_told_of_and_counts_as_seen(data, tmp_path, capsys):
    before = make(data)     # trained on all generators
    claim(str(tmp_path / "all"), before)
    capsys.readouterr()
    run = make(data, held_out="faint", init=str(tmp_path / "all"))
    told = capsys.readouterr().err
    assert not run.splits["test"].unseen
    assert "warning: 1 of the 1 identities of the test split were trained on by" in told
    found = evaluated(run)
    assert found["unseen_source"] == 0.0, "whatever the config holds out"
    assert "nothing is known about others" in run.app.about(found)


def test_a_run_that_was_not_trained_on_it_is_fine(data, tmp_path, capsys):
    claim(str(tmp_path / "without"), make(data, held_out="blocky"))
    capsys.readouterr()
    for name, unseen in (("blocky", True), ("faint", False)):
        run = make(data, held_out=name, init=str(tmp_path / "without"))
        assert run.splits["test"].unseen == unseen, name
        assert ("of the test split" in capsys.readouterr().err) == (not unseen)


@pytest.mark.slow
def test_evaluate_repeats_the_figures(trained, data, found, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").unlink()
    run_evaluate(data, tmp_path / "run")
    after = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert set(found) == set(after)
    for key, value in found.items():
        if isinstance(value, float) and not key.startswith("minutes"):
            assert after[key] == pytest.approx(value, abs=1e-3), key


# ---- serving

@pytest.fixture(scope="module")
def version(trained):
    return trained / "models" / "fake_image_detection" / "1"


@pytest.fixture(scope="module")
def served(version):
    return tf.saved_model.load(str(version))


def png(image):
    return tf.io.encode_png(image).numpy()


def test_the_exported_detector_answers_as_the_live_network(live, served, version):
    test = live.splits["test"]
    encoded = tf.constant(live.records.images(test.rows[:30]))
    score, places = live.app.score(test.load(slice(0, 30))), live.app.fake_map(test.load(slice(0, 30)))
    found = served.signatures["detect"](image_bytes=encoded)
    np.testing.assert_allclose(found["score"], score, atol=1e-4)
    calibration = json.loads((version / "assets" / "calibration.json").read_text())
    np.testing.assert_array_equal(found["decision"], found["score"] >= np.float32(calibration["threshold"]))
    stored = json.loads((version / "assets" / "monitoring.json").read_text())["signatures"]["detect"]
    answers = served.signatures["detect"](image_bytes=tf.constant(live.records.images(test.rows)))
    assert len(test.rows) == stored["score"]["count"]
    assert stored["decision"]["share"] == pytest.approx(answers["decision"].numpy().mean(), abs=1.5 / len(test.rows))
    middle = np.sort(answers["score"])[(len(test.rows) - 1) // 2]
    assert stored["score"]["quantiles"]["0.5"] == pytest.approx(middle, abs=1e-3)
    assert set(found["threshold"].numpy()) == {np.float32(calibration["threshold"])}
    wanted = 1 / (1 + np.exp(-calibration["scale"] * found["score"].numpy() - calibration["bias"]))
    np.testing.assert_allclose(found["probability"], wanted, atol=1e-4)
    maps = served.signatures["fake_map"](image_bytes=encoded)["map"]
    assert maps.shape == (30, 16, 16)
    np.testing.assert_allclose(maps, places, atol=1e-4)
    numbers = np.stack([tf.io.decode_png(data).numpy() for data in encoded.numpy()]).astype(np.float32)
    np.testing.assert_allclose(served.signatures["detect_tensor"](image_tensor=numbers)["score"], score, atol=1e-4)
    examples = tf.constant([example_of(data) for data in encoded.numpy()])
    told = served.signatures["detect_examples"](inputs=examples)
    np.testing.assert_allclose(told["scores"][:, 1], found["probability"], atol=1e-6)
    assert told["classes"].numpy().tolist() == [[b"real", b"fake"]] * 30
    assert {"detect", "detect_tensor", "detect_examples", "fake_map", "fake_map_tensor", "serving_default"} == set(
        served.signatures)


def test_the_exported_detector_refuses_what_it_would_have_to_resample(served):
    good = checkered(reals(1))[0][..., None]
    assert served.signatures["detect"](image_bytes=[png(good)])["score"].shape == (1,)
    for image, said in ((good.repeat(2, axis=0), "an image of 32 x 16 pixels .* this model tells by single pixels and"),
                        (good[:-1], "an image of 15 x 16 pixels"),
                        (good.repeat(3, axis=2), r"an image of 3 channels cannot be judged: .* of 1 \(grey\)")):
        for name in ("detect", "fake_map"):
            with pytest.raises(tf.errors.InvalidArgumentError, match=said):
                served.signatures[name](image_bytes=tf.constant([png(good), png(image)]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="an image of 16 x 18 pixels"):
        served.signatures["detect_tensor"](image_tensor=tf.zeros([1, 16, 18, 1]))


def test_the_card_says_how_it_was_judged(version, found):
    card = " ".join((version / "assets" / "model_card.md").read_text().split())
    for words in ("images of 2 classes from", "| metric | this model | 8 x 8 thumbnail |",
                  f"Judged on {found['images']:.0f} images, half of them fake: fakes of `faint`, of which none was "
                  "trained on, and real images never trained on.",
                  "lets 10% of the real validation images be called fake", f"calls {found['bpcer']:.1%} of the real",
                  "The answer is evidence, not proof.", "code of 8; pairs `contrastive(margin=0.5",
                  "Shortcut probe, share of training images that one fact alone tells: file size",
                  "Real and fake images can be told apart by", "The threshold rests on 28 real images, few for"):
        assert words in card, words
    assert "Judged on identities" not in card and "No generator was kept unseen" not in card


def test_before_it_is_judged_nothing_can_be_exported(data):
    with pytest.raises(ValueError, match="the threshold is not fitted yet; evaluate before exporting"):
        make(data).app.signatures()


def channels_of(image, place):
    """Photos of which some are grey, some have alpha."""
    colour = np.stack([image, image // 2, 255 - image], axis=2)
    return (colour, image, np.dstack([colour, np.full_like(image, 255)]))[place % 3]


@pytest.mark.slow
def test_a_detector_takes_what_it_was_trained_on_grey_and_alpha_too(tmp_path):
    place = stored(tmp_path / "data", ("PNG", "PNG"), channels_of)
    run_train(place, tmp_path / "run", small_detection(steps=2, checkpoint_every=2, loss="", pair_share=0.1),
              str(tmp_path / "models"))
    loaded = tf.saved_model.load(str(tmp_path / "models" / "fake_image_detection" / "1"))
    image = reals(1)[0]
    for number in range(3):
        assert loaded.signatures["detect"](image_bytes=[png(np.atleast_3d(channels_of(image, number)))])[
            "score"].shape == (1,)


@pytest.mark.slow
def test_a_detector_of_resized_images_takes_any_size_and_says_what_that_costs(tmp_path):
    place = write_fakes(tmp_path / "data", count=32)
    run_train(place, tmp_path / "run", small_detection(size=12, steps=2, checkpoint_every=2, loss=""),
              str(tmp_path / "models"))
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["resized"] == 1.0
    version = tmp_path / "models" / "fake_image_detection" / "1"
    assert "The images are resized for the network, which blurs the traces" in (
        version / "assets" / "model_card.md").read_text()
    loaded = tf.saved_model.load(str(version))
    for size in (12, 16, 40):
        image = png(np.zeros((size, size, 1), np.uint8))
        assert loaded.signatures["detect"](image_bytes=[image])["score"].shape == (1,)


@pytest.mark.slow
def test_a_restart_comes_to_the_same_weights(data, tmp_path):
    config = small_detection(held_out="faint", steps=8, checkpoint_every=3, keep=5)
    run_train(data, tmp_path / "whole", config)
    (tmp_path / "again").mkdir()
    for name in ("config.json", "data.json", "images.json", "checkpoints"):
        copy = shutil.copytree if name == "checkpoints" else shutil.copy
        copy(tmp_path / "whole" / name, tmp_path / "again" / name)
    for path in (tmp_path / "again" / "checkpoints").glob("ckpt-[68]*"):
        path.unlink()
    run_train(data, tmp_path / "again", config)
    whole, again, before = (tf.train.load_checkpoint(str(tmp_path / name)) for name in (
        "whole/checkpoints/ckpt-8", "again/checkpoints/ckpt-8", "whole/checkpoints/ckpt-3"))
    moved = 0
    for name in whole.get_variable_to_shape_map():
        value = whole.get_tensor(name)
        if name.startswith(("app", "averages")):
            np.testing.assert_allclose(again.get_tensor(name), value, rtol=0, atol=1e-4, err_msg=name)
            moved += np.abs(value - before.get_tensor(name)).max() > 1e-3
    assert moved > 20


# ---- refusals

@pytest.mark.parametrize("changes, message", [
    ({"held_out": "fainted"}, "`held_out` is 'fainted' but the fakes in .* are of blocky, checkered, faint; name one"),
    ({"held_out": "real"}, "`held_out` is 'real' but the fakes"),
    ({"pair_share": 0.0}, r"`pair_share` is 0.0 but must lie in \(0, 1\); use 0.33, or loss=\"\" for none"),
    ({"pair_share": 1.0}, "`pair_share` is 1.0 but"), ({"pair_share": float("nan")}, "`pair_share` is nan but"),
    ({"freeze": True, "loss": ""}, "`freeze` is True but `loss` is empty: nothing would teach what is frozen"),
    ({"false_alarms": 0.0}, r"`false_alarms` is 0.0 but must lie in \(0, 1\); use 0.01"),
    ({"false_alarms": 1.0}, "`false_alarms` is 1.0 but"),
    ({"code": 1}, "`code` is 1 but must be at least 2"), ({"domain": "pixel"}, "`domain` is 'pixel' but must be one"),
    ({"head": "cosface()", "pooling": "flatten()"}, "`head` is 'cosface.*' .* the evidence of a place cannot be told"),
    ({"robustness": ("blur(sigma=(1.0, 1.0))", "blur()")}, "`robustness` is .* names one augmentation twice, whose"),
    ({"robustness": ("blurr()",)}, "`blurr` is not a method of tfrecords/augment; did you mean blur"),
    ({"size": 0}, "`size` is 0 but must be pixels"), ({"size": (16, -1)}, r"`size` is \(16, -1\) but"),
    ({"data": {"validation_split": "vla"}}, "`data.validation_split` is 'vla' but the data have the splits"),
    ({"data": {"sampler": "leave_one_source_out(out='nobody')"}}, "`out` is 'nobody' but the sources of the data are"),
])
def test_mistakes_are_refused_before_training_in_one_sentence(data, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        make(data, **changes).check()
    assert "\n" not in str(raised.value)


def of(folder, *kinds):
    """16 plain images of each (columns) in turn, three quarters of them to train."""
    images = np.random.default_rng(0).integers(0, 255, (16 * len(kinds), 16, 16)).astype(np.uint8)
    columns = [{"split": ("train", "train", "val", "test")[place % 4], **kind} for kind in kinds for place in range(16)]
    write([Drawn(images, columns)], folder)
    return str(folder)


REAL, FAKE = {"label": "real", "source": "real"}, {"label": "fake", "source": "a"}


@pytest.mark.parametrize("kinds, message", [
    ((FAKE, {**FAKE, "source": "b"}), "have the labels fake but a detector needs `fake` and at least one other"),
    ((REAL, {**REAL, "label": "genuine"}), "have the labels genuine, real but a detector needs `fake`"),
    ((REAL, FAKE, {"source": "a"}), "16 images in .* have no label but each must be known to be real or fake"),
    ((REAL, {**FAKE, "source": "real"}), "the source 'real' has real and fake images but must be on one side"),
    ((REAL, FAKE, {"label": "fake"}), "16 fakes in .* have no source; name the generator of each, or leave the column"),
    ((REAL, {**FAKE, "split": "train"}), "no fake image to choose the threshold by but both real and fake ones are"),
    (({**REAL, "split": "train"}, FAKE), "no real image to choose the threshold by"),
    (({**REAL, "split": "val"}, FAKE), "no real image to train on"),
    ((REAL, {**FAKE, "split": "test"}), "no fake image to train on"),
    ((REAL, {**FAKE, "split": "train"}, {**FAKE, "split": "val", "source": "b"}), "no fake image to judge by"),
])
def test_data_that_cannot_be_learnt_from_or_judged_are_refused(kinds, message, tmp_path):
    with pytest.raises(ValueError, match=message) as raised:
        make(of(tmp_path / "data", *kinds))
    assert "\n" not in str(raised.value)


def test_a_held_out_generator_without_held_out_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no fake image to judge by but both real and fake ones are needed"):
        make(of(tmp_path / "data", REAL, FAKE, {**FAKE, "source": "b", "split": "train"}), held_out="b")


def test_holding_out_the_only_generator_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no fake image to train on but both real and fake ones are needed"):
        make(of(tmp_path / "data", REAL, FAKE), held_out="a")


def test_data_without_any_validation_are_refused(tmp_path):
    place = of(tmp_path / "data", REAL, FAKE)
    with pytest.raises(ValueError, match="no real image to choose the threshold by .* check `data.holdout`, `data.val"):
        make(place, data={"validation_split": "", "validation": 0.0})


def test_data_without_labels_are_refused(tmp_path):
    images = np.zeros((8, 16, 16), np.uint8)
    write([Drawn(images, [{"source": "a", "split": "train"}] * 8)], tmp_path / "data")
    with pytest.raises(ValueError, match="the app `fake_image_detection` needs the column `label` but the data in"):
        make(tmp_path / "data")


def test_real_images_need_no_source_and_may_have_several(tmp_path):
    run = make(of(tmp_path / "data", {"label": "real"}, {**REAL, "source": "camera"}, FAKE), data={
        "sampler": "balanced()"})
    assert (run.splits["train"].identities < 0).sum() == 16 and (run.labels == 1).sum() == 8
