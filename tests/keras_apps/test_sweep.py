import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_apps import cells, sweep

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = [str(ROOT / "keras_apps" / "configs" / "verification" / f"{name}.py") for name in ("digits", "orl")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data folder, and trainings that end at once and are noted."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text('{"data_sha256": "0f"}')
    trained = []

    def train(cell, show):
        trained.append(cell.name)
        if "labels=999" in " ".join(cell.words):
            raise OSError(f"the training of {cell.name} failed: `labels` is 999 but must be less.")
        config = cells.config_of(cell.config, cell.words)
        found = {"auc": 0.7 + 0.01 * config["seed"] + 0.002 * config["labels"], "floor_auc": 0.65, "minutes": 0.5,
                 "identities": 5, "data_sha256": "0f"}
        pathlib.Path(cell.workdir).mkdir(parents=True)
        for name, content in (("config", config), ("evaluation", found)):
            (pathlib.Path(cell.workdir) / f"{name}.json").write_text(json.dumps(content))
        return found
    monkeypatch.setattr(sweep.cells, "train", train)
    return tmp_path, trained


def planned(place, configs=CONFIGS, labels=(4, 20), seeds=2, extra=()):
    return sweep.plan(configs, list(labels), seeds, str(place / "data"), str(place / "out"), extra)


def test_the_plan_is_configs_times_labels_times_seeds(tmp_path):
    found = planned(tmp_path, extra=("--config.steps=7", "--strategy=one"))
    assert list(found) == [(name, label, seed) for seed in (0, 1) for name in ("digits", "orl") for label in (4, 20)]
    cell = found["orl", 20, 1]
    assert cell.words == ("--config.steps=7", "--strategy=one", "--config.labels=20", "--config.seed=1")
    assert cell.workdir == str(tmp_path / "out" / "runs" / "orl-20-1")
    assert list(planned(tmp_path, ["a/x.py", "b/x.py"], (), 1)) == []


def test_configs_of_one_name_are_told_apart_by_their_folder(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "digits.py").write_text(pathlib.Path(CONFIGS[0]).read_text())
    found = planned(tmp_path, [str(tmp_path / folder / "digits.py") for folder in ("first", "second")], (0,), 1)
    assert list(found) == [("first/digits", 0, 0), ("second/digits", 0, 0)]
    assert len({cell.workdir for cell in found.values()}) == 2


@pytest.mark.parametrize("words, told", [
    ({"labels": (4, 4)}, "`--labels` is 4,4 but names one twice"), ({"configs": ["no.py"]}, "`no.py` but there is no"),
    ({"configs": CONFIGS[:1] * 2}, "but names one twice"), ({"extra": ("--config.stepz=3",)}, "`stepz` is not a key"),
])
def test_what_cannot_be_trained_is_refused_before(tmp_path, words, told):
    with pytest.raises(ValueError, match=told):
        planned(tmp_path, **words)


def test_a_second_call_trains_what_is_missing_only(place):
    place, trained = place
    first, _ = sweep.run(planned(place, seeds=1), str(place / "data"))
    assert trained == ["digits-4-0", "digits-20-0", "orl-4-0", "orl-20-0"]
    second, failed = sweep.run(planned(place, labels=(4, 20, 999)), str(place / "data"))
    assert trained[4:] == ["digits-999-0", "orl-999-0", "digits-4-1", "digits-20-1", "digits-999-1", "orl-4-1",
                           "orl-20-1", "orl-999-1"]
    assert len(second) == 8 and len(failed) == 4 and first.items() <= second.items()


def test_a_finished_training_of_something_else_is_not_taken_for_ours(place):
    place, _ = place
    sweep.run(planned(place, seeds=1), str(place / "data"))
    with pytest.raises(ValueError, match="digits-4-0 holds a training with another `steps`; use another --out"):
        sweep.run(planned(place, seeds=1, extra=("--config.steps=7",)), str(place / "data"))
    (place / "data" / "manifest.json").write_text('{"data_sha256": "aa"}')
    with pytest.raises(ValueError, match="digits-4-0 holds a training with another data set"):
        sweep.run(planned(place, seeds=1), str(place / "data"))
    with pytest.raises(ValueError, match="holds no manifest.json; write it by"):
        sweep.run(planned(place), str(place))


def test_the_table_has_mean_spread_floor_and_what_failed(place):
    place, _ = place
    plan = planned(place, labels=(4, 999))
    found, failed = sweep.run(plan, str(place / "data"))
    rows = sweep.summary(found, "auc")
    assert rows[0] == {"config": "digits", "labels": 4, "seeds": 2, "mean": pytest.approx(0.713), "floor": 0.65,
                       "spread": pytest.approx(np.std([0.708, 0.718], ddof=1)), "minutes": 1.0}
    lines = sweep.report(found, failed, plan, "auc")
    assert lines[0].split("|")[1:-1] == [" auc    ", " 4 a class   ", " 999 a class "]
    assert lines[2] == "| digits | .713 ± .007 | -           |" and lines[4] == "| floor  | .650        | -           |"
    assert "4 of 8 trainings" in lines[6]
    assert lines[7] == "Failed: the training of digits-999-0 failed: `labels` is 999 but must be less."
    with pytest.raises(ValueError, match="`--metric` is `acc` but the trainings measured auc, minutes"):
        sweep.summary(found, "acc")


@pytest.mark.parametrize("labels", [(4,), (20, 4, 0)])
def test_everything_is_written(place, labels):
    place, _ = place
    plan = planned(place, labels=labels)
    found, failed = sweep.run(plan, str(place / "data"))
    lines = sweep.write(str(place / "out"), found, failed, plan, "auc", ["--config.steps=7"])
    assert (place / "out" / "sweep.md").read_text().splitlines() == lines
    content = json.loads((place / "out" / "sweep.json").read_text())
    assert len(content["runs"]) == len(found) and len(content["summary"]) == 2 * len(labels)
    assert content["flags"] == ["--config.steps=7"] and str(place) not in json.dumps(content)
    with Image.open(place / "out" / "sweep.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    events = sorted(path.parent.name for path in (place / "out" / "tensorboard").glob("*/events*"))
    assert events == sorted(cell.name for cell in plan.values())
    before = list((place / "out" / "tensorboard").rglob("*events*"))
    sweep.write(str(place / "out"), found, failed, plan, "auc", [])
    assert list((place / "out" / "tensorboard").rglob("*events*")) == before, "a row of HParams is written once"


def test_the_chart_shows_lines_over_labels_and_bars_without():
    rows = [{"config": name, "labels": label, "seeds": 3, "mean": mean, "spread": 0.01, "floor": 0.6, "minutes": 1.0}
            for name, mean in (("a", 0.8), ("b", 0.7)) for label in (4, 20)]
    axes, = sweep.chart(rows, "auc", [20, 4]).axes
    assert [line.get_label() for line in axes.lines] == ["a", "b", "floor"] and len(axes.collections) == 2
    assert [text.get_text() for text in axes.get_xticklabels()] == ["4", "20"]
    axes, = sweep.chart([row for row in rows if row["labels"] == 4], "auc", [4]).axes
    assert [bar.get_height() for bar in axes.patches] == [0.8, 0.7]
    low, high = axes.get_ylim()
    assert low < 0.6 and high > 0.81, "floor and bars can be seen"


@pytest.mark.slow
def test_the_command_trains_and_goes_on(tmp_path):
    from tests.keras_apps.runs import write_data
    data = write_data(tmp_path)
    words = [sys.executable, "-m", "keras_apps.sweep", f"--configs={CONFIGS[0]}", "--seeds=1", f"--data={data}",
             f"--out={tmp_path / 'out'}"]
    small = ["--", "--config.steps=2", "--config.batch=8", "--config.schedule=constant()", "--config.labels=0",
             "--config.data.train_identities=", "--config.data.holdout=0.5", "--config.data.sampler=pk(images=4)",
             "--config.data.mixing=()"]
    first = subprocess.run([*words, "--labels=4", *small], cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr[-2000:]
    second = subprocess.run([*words, "--labels=4,0", *small], cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0 and second.stderr == "1 of 1: digits-0-0\n", second.stderr[-2000:]
    assert "| digits | " in second.stdout and "2 of 2 trainings" in second.stdout
