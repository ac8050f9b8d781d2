"""Small-sample diagnosis on digits: which images, stages, answers, figures, what it leaves and what it serves."""

import csv
import importlib
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import diagnosis_report
from keras_apps.apps import small_sample_diagnosis
from keras_apps.apps.small_sample_diagnosis import shown_names
from keras_apps.metrics import diagnosis
from keras_apps.run import Run, claim
from tests.keras_apps.diagnosed import small_diagnosis, write_patients
from tests.keras_apps.runs import run_evaluate, run_train
from tfrecords.read import Records

STRATEGY = tf.distribute.get_strategy()
KEYS = "auc", "accuracy", "precision", "recall", "specificity", "f", "ece"
EVERYTHING = {"steps": 12, "view_share": 0.4, "probe": True, "answer": "both", "members": 2, "pair_share": 0.0,
              "explainer": "integrated_gradients(steps=2)"}


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_sample_diagnosis, "DRAWS", 20)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_patients(tmp_path_factory.mktemp("patients") / "data", unlabelled=30)


def make(folder, **changes):
    return Run(small_diagnosis(**changes), str(folder), STRATEGY)


@pytest.fixture(scope="module")
def plain(data):
    """A run whose weights no test moves."""
    return make(data)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A finished and exported run with all stages but those of a hierarchy of classes."""
    folder = tmp_path_factory.mktemp("whole")
    run_train(data, folder / "run", small_diagnosis(**EVERYTHING), folder / "models")
    return folder


def result_of(folder):
    return json.loads((folder / "run" / "evaluation.json").read_text())


# ---- which images

def test_no_patient_is_on_two_sides_and_images_without_a_label_are_seen_by_the_views_alone(plain):
    run = plain
    cases = {name: set(split.column("case").tolist()) - {-1} for name, split in run.splits.items()}
    assert not cases["train"] & cases["test"] and not cases["train"] & cases["validation"]
    assert not cases["validation"] & cases["test"] and len(run.splits["unlabelled"].rows) == 30
    assert set(run.rows.tolist()) == set(run.splits["train"].rows.tolist())
    assert abs(len(run.splits["test"].rows) - 72) <= 3 and abs(len(run.splits["validation"].rows) - 48) <= 3
    stage = {"unlabelled": True}
    assert set(run.rows_of(stage)) == set(run.rows) | set(run.splits["unlabelled"].rows)


def test_the_seed_draws_the_split_and_the_labelled_images(data, plain):
    other, few, uneven = make(data, seed=1), make(data, labels=10), make(data, class_labels=(5, 30))
    assert np.bincount(uneven.labels[uneven.rows]).tolist() == [5, 30]
    assert set(other.splits["test"].rows) != set(plain.splits["test"].rows)
    assert set(few.splits["test"].rows) == set(plain.splits["test"].rows)
    assert np.bincount(few.labels[few.rows]).tolist() == [10, 10]
    assert len(few.splits["unlabelled"].rows) == 30 + len(plain.rows) - 20
    assert not set(few.splits["unlabelled"].rows) & set(few.rows)


def test_named_splits_are_taken_and_a_patient_on_two_sides_is_refused(tmp_path):
    folder = write_patients(tmp_path / "named", splits=True, most=60)
    run = make(folder)
    names = run.records.values("split", run.splits["test"].rows)
    assert set(names) == {"test"} and set(run.records.values("split", run.rows)) == {"train"}
    folder = write_patients(tmp_path / "leaking", splits=True, most=60, images_a_case=3)
    records = make(folder).records
    records._index["case"] = np.where(records.column("case") == 3, 0, records.column("case"))
    images = make(folder).images
    images.records = records
    with pytest.raises(ValueError, match="cases have images both in train and in"):
        small_sample_diagnosis.SmallSampleDiagnosisApp.select(images, small_diagnosis())


@pytest.mark.parametrize("changes, said", [
    ({"classes": ("d3",)}, "have the labels 'd8'"),
    ({"classes": ("d3", "d8", "d9")}, "of 'd9' [(]0[)] there are fewer than 5"),
    ({"positive": "nine"}, "`positive` is 'nine' but the classes are three, eight"),
    ({"deal": (0, 0.5, 0.6)}, "`deal` is"), ({"members": 0}, "`members` is 0"), ({"alpha": 1.5}, "`alpha` is 1.5"),
    ({"class_labels": (5,)}, "`class_labels` is .5,."),
    ({"alpha": 0}, "the classifier would learn nothing"), ({"probe": True}, "its encoder would know nothing"),
    ({"answer": "probe"}, "`answer` is 'probe'"), ({"head_share": 0.5}, "no encoder to keep still"),
    ({"view_share": 1.0}, "nothing would learn from the labels"), ({"pair_share": 1.0}, "`pair_share` is 1.0"),
    ({"coarse": (2,), "explainer": ""}, "`coarse` has 2 groups but of 2 classes"), ({"tta": 3}, "`tta` 3"),
    ({"head": "arcface()", "classify": "focal()"}, "has a loss of its own"),
    ({"view_share": 0.6, "glico_share": 0.5}, "together they must be at most 1"),
    ({"explainer": "cam()", "neck": "multi_level(levels=2, dimension=8)"}, "`explainer` is 'cam..' but reads the last"),
    ({"view_share": 0.5, "probe": True, "answer": "validation"}, "`explainer` is 'cam..' but reads the last"),
    ({"view_share": 1.0, "probe": True, "answer": "network"}, "no step is left for the network"),
    ({"class_labels": (5, 500)}, "asks for 500 training images of class 'd8' but there are"),
    ({"class_labels": (1, 5)}, "class 'd3' has 1 images in .* to train on but needs at least 2"),
    ({"data": {"train_split": "train", "test_split": "train"}}, "the data have the splits none")])
def test_what_cannot_be_trained_is_refused_in_one_sentence(data, changes, said):
    with pytest.raises(ValueError, match=said):
        make(data, **changes)


# ---- training

def test_stages_in_order_with_their_share_of_the_steps(data):
    run = make(data, steps=120, view_share=0.5, probe=True, explainer="")
    assert [(stage["name"], stage["steps"]) for stage in run.app.stages()] == [("views", 60), ("pairs", 10),
                                                                               ("joint", 50)]
    assert [stage["name"] for stage in make(data, loss="").app.stages()] == ["joint"]
    assert run.app.weights("pairs", 0) == {"pairs": 1.0}
    assert run.app.weights("joint", 0) == {"classifier": 0.4, "pairs": pytest.approx(0.6)}
    assert make(data, loss="").app.weights("joint", 0) == {"classifier": 1.0}


def test_a_stage_chooses_its_rows_sampler_views_and_augmentation(data):
    run = make(data, steps=100, view_share=0.3, glico_share=0.2, data={"augment": ("flip()",)})
    found = {stage["name"]: run.batches(stage) for stage in run.app.stages()}
    assert list(found) == ["views", "latent", "pairs", "joint"]
    assert [len(batches.augment) for batches in found.values()] == [0, 0, 1, 1]
    assert [type(batches.sampler).__name__ for batches in found.values()] == ["ShuffleSampler"] * 2 + [
        "PairsSampler"] * 2
    assert [batches.views is not None for batches in found.values()] == [True, False, False, False]
    assert [len(batches.table.rows) - len(run.rows) for batches in found.values()] == [30, 0, 0, 0]
    first = next(iter(found["views"].dataset(0)))
    assert first["views"][0].shape == (16, 2, 8, 8, 1)


def test_the_classifier_sees_the_first_of_each_pair(plain):
    run = plain
    stage = next(stage for stage in run.app.stages() if stage["name"] == "joint")
    batch = next(iter(run.batches(stage).dataset(0)))
    terms, _ = run.app.losses("joint", batch, tf.constant([0, 0]), 0)
    assert terms["pairs"].shape == terms["classifier"].shape == (8,)
    member = run.app.members[0]
    codes = member.codes(batch["image"], True, None)[1]
    wanted = member.head.loss(codes[::2], batch["label"][::2], 0)
    np.testing.assert_allclose(terms["classifier"], wanted, rtol=1e-4)
    same = batch["label"][::2] == batch["label"][1::2]
    np.testing.assert_allclose(terms["pairs"], run.app.pair(codes[::2], codes[1::2], same), rtol=1e-4)
    assert 0 < np.mean(same) < 1


def test_a_frozen_encoder_stays_as_it_is(data, tmp_path):
    first = make(data, steps=4)
    claim(str(tmp_path / "first"), first)
    first.loop(str(tmp_path / "first")).run()
    config = small_diagnosis(init=str(tmp_path / "first"), head_share=0.99, steps=8, loss="", ema=0.0)
    run = Run(config, data, STRATEGY)
    loop = run.loop(None)
    member = run.app.members[0]
    before = [v.numpy() for v in member.network.variables], [v.numpy() for v in member.answering]
    stage = loop.stages[0]
    assert stage["name"] == "head"
    batch = next(iter(run.batches(stage).dataset(0)))
    loop.arithmetic.take(stage, lambda: batch)
    assert all((v.numpy() == old).all() for v, old in zip(member.network.variables, before[0]))
    assert any((v.numpy() != old).any() for v, old in zip(member.answering, before[1]))


def test_groups_of_confused_classes_are_found_and_speak(tmp_path):
    folder = write_patients(tmp_path / "many", kinds=(1, 3, 7, 8), most=40)
    config = small_diagnosis(coarse=(2, 2), steps=10, coarse_share=0.5, loss="", explainer="")
    run = Run(config, folder, STRATEGY)
    loop = run.loop(None)
    assert [stage["name"] for stage in loop.stages] == ["joint", "coarse"]
    loop.run()
    for part in run.app.members[0].coarse:
        assert sorted(np.unique(part.groups).tolist()) == [0, 1]
    images = run.splits["test"].load()[:4]
    member = run.app.members[0]
    fine = tf.nn.log_softmax(member.head.logits(member.codes(images, False, None)[1]))
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(member.logs(images)), axis=1), 1, atol=1e-5)
    assert np.abs(member.logs(images) - fine).max() > 1e-4
    found = run.app.evaluate(run.splits)
    assert 0 <= found["accuracy"] <= 1 and run.app.positive is None


@pytest.mark.parametrize("changes", [{"classify": "focal()"}, {"classify": "balanced_softmax()"},
                                     {"head": "final_bn()"}, {"head": "arcface()"},
                                     {"head": "hierarchy(parents={'d3': 'digit', 'd8': 'digit'})"}])
def test_heads_and_losses_of_the_folders_train(data, changes):
    run = make(data, steps=4, loss="", **changes)
    loop = run.loop(None)
    loop.run()
    logs = run.app.members[0].logs(run.splits["test"].load()[:3])
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(logs), axis=1), 1, atol=1e-4)


def test_labels_of_several_levels_are_learnt_and_leaves_are_answered_and_judged(tmp_path):
    folder = write_patients(tmp_path / "levels", kinds=(1, 3, 8), most=60)
    head = "hierarchy(parents={'d3': 'd1', 'd8': 'd1'})"        # d1 stands for "either"
    config = small_diagnosis(head=head, steps=40, loss="", optimizers={"network": "adam(rate=1e-2)"})
    run = Run(config, folder, STRATEGY)
    assert np.bincount(run.labels[run.rows]).tolist() == [30, 30, 30]
    assert {run.names[i] for i in run.splits["test"].identities} == {"d3", "d8"}
    run.loop(None).run()
    found = run.app.evaluate(run.splits)
    assert found["accuracy"] > 0.6 and found["temperature"] < 10 and found["nll"] < 0.8
    assert run.app._found["probabilities"][:, 0].max() < 1e-6


def test_a_probe_that_is_looked_at_on_the_way_is_fitted_anew_when_the_views_end(data):
    run = make(data, steps=4, view_share=0.5, pair_share=0.0, probe=True, explainer="", ema=0.0)
    loop = run.loop(None)
    member = run.app.members[0]
    run.app.evaluate({"test": run.splits["validation"]})
    early = member.frozen.trainable_variables[0].numpy()
    assert not member.probed.numpy()
    loop.run()
    assert member.probed.numpy() and np.abs(member.frozen.trainable_variables[0] - early).max() > 0
    late = member.probe_weights.numpy()
    run.app.evaluate(run.splits)
    np.testing.assert_array_equal(member.probe_weights, late)


def test_a_start_from_a_run_that_saw_images_held_out_here_is_refused(data, tmp_path):
    first = make(data, steps=1)
    claim(str(tmp_path / "first"), first)
    first.loop(str(tmp_path / "first")).run()
    make(data, init=str(tmp_path / "first"))
    with pytest.raises(ValueError, match="was trained on .* images of the (test|validation) split"):
        make(data, init=str(tmp_path / "first"), seed=1)


def test_a_folder_of_numbered_classes_keeps_their_numbers():
    for name in ("folder", "bccd"):
        module = importlib.import_module(f"keras_apps.configs.small_sample_diagnosis.{name}")
        assert shown_names(["0", "1"], module.get_config()) == ["0", "1"]


def test_the_loss_falls(data):
    run = make(data, steps=60, loss="", ema=0.0, schedule="constant()", optimizers={"network": "adam(rate=1e-2)"})
    loop = run.loop(None)
    step, batches = loop.arithmetic.function(loop.stages[0]), iter(run.batches(loop.stages[0]).dataset(0))
    logs = [float(step(batches)["joint/loss"]) for _ in range(60)]
    assert np.mean(logs[-5:]) < 0.5 * np.mean(logs[:3])


def logs(truth, sure, wrong=()):
    """Log probabilities [n,2] that give each image's class the probability `sure`, another the rest."""
    right = np.where(np.isin(np.arange(len(truth)), wrong), 1 - sure, sure)
    return np.log(np.where(truth[:, None] == np.arange(2), right[:, None], 1 - right[:, None]))[None].astype(np.float32)


@pytest.mark.parametrize("network, probe, wanted", [
    ((0.9, ()), (0.9, ()), "both"), ((0.95, ()), (0.6, range(25)), "network"),
    ((0.6, range(25)), (0.95, ()), "probe")])
def test_both_answer_unless_one_alone_is_clearly_better_on_validation_images(data, network, probe, wanted):
    run = make(data, view_share=0.4, probe=True, answer="validation", explainer="")
    truth = np.arange(60) % 2
    split = run.splits["test"].only(np.arange(60) % len(run.splits["test"].rows))
    split.identities = truth
    run.app._choose({"network": logs(truth, *network), "probe": logs(truth, *probe)}, split)
    assert run.app.choice == wanted
    run.app._choose(None, None)
    assert run.app.choice == "both"


def test_looks_are_shifts_and_mirror_images(data):
    images = np.random.default_rng(0).random([2, 8, 8, 1]).astype(np.float32)
    assert [len(make(data, tta=count).app.looks(images)) for count in (1, 2, 5, 10)] == [1, 2, 5, 10]
    found = [np.array(look) for look in make(data, tta=10).app.looks(images)]
    np.testing.assert_array_equal(found[1][:, 1:], images[:, :-1])
    np.testing.assert_array_equal(found[4][:, :, :-1], images[:, :, 1:])
    np.testing.assert_array_equal(found[5:], [look[:, :, ::-1] for look in found[:5]])


# ---- what a run leaves

def test_the_promised_figures_with_intervals_and_floors(whole):
    result = result_of(whole)
    for key in KEYS:
        assert 0 <= result[key] <= 1 and 0 <= result[f"floor_{key}"] <= 1
        assert result[f"{key}_low"] <= result[key] + 0.05 and result[key] <= result[f"{key}_high"] + 0.05
    for key in ("auc_cohort_hard", "accuracy_cohort_typical", "qwk", "accuracy_vote", "sensitivity_at_specificity_90",
                "ece_uncalibrated", "abstained", "aurc", "output_sensitivity_relative", "accuracy_validation",
                "f_train"):
        assert np.isfinite(result[key]), key
    assert result["temperature"] > 0 and result["answer"] == "both" and result["labelled"] + result["unlabelled"] > 100


def test_a_temperature_changes_no_answer(whole):
    assert result_of(whole)["temperature"] != 1
    assert result_of(whole)["accuracy"] == result_of(whole)["accuracy_uncalibrated"]
    rows = list(csv.DictReader((whole / "run" / "predictions.csv").open()))
    test = [row for row in rows if row["split"] == "test"]
    result = result_of(whole)
    assert np.mean([row["label"] == row["answer"] for row in test]) == pytest.approx(result["accuracy"])
    assert {row["case"].split("-")[0] for row in test} == {"3", "8"} and {row["cohort"] for row in test} == {
        "hard", "typical"}
    probabilities = np.array([[float(row["p_three"]), float(row["p_eight"])] for row in test])
    truth = np.array([row["label"] == "eight" for row in test]).astype(int)
    assert diagnosis.figures(probabilities, truth, 1)["auc"] == pytest.approx(result["auc"], abs=1e-3)
    assert np.mean([int(row["abstain"]) for row in test]) == pytest.approx(result["abstained"])


def test_evaluate_repeats_the_figures(whole, data):
    before = result_of(whole)
    run_evaluate(data, whole / "run")
    after = result_of(whole)
    assert {key: after[key] for key in KEYS} == {key: pytest.approx(before[key], abs=1e-6) for key in KEYS}


def test_the_page_says_what_a_reader_must_know(whole):
    page = (whole / "run" / "report.html").read_text()
    for words in ("Not for clinical use", "Split rule", "patient", "95 %", "temperature", "similar training images",
                  "three", "eight", "Cohorts of the held-out images"):
        assert words in page, words
    tags = {path.stem for path in (whole / "run" / "pictures").glob("*.png")}
    always = {"confusion", "reliability", "roc", "decision_curve", "risk_coverage"}
    assert always <= tags <= {*diagnosis_report.CAPTIONS}


def test_the_exported_ensemble_answers_as_the_run_did(whole, data):
    version, = (whole / "models" / "small_sample_diagnosis").iterdir()
    model = tf.saved_model.load(str(version))
    assert set(model.signatures) >= {"classify", "classify_examples", "explain", "embed", "serving_default"}
    calibration = json.loads((version / "assets" / "calibration.json").read_text())
    assert {"temperature", "least_confidence", "answer"} <= set(calibration)
    assert "Not for clinical use" in (version / "assets" / "model_card.md").read_text()
    rows = [row for row in csv.DictReader((whole / "run" / "predictions.csv").open()) if row["split"] == "test"][:6]
    records = Records(data)
    images = dict(zip(records.paths(np.arange(len(records))), records.images(np.arange(len(records)))))
    encoded = [images[row["path"]] for row in rows]
    found = model.signatures["classify"](image_bytes=tf.constant(encoded))
    wanted = np.array([[float(row["p_three"]), float(row["p_eight"])] for row in rows])
    np.testing.assert_allclose(found["probabilities"], wanted, atol=2e-4)
    assert [label.decode() for label in found["label"].numpy()] == [row["answer"] for row in rows]
    stored = json.loads((version / "assets" / "monitoring.json").read_text())["signatures"]
    assert {name: set(facts) for name, facts in stored.items()} == {
        "classify": {"confidence", "abstain"}, "embed": {"distance"}}
    assert found["classes"].numpy()[0].tolist() == [b"three", b"eight"]
    examples = records.serialized([records.paths(np.arange(len(records))).index(row["path"]) for row in rows])
    told = model.signatures["classify_examples"](inputs=tf.constant(examples.tolist()))
    np.testing.assert_allclose(told["scores"], found["probabilities"], atol=1e-6)
    np.testing.assert_array_equal(told["classes"], found["classes"])
    np.testing.assert_array_equal(found["abstain"], [bool(int(row["abstain"])) for row in rows])
    assert (found["uncertainty"].numpy() >= 0).all() and (found["disagreement"].numpy() >= 0).all()
    maps = model.signatures["explain"](image_bytes=tf.constant(encoded))["map"].numpy()
    assert maps.shape == (6, 8, 8) and 0 <= maps.min() and maps.max() <= 1
    vectors = model.signatures["embed"](image_bytes=tf.constant(encoded))["embedding"].numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


@pytest.mark.slow       # the loop's own tests stop and go on as well; here the probe and its frozen encoder do
def test_training_goes_on_after_a_stop_as_if_it_had_not(data, tmp_path):
    changes = {"steps": 12, "view_share": 0.5, "pair_share": 0.0, "probe": True, "checkpoint_every": 3, "explainer": ""}
    run = make(data, **changes)
    run.loop(str(tmp_path / "a")).run()
    half = make(data, **changes)
    loop = half.loop(str(tmp_path / "b"))
    loop.actions = [Stop(8)]
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    again = make(data, **changes)
    loop = again.loop(str(tmp_path / "b"))
    assert loop.restore() == 6
    loop.run()
    for one, other in zip(run.app.served(), again.app.served(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


class Stop:
    """Ends a run behind the loop's back."""

    def __init__(self, step):
        self.step = step

    def at(self, step):
        if step == self.step:
            raise KeyboardInterrupt

    def __call__(self, loop, logs):
        pass
