"""Verification end to end on real digits: learning, calibration, export, TensorBoard, restart, errors."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import charts, embedding_app
from keras_apps.actions import WriteHistory
from keras_apps.apps import verification
from keras_apps.apps.verification import VerificationApp
from keras_apps.config import explain
from keras_apps.configs.verification.digits import get_config
from keras_apps.embedding_app import pairs_of, require_pairs
from keras_apps.run import Run, stored_config
from keras_apps.strategy import make_strategy
from tests.keras_apps.runs import run_evaluate, run_train, small_config, write_data
from tfrecords.sources.digits import DigitsSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).parents[3]
SMALL = ["--config.steps=30", "--config.checkpoint_every=10", "--config.log_every=10",
         "--config.backbone=small_cnn(widths=(8, 16, 16))", "--config.schedule=constant()"]


def digits(**changes):
    """The config as SMALL cuts it down."""
    config = get_config()
    config.update({"steps": 30, "checkpoint_every": 10, "log_every": 10, "backbone": "small_cnn(widths=(8, 16, 16))",
                   "schedule": "constant()", **changes})
    return config


def train(data, workdir, *words):
    """Runs the command; it exports only where `words` say so."""
    return subprocess.run(command(data, workdir, *words), cwd=ROOT, capture_output=True, text=True)


def command(data, workdir, *words):
    return [sys.executable, "-m", "keras_apps.train", "--config=keras_apps/configs/verification/digits.py",
            f"--data={data}", f"--workdir={workdir}", "--models=", *SMALL, *words]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verification") / "digits"
    write([DigitsSource()], folder, shards=3)
    return folder


@pytest.fixture(scope="module")
def trained(data):
    workdir, models = data.parent / "run", data.parent / "models"
    done = train(data, workdir, f"--models={models}")
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir, models, done


def test_evaluation_holds_the_promised_keys_and_honest_floors(trained):
    workdir, _, done = trained
    found = json.loads((workdir / "evaluation.json").read_text())
    for key in ("auc", "eer", "tar_at_far_1e-2", "rank1", "map"):
        assert 0 <= found[key] <= 1 and 0 <= found[f"floor_{key}"] <= 1
        assert key in done.stdout
    assert found["floor_auc"] == pytest.approx(0.88, abs=0.02), "pixels of digits 5-9, whatever was trained"
    assert found["identities"] == 5 and found["seed"] == 0 and found["step"] == 30
    assert found["minutes"] > 0 and found["minutes_wall"] > 0 and "commit" in found


def test_the_loss_falls_on_real_images(data, tmp_path):
    config = digits(steps=60)
    config.data.mixing = ()
    run_train(data, tmp_path / "run", config)
    rows = WriteHistory.read(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 10, 20, 30, 40, 50, 60]
    assert rows[-1]["train/loss"] < 0.7 * rows[0]["train/loss"]


def test_the_share_of_active_anchors_is_logged_and_not_trained_on(data):
    config = get_config()
    config.update({"steps": 2, "log_every": 1, "head": "", "loss": "triplet(margin=0.05, mining='batch_hard')",
                   "backbone": "small_cnn(widths=(8, 16, 16))", "schedule": "constant()"})
    rows = []
    run = Run(config, str(data), make_strategy("one"))
    run.loop(None, [lambda loop, logs: rows.append(logs)]).run()
    for logs in rows:
        assert logs["train/loss"] == logs["train/metric"] and 0 < logs["train/active"] <= 1
        assert logs["train/active"] * 40 == pytest.approx(round(logs["train/active"] * 40), abs=1e-4), "of 40 anchors"
    images, labels = tf.random.stateless_uniform([8, 16, 16, 1], [0, 1]), tf.constant([0, 0, 1, 1, 2, 2, 3, 4])
    batch = {"image": images, "label": labels}
    terms, _ = run.app.losses("train", batch, tf.constant([0, 1]), 0)
    np.testing.assert_array_equal(terms["active"], np.float32(terms["metric"].numpy() > 0))
    assert terms["active"][6:].numpy().tolist() == [0, 0], "without a positive"
    config.update({"head": "cosface()", "loss": ""})
    assert set(Run(config, str(data), make_strategy("one")).app.losses("train", batch, tf.constant([0, 1]), 0)[0]) == {
        "head"}


def test_scores_for_curves_are_the_calibrated_probabilities():
    app = VerificationApp.__new__(VerificationApp)
    app.calibration = {"scale": 4.0, "bias": -2.0}
    app._held = {"embedding": (np.array([-1.0, 0.5, 1.0]), np.array([False, True, True]))}
    scores, same = app.scored({})["pairs"]
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(6)), 0.5, 1 / (1 + np.exp(-2))])
    assert same.tolist() == [False, True, True]


def test_tensorboard_has_every_promised_tag(trained):
    workdir = trained[0] / "tensorboard"
    scalars, images = {}, {}
    for path in workdir.glob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                kind = value.metadata.plugin_data.plugin_name
                (scalars if kind == "scalars" else images).setdefault(value.tag, []).append((event.step, value.tensor))
    promised = {"train/head", "train/loss", "rate/network", "images_per_second", "evaluation/auc", "evaluation/eer",
                "evaluation/map", "evaluation/tar_at_far_1e-2", "evaluation/rank1", "evaluation/floor_auc"}
    assert promised <= set(scalars)
    assert {step for step, _ in scalars["train/head"]} == {1, 10, 20, 30}
    assert all(float(tf.make_ndarray(value)) > 0 for _, value in scalars["images_per_second"])
    assert {"evaluation/roc", "evaluation/precision_recall", "evaluation/pairs", "evaluation/scores"} <= set(images)
    assert "evaluation/low" not in images
    picture = tf.io.decode_png(images["evaluation/roc"][0][1].string_val[2])
    assert picture.shape[2] == 3 and picture.numpy().std() > 10, "a picture with something on it"
    config = (workdir / "projector_config.pbtxt").read_text()
    for name in ("vectors.tsv", "labels.tsv", "sprite.png"):
        assert name in config and (workdir / name).stat().st_size > 0
    vectors = np.loadtxt(workdir / "vectors.tsv")
    assert len(vectors) == len((workdir / "labels.tsv").read_text().splitlines()) > 800


def test_the_exported_version_answers_as_the_live_network(trained, data):
    workdir, models, _ = trained
    version = models / "verification" / "1"
    loaded = tf.saved_model.load(str(version))
    run = Run(stored_config(workdir), str(data), make_strategy("one"))
    loop = run.loop(str(workdir))
    loop.restore()
    rows = run.splits["test"].rows[:40]
    with loop.averaged():
        live = run.app.embed(run.images.load(rows)).numpy()
    encoded = tf.constant(run.records.images(rows))
    served = loaded.signatures["embed"](image_bytes=encoded)["embedding"].numpy()
    np.testing.assert_allclose(served, live, atol=1e-5)
    units = np.stack([tf.io.decode_png(image).numpy() for image in encoded.numpy()]).astype(np.float32)
    np.testing.assert_allclose(loaded.signatures["embed_tensor"](image_tensor=units)["embedding"], live, atol=1e-5)
    pair = loaded.signatures["verify"](image_bytes_1=encoded[:20], image_bytes_2=encoded[20:])
    score = (live[:20] * live[20:]).sum(1)
    np.testing.assert_allclose(pair["score"], score, atol=1e-5)
    calibration = json.loads((version / "assets" / "calibration.json").read_text())
    np.testing.assert_array_equal(pair["decision"], pair["score"] >= np.float32(calibration["threshold"]))
    probability = 1 / (1 + np.exp(-calibration["scale"] * score - calibration["bias"]))
    np.testing.assert_allclose(pair["probability"], probability, atol=1e-4)
    card = (version / "assets" / "model_card.md").read_text()
    assert run.records.manifest["data_sha256"][:16] in card and "raw pixels" in card


def test_evaluate_repeats_the_figures(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    before = json.loads((workdir / "evaluation.json").read_text())
    os.remove(workdir / "evaluation.json")
    run_evaluate(data, workdir)
    after = json.loads((workdir / "evaluation.json").read_text())
    for key, value in before.items():
        if isinstance(value, float) and not key.startswith("minutes"):
            assert after[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("word, message", [
    ("--config.data.holdot=0.5", "`data.holdot` is not a key of this config; did you mean data.holdout"),
    ("--config.batch=30", "`batch` is 30 but must be a multiple of 8 images; use 24 or 32."),
])
def test_mistakes_are_one_sentence_and_claim_no_workdir(data, tmp_path, word, message):
    done = train(data, tmp_path / "run", word)
    assert done.returncode == 1 and message in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cache", [get_config().data.cache_mb, 0], ids=["cached", "streamed"])
def test_a_damaged_record_is_named(data, tmp_path, cache):
    shutil.copytree(data, tmp_path / "data")
    index = np.load(tmp_path / "data" / "index.npz")
    row = int(np.flatnonzero(index["shard"] == 1)[7])
    shard = sorted((tmp_path / "data").glob("*.tfrecord"))[1]
    raw = bytearray(shard.read_bytes())
    raw[index["offset"][row] + index["length"][row] // 2] ^= 1
    shard.write_bytes(raw)
    config = digits(steps=300, labels=0)
    config.data.update({"most_damaged": 0, "cache_mb": cache})
    with pytest.raises(Exception, match=re.escape(f"{shard.name}, record 7 (row {row})")) as told:
        run_train(tmp_path / "data", tmp_path / "run", config)
    assert isinstance(told.value, ValueError) or explain(told.value, ["prog"])      # both end as one sentence
    assert not (tmp_path / "run" / "evaluation.json").exists()


class Held:
    """A split of given rows, with the columns of episodes."""

    def __init__(self, identities, cases=None, roles=None):
        self.rows, self.identities = np.arange(len(identities)), np.array(identities)
        self.names, self.columns = [f"id{i}" for i in range(9)], {"case": cases, "role": roles}
        self.images = types.SimpleNamespace(records=types.SimpleNamespace(names=lambda name: ["gallery", "query"]))

    def column(self, name):
        values = self.columns[name]
        return None if values is None else np.array(values)


def test_episodes_are_compared_inside_their_case_only():
    # Two episodes show the same two things; across them, equal vectors would count as false accepts.
    vectors = np.eye(2)[[0, 1, 0, 1, 0, 1, 0, 1]]
    split = Held([0, 1, 0, 1, 2, 3, 2, 3], cases=[0] * 4 + [1] * 4, roles=[0, 0, 1, 1] * 2)
    scores, same = pairs_of(vectors, split)
    assert len(scores) == 12 and same.sum() == 4
    found = verification._measure(vectors, (scores, same), split)
    assert found["auc"] == found["rank1"] == found["map"] == found["oneshot_accuracy"] == 1.0
    whole = Held([0, 1, 0, 1, 2, 3, 2, 3])
    assert verification._measure(vectors, pairs_of(vectors, whole), whole)["auc"] < 1.0


@pytest.mark.parametrize("identities", [None, [0, 0, 0], [0, 1, 2]])
def test_what_cannot_be_judged_is_refused_before_training(identities):
    splits = {} if identities is None else {"test": Held(identities)}
    with pytest.raises(ValueError, match="held out but judging needs 2 identities, one of them with 2 images"):
        VerificationApp(get_config(), types.SimpleNamespace(splits=splits, classes=3, shape=(16, 16, 1)))


@pytest.mark.slow
def test_sigkill_and_the_same_command_give_the_weights_of_an_undisturbed_run(data, tmp_path):
    words = ["--config.steps=120"]
    assert train(data, tmp_path / "whole", *words).returncode == 0
    process = subprocess.Popen(command(data, tmp_path / "killed", *words), cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while not list((tmp_path / "killed").glob("checkpoints/*.index")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert train(data, tmp_path / "killed", *words).returncode == 0
    whole, killed = (tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / name / "checkpoints")))
                     for name in ("whole", "killed"))
    names = [name for name in whole.get_variable_to_shape_map() if "save_counter" not in name]
    assert len(names) > 20
    for name in names:
        one, two = whole.get_tensor(name), killed.get_tensor(name)
        assert one == two if isinstance(one, bytes) else (one == two).all(), name


@pytest.mark.parametrize("cases, fits", [([0, 0, 0, 1], True), ([0, 1, 0, 1], False), ([0, 0, 1, 1], False)])
def test_episodes_need_a_pair_of_both_kinds_inside_a_case(cases, fits):
    columns = {"case": np.array(cases), "role": np.zeros(4, int)}
    split = types.SimpleNamespace(identities=np.array([0, 0, 1, 1]), rows=np.arange(4), column=columns.get)
    if fits:
        require_pairs({"test": split})
    else:
        with pytest.raises(ValueError, match="of episodes: inside a case"):
            require_pairs({"test": split})


# ---- low-resolution images

LOW = {f"{name}_{kind}" for name in ("auc", "eer", "rank1") for kind in ("lr_lr", "lr_hr")}
COARSE = "degrade(factor=(2.0, 6.0), blur=(0.0, 1.0), noise=(0.0, 0.2), share=1.0)"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """6 identities of 6 images of 12 x 12 pixels, half of them held out."""
    return str(write_data(tmp_path_factory.mktemp("few")))


def small_run(data, **changes):
    return Run(small_config(**changes), data, make_strategy("one"))


def evaluated(run):
    return run.app.evaluate(run.splits)


def test_low_images_are_judged_only_where_a_config_asks(few):
    plain, empty, low = (evaluated(small_run(few, **words)) for words in ({}, {"low": ""}, {"low": COARSE}))
    assert plain == empty and {name: low[name] for name in plain} == plain, "nothing else changes"
    assert set(low) - set(plain) == LOW | {f"floor_{name}" for name in LOW}


def test_images_that_stay_as_they_are_give_the_plain_figures(few):
    found = evaluated(small_run(few, low="degrade(factor=(1.0, 1.0), blur=(0.0, 0.0), noise=(0.0, 0.0), share=1.0)"))
    for name in LOW:
        plain = name.rsplit("_", 2)[0]
        assert found[name] == pytest.approx(found[plain], abs=1e-6)
        assert found[f"floor_{name}"] == pytest.approx(found[f"floor_{plain}"], abs=1e-6)


def area(scores, same):
    """P(a same pair scores above a different one)."""
    return np.mean(scores[same][:, None] > scores[~same][None])


def test_low_images_are_compared_with_each_other_and_ask_among_whole_ones(few):
    run = small_run(few, low=COARSE)
    found, test = evaluated(run), run.splits["test"]
    images = test.load()
    low = run.app.low(tf.constant(images), tf.constant([0, 0]), 1.0)
    same = test.identities[:, None] == test.identities
    others = ~np.eye(len(same), dtype=bool)
    for prefix, of in (("", run.app.embed), ("floor_", run.app.pixels)):
        whole, small = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
                        for vectors in (np.asarray(of(one)) for one in (images, low)))
        for kind, offered in (("lr_lr", small), ("lr_hr", whole)):
            scores = small @ offered.T      # of all ordered pairs: either image of a pair may be the low one
            assert found[f"{prefix}auc_{kind}"] == pytest.approx(area(scores[others], same[others]), abs=1e-6)
            first = np.where(others, scores, -2).argmax(1)
            assert found[f"{prefix}rank1_{kind}"] == pytest.approx(same[range(len(same)), first].mean())
    assert len({found[f"floor_auc{kind}"] for kind in ("", "_lr_lr", "_lr_hr")}) == 3


def test_every_run_is_judged_on_the_same_low_images(few):
    first, again, other = (evaluated(small_run(few, low=COARSE, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    for name in LOW:
        assert first[f"floor_{name}"] == other[f"floor_{name}"]
    assert any(first[name] != other[name] for name in LOW), "other weights"


def test_blocks_are_drawn_apart_and_the_picture_shows_what_was_judged(few, monkeypatch):
    for module in (embedding_app, verification):
        monkeypatch.setattr(module, "BLOCK", 10)
    run, seen = small_run(few, low=COARSE), []
    monkeypatch.setattr(run.app, "pixels", lambda images: seen.append(np.array(images)) or np.ones((len(images), 2)))
    test = run.splits["test"]
    run.app.vectors_of(test, run.app.compiled("lower"))
    assert [len(images) for images in seen] == [10, 8]
    for start, low in zip((0, 10), seen):
        images = tf.constant(test.load(slice(start, start + 10)))
        np.testing.assert_allclose(low, run.app.low(images, tf.constant([0, start]), 1.0), atol=1e-6)
    monkeypatch.undo()
    monkeypatch.setattr(verification, "BLOCK", 10)
    found, shown = evaluated(run), [0, 1, 2, 3, 5, 6, 7, 9]
    np.testing.assert_array_equal(run.app.pictures(run.splits)["low"],
                                  charts.mosaic(np.concatenate([test.load(shown), seen[0][shown]]), 8))
    assert "Held-out images above" in run.app.captions["low"]
    assert "`*_lr_lr` are of images that `degrade(factor=(2.0, 6.0)" in run.app.about(found)


@pytest.mark.parametrize("changes, told", [
    ({"low": "degrad()"}, "`degrad` is not a method of tfrecords/augment; did you mean degrade"),
    ({"low": "degrade(factors=(2.0, 2.0))"}, "`factors` is not a hyper-parameter of tfrecords/augment/degrade"),
    ({"low": "degrade(factor=(0.5, 0.5))"}, "factors >= 1"),
    ({"low": "crop_resize(size=6)"}, r"makes \[6, 6, 1\] of \[12, 12, 1\], but the network takes all images at one"),
    ({"lwo": "degrade()"}, "`lwo` is not a key of this config; did you mean .*low"),
])
def test_low_images_that_cannot_be_are_refused(few, changes, told):
    with pytest.raises(ValueError, match=told):
        small_run(few, **changes)
