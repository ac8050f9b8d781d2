"""`keras_apps.train` as a command: what it refuses, goes on with, writes and exports."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.actions import WriteHistory
from keras_apps.run import Run, stored_config
from keras_apps.train import held_out_answers
from tests.keras_apps.runs import contents, run_evaluate, run_train, small_config, write_data
from tfrecords.cuts import AlignSource
from tfrecords.sources.digits import DigitsSource
from tfrecords.sources.synthetic import SyntheticSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).parents[2]


def test_without_models_nothing_is_exported(trained):
    assert {"config.json", "data.json", "images.json", "evaluation.json", "metrics.jsonl", "report.html",
            "checkpoints", "pictures", "tensorboard"} == {path.name for path in trained.iterdir()}
    assert [row["step"] for row in WriteHistory.read(trained)] == [1, 2, 4]


def test_a_finished_run_is_left_as_it_is(workdir, data, capsys):
    before = contents(workdir)
    run_train(data, workdir)
    assert "run is finished: step 4 of 4, see report.html; use another --workdir to train anew" in \
        capsys.readouterr().out
    after = contents(workdir)
    # TensorBoard's writer opens an events file as soon as it is made.
    assert {name: value for name, value in after.items() if not name.startswith("tensorboard/")} == {
        name: value for name, value in before.items() if not name.startswith("tensorboard/")}


def test_a_kill_before_the_evaluation_is_made_up_for(workdir, data):
    found = json.loads((workdir / "evaluation.json").read_text())
    (workdir / "evaluation.json").unlink()
    run_train(data, workdir)
    again = json.loads((workdir / "evaluation.json").read_text())
    assert again["auc"] == pytest.approx(found["auc"], abs=1e-6) and again["step"] == 4


@pytest.mark.slow
def test_a_finished_run_is_exported_later_without_another_step(workdir, data, tmp_path, capsys):
    run_train(data, workdir, models=tmp_path / "models")
    version = tmp_path / "models" / "verification" / "1"
    assert f"exported {version}" in capsys.readouterr().out
    assert json.loads((workdir / "export.json").read_text()) == {"path": str(version), "trained": 4}
    assert [row["step"] for row in WriteHistory.read(workdir)] == [1, 2, 4]

    run_train(data, workdir, models=tmp_path / "models")
    assert "is finished" in capsys.readouterr().out
    assert [path.name for path in version.parent.iterdir()] == ["1"], "a second version of the same run"

    # What is exported is the run: its names, config, figures and averaged weights.
    run = Run(stored_config(workdir), str(data), tf.distribute.get_strategy())
    result = json.loads((workdir / "evaluation.json").read_text())
    assets = {path.name: path.read_text() for path in (version / "assets").iterdir()}
    assert json.loads(assets["classes.json"]) == run.names
    assert json.loads(assets["config.json"]) == json.loads((workdir / "config.json").read_text())
    assert json.loads(assets["metrics.json"]) == result
    calibration = json.loads(assets["calibration.json"])
    assert calibration["data_sha256"] == run.records.manifest["data_sha256"]
    assert calibration["threshold"] == pytest.approx(result["threshold"])
    assert "18 images of 3 identities from `data`" in assets["model_card.md"]
    assert re.search(r"\| auc +\| [01]\.\d{4} +\| [01]\.\d{4} +\|", assets["model_card.md"])
    served_equals_averaged(version, run, workdir)

    run_train(data, workdir, models=tmp_path / "others")
    assert (tmp_path / "others" / "verification" / "1").exists(), "another folder gets its own"


def served_equals_averaged(version, run, workdir):
    """The exported version embeds held-out images as the averaged weights of the newest checkpoint do."""
    loop = run.loop(str(workdir))
    assert loop.restore() == loop.steps
    rows = run.splits["test"].rows[:8]
    with loop.averaged():
        averaged = run.app.embed(run.images.load(rows)).numpy()
        found = run.app.evaluate(run.splits)
    served = tf.saved_model.load(str(version), tags=["serve"]).signatures["embed"]
    np.testing.assert_allclose(served(image_bytes=tf.constant(run.records.images(rows)))["embedding"], averaged,
                               atol=1e-5)
    result = json.loads((workdir / "evaluation.json").read_text())
    for name, value in found.items():
        assert result[name] == pytest.approx(value, abs=1e-4), name


def test_what_held_out_images_are_answered_is_exported(tmp_path):
    run = Run(small_config(), str(write_data(tmp_path, images=14)), tf.distribute.get_strategy())

    def detect(images):
        return {"score": tf.reduce_mean(images, [1, 2, 3]), "decision": images[:, 0, 0, 0] > 0.5}

    def verify(first, second):
        return {"score": tf.reduce_mean(first - second, [1, 2, 3])}

    found = held_out_answers(run, {"detect": {"function": detect, "images": 1},
                                   "verify": {"function": verify, "images": 2}})
    test = run.splits["test"]
    images = run.images.load(test.rows)
    assert found["images"] == len(test.rows) == 42 and set(found["signatures"]) == {"detect", "verify"}
    detected = found["signatures"]["detect"]
    assert detected["score"]["quantiles"]["0.5"] == pytest.approx(np.sort(images.mean((1, 2, 3)))[20], abs=1e-6)
    assert detected["decision"]["share"] == pytest.approx((images[:, 0, 0, 0] > 0.5).mean())
    # Others will be asked about: what 14 images of one identity say alike is said once.
    assert detected["score"]["effective"] == 3
    assert held_out_answers(run, {"generate": {"function": None, "inputs": {}}}) == {}
    run.splits.pop("test")
    assert held_out_answers(run, {"detect": {"function": detect, "images": 1}}) == {}


@pytest.mark.parametrize("change, said", [
    ({"config": {"batch": 16}}, "holds a run whose config differs in `batch`; use another --workdir or the same"),
    ({"images": 5}, "holds a run whose data differs in `sha256`; use another --workdir or the same"),
])
def test_a_workdir_of_another_run_is_refused_and_left_alone(workdir, data, tmp_path, change, said):
    before = contents(workdir)
    other = write_data(tmp_path / "other", images=change["images"]) if "images" in change else data
    with pytest.raises(ValueError, match=said):
        run_train(other, workdir, small_config(**change.get("config", {})), models=tmp_path / "models")
    assert contents(workdir) == before and not (tmp_path / "models").exists()


def test_a_folder_that_holds_no_data_is_refused_before_the_workdir_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="photos` holds no manifest.json; give a folder that `python -m tf"):
        run_train(tmp_path / "photos", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes, said", [
    ({"head": "", "loss": ""}, "`head` and `loss` are both empty"),
    ({"backbone": "smal_cnn()"}, "`smal_cnn` is not a method of backbones; did you mean small_cnn"),
    ({"head": "cosface(scal=8.0)"}, "`scal` is not a hyper-parameter of heads/cosface; did you mean scale"),
    ({"optimizers": {}}, "`optimizers` has no entry for"),
    ({"lables": 20}, "`lables` is not a key of this config; did you mean labels"),
    ({"data.hold_out": 0.4}, "`data.hold_out` is not a key of this config; did you mean data.holdout"),
    ({"optimizers.hed": "adam()"}, "`optimizers.hed` names no group that is trained; these are network"),
    ({"weights.loss": 1.0}, "`weights` has head, loss, metric but must have head and metric"),
])
def test_mistakes_in_the_config_are_refused(data, tmp_path, changes, said):
    config = small_config()
    for key, value in changes.items():
        *above, key = key.split(".")
        (config[above[0]] if above else config)[key] = value
    with pytest.raises(ValueError, match=re.escape(said)):
        run_train(data, tmp_path / "run", config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_mistake_does_not_claim_the_workdir(data, tmp_path):
    for mistake in ({"optimizers": {"network": "adam(rat=1e-3)"}}, {"schedule": "cosine(warmup=50)"},
                    {"weights": {"loss": 1.0}}):
        with pytest.raises(ValueError):
            run_train(data, tmp_path, small_config(**mistake))
    run_train(data, tmp_path)
    assert (tmp_path / "evaluation.json").exists()


@pytest.mark.slow
def test_two_replicas_train_export_and_are_judged_by_one(tmp_path):
    write([DigitsSource()], tmp_path / "digits", shards=2)
    words = [sys.executable, "-m", "keras_apps.train", "--config=keras_apps/configs/verification/digits.py",
             f"--data={tmp_path / 'digits'}", f"--workdir={tmp_path / 'run'}", f"--models={tmp_path / 'models'}",
             "--strategy=mirrored", "--replicas=2", "--config.steps=12", "--config.batch=32",
             "--config.checkpoint_every=6", "--config.log_every=1", "--config.schedule=constant()",
             "--config.backbone=small_cnn(widths=(8, 8, 8))", "--config.data.mixing=()"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
    version = tmp_path / "models" / "verification" / "1"
    assert f"exported {version}" in done.stdout
    rows = WriteHistory.read(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert np.mean([row["train/loss"] for row in rows[-4:]]) < np.mean([row["train/loss"] for row in rows[:4]])
    # A run of two replicas goes on on one.
    run = Run(stored_config(tmp_path / "run"), str(tmp_path / "digits"), tf.distribute.get_strategy())
    served_equals_averaged(version, run, tmp_path / "run")


@pytest.mark.parametrize("kind, signatures", [
    ("bands:classes=6,images=48,size=32", {"embed_tensor", "verify_tensor"}),
    pytest.param("identities:identities=6,images=6,size=32",
                 {f"{name}{form}" for name in ("embed", "verify") for form in ("", "_tensor", "_landmarks")},
                 marks=pytest.mark.slow),
])
def test_other_images_are_trained_on_and_exported(tmp_path, kind, signatures):
    source = SyntheticSource.parse(kind)
    write([AlignSource(source, 32) if "identities" in kind else source], tmp_path / "data", shards=2)
    config = small_config()
    config.data.crop = "crop_resize(area=(0.5, 1.0), flip=0.5)" if "bands" in kind else ""
    run_train(tmp_path / "data", tmp_path / "run", config, tmp_path / "models")
    version = tmp_path / "models" / "verification" / "1"
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == {*signatures, "serving_default"}
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert result["synthetic"] and "made up" in (version / "assets" / "model_card.md").read_text()


@pytest.mark.parametrize("changes, said", [
    ({"accumulate": 2}, "the network has 4 batch norms, whose mean would be that of a part of the batch"),
    ({"accumulate": 2, "loss": "triplet()"}, "`verification` has a term that looks across the batch"),
    ({"accumulate": 3}, "`batch` is 8 but must be a multiple of 3 (1 replicas x accumulate=3); use 6"),
])
def test_a_batch_is_computed_in_parts_only_where_that_is_exact(data, tmp_path, changes, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        run_train(data, tmp_path, small_config(**changes))


def test_parts_of_a_batch_add_up_to_the_whole_in_the_real_app(data, tmp_path):
    exact = {"backbone": "small_cnn(widths=(4, 4, 4), norm='group')", "norm": "layer", "dropout": 0.0, "ema": 0.0,
             "optimizers": {"network": "sgd(rate=0.02)"}}
    weights = []
    for parts in (1, 4):
        run = Run(small_config(**exact, accumulate=parts), str(data), tf.distribute.get_strategy())
        before = [v.numpy() for v in run.app.network.trainable_variables]
        run.loop(None).run()
        weights.append([v.numpy() for v in run.app.network.trainable_variables])
    assert max(np.abs(a - b).max() for a, b in zip(weights[0], before)) > 1e-3
    for one, other in zip(*weights):
        np.testing.assert_allclose(other, one, atol=2e-6)


def test_an_early_end_is_told_and_evaluating_again_repeats_it(data, tmp_path, capsys):
    config = small_config(steps=40, checkpoint_every=40, evaluate_every=1, best="auc", patience=2, min_delta=1.0)
    config.data.update({"holdout": 0.34, "validation": 0.5})
    run_train(data, tmp_path, config)
    told = capsys.readouterr()
    assert "no better `auc` in 2 looks: stopped at step 3 of 40" in told.out
    assert "the figures are those of step 1, the best by `auc` on validation images" in told.out
    assert "retracing" not in told.err
    first = json.loads((tmp_path / "evaluation.json").read_text())
    assert (first["ended"], first["step"], first["trained"]) == ("patience", 1, 3)
    run_evaluate(data, tmp_path)
    again = json.loads((tmp_path / "evaluation.json").read_text())
    assert (again["ended"], again["step"], again["trained"]) == ("patience", 1, 3)
    assert again["auc"] == pytest.approx(first["auc"], abs=1e-6)


def test_a_run_may_be_made_longer(workdir, data):
    run_train(data, workdir, small_config(steps=6))
    assert json.loads((workdir / "evaluation.json").read_text())["step"] == 6
    assert [row["step"] for row in WriteHistory.read(workdir)][-1] == 6
