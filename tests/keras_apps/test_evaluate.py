"""`keras_apps.evaluate`: what it refuses, and what it leaves in the workdir."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps.loop import Loop
from keras_apps.run import Run, claim, stored_config
from tests.keras_apps.runs import contents, run_evaluate, run_train, small_config, write_data


def test_a_folder_without_a_run_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="holds no config.json, so no run; give the --workdir of a `keras_apps.train`"):
        run_evaluate(data, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_that_never_reached_a_checkpoint_is_refused(data, tmp_path):
    claim(str(tmp_path), Run(small_config(), str(data), tf.distribute.get_strategy()))
    with pytest.raises(ValueError, match="holds no checkpoint to evaluate; train first"):
        run_evaluate(data, tmp_path)
    assert sorted(contents(tmp_path)) == ["config.json", "data.json"]


@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_a_damaged_checkpoint_is_named(harm, workdir, data):
    for path in (workdir / "checkpoints").glob("*.data-*"):
        if harm == "cut":
            os.truncate(path, 1000)
        else:
            path.unlink()
    with pytest.raises(ValueError, match="the checkpoint .*/ckpt-4 cannot be read .*, nor any before it; remove "):
        run_evaluate(data, workdir)


def test_figures_of_other_data_are_refused_and_the_old_ones_stay(workdir, tmp_path):
    before = contents(workdir)
    other = write_data(tmp_path / "other", images=5)
    with pytest.raises(ValueError, match="holds a run whose data differs in `sha256`"):
        run_evaluate(other, workdir)
    assert contents(workdir) == before


def test_it_judges_the_newest_checkpoint_by_its_averaged_weights(workdir, data, capsys):
    (workdir / "evaluation.json").unlink()
    shutil.rmtree(workdir / "pictures")
    run_evaluate(data, workdir)
    said = capsys.readouterr()
    assert "checkpoint of step 4 of 4" in said.err
    for word in ("auc", "eer", "rank1", "floor"):
        assert word in said.out
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["step"] == 4 and found["seed"] == 0 and found["images"] == 18 and found["identities"] == 3

    run = Run(stored_config(workdir), str(data), tf.distribute.get_strategy())
    loop = run.loop(str(workdir))
    loop.restore()
    live = [value.numpy() for value in loop.trained]
    with loop.averaged():
        expected = run.app.evaluate(run.splits)
    assert any((one != two.numpy()).any() for one, two in zip(live, loop.averages))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    for name in ("roc", "scores", "pairs"):
        picture = np.asarray(Image.open(workdir / "pictures" / f"{name}.png"))
        assert picture.ndim == 3 and picture.std() > 1, name


@pytest.mark.slow
def test_an_unfinished_run_is_judged_where_it_stands_and_can_go_on(data, tmp_path, monkeypatch, capsys):
    config, save = small_config(steps=6), Loop.save

    def save_and_die(loop):
        save(loop)
        if loop.step.numpy() == 4:
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_train(data, tmp_path, config)
    run_evaluate(data, tmp_path)
    assert "checkpoint of step 4 of 6" in capsys.readouterr().err
    assert json.loads((tmp_path / "evaluation.json").read_text())["step"] == 4
    run_train(data, tmp_path, config)
    assert json.loads((tmp_path / "evaluation.json").read_text())["step"] == 6, "the figures of step 4 are no end"
