"""Repeated splits together: two small files of answers, counted by hand."""

import numpy as np
import pytest

from keras_apps import pooled
from keras_apps.metrics import diagnosis

HEADER = "path,case,cohort,split,label,answer,abstain,p_no,p_yes\n"


def write(folder, rows):
    folder.mkdir()
    text = "".join(f"{path},{case},{cohort},{split},{label},x,0,{1 - p},{p}\n"
                   for path, case, cohort, split, label, p in rows)
    (folder / "predictions.csv").write_text(HEADER + text)
    return str(folder), {"positive": "yes"}


@pytest.fixture
def runs(tmp_path):
    random = np.random.default_rng(0)

    def rows(seed):
        return [(f"{seed}-{i}.png", f"p{i // 2}", ("hard", "easy")[i % 2], ("test", "validation")[i % 5 == 0],
                 ("no", "yes")[i // 2 % 2], round(float(np.clip(i // 2 % 2 * 0.4 + 0.6 * random.random(), 0, 1)), 3))
                for i in range(40)]
    return [write(tmp_path / str(seed), rows(seed)) for seed in range(2)]


def test_the_held_out_answers_of_all_runs_are_one_set(runs):
    found = pooled.pooled(runs)
    assert [row["cohort"] for row in found] == ["all", "easy", "hard"]
    assert [row["images"] for row in found] == [64, 32, 32]
    rows = [row for workdir, _ in runs for row in pooled._read(workdir)[1]]
    answers = np.array([[float(row["p_no"]), float(row["p_yes"])] for row in rows])
    truth = np.array([row["label"] == "yes" for row in rows]).astype(int)
    wanted = diagnosis.figures(answers, truth, 1)
    for name in pooled.SHOWN.values():
        assert found[0][name] == pytest.approx(wanted[name])
        assert found[0][f"{name}_low"] <= found[0][name] + 0.05 and found[0][name] <= found[0][f"{name}_high"] + 0.05


def test_the_same_run_twice_gives_the_same_figures_and_no_narrower_interval(runs):
    one, twice = pooled.pooled(runs[:1])[0], pooled.pooled([runs[0], runs[0]])[0]
    assert twice["images"] == 2 * one["images"] and twice["auc"] == pytest.approx(one["auc"])
    width = [row["auc_high"] - row["auc_low"] for row in (one, twice)]
    assert width[1] == pytest.approx(width[0], abs=1e-9)


def test_the_table_and_runs_that_cannot_be_pooled(runs, tmp_path):
    header, cells = pooled.lines(pooled.pooled(runs))
    assert header[2] == "AUC" and len(cells) == 3 and "(" in cells[0][2]
    assert pooled.pooled([*runs, (str(tmp_path / "none"), {})]) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "predictions.csv").write_text(HEADER.replace("p_yes", "p_maybe"))
    assert pooled.pooled([*runs, (str(other), {})]) == []
