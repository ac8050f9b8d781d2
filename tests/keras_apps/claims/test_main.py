import json
import pathlib
import subprocess
import sys

import pytest

from keras_apps.claims import __main__ as command
from keras_apps.claims import claim as claims
from keras_apps.claims import results

ROOT = pathlib.Path(__file__).parents[3]
ARMS = {name: claims.Arm("verification/digits", "digits", {"dropout": dropout})
        for name, dropout in (("a", 0.1), ("b", 0.2))}
CLAIM = claims.Claim({"digits": "--digits", "faces": ""}, ARMS, "auc", ("a > b",), 6.0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folders of data (with a manifest), results and workdirs; trainings that end at once are noted in `trained`."""
    (tmp_path / "data" / "digits").mkdir(parents=True)
    (tmp_path / "data" / "digits" / "manifest.json").write_text('{"data_sha256": "0f"}')
    (tmp_path / "none").mkdir()

    def train(cell, show):
        show("step 1 of 1")
        trained.append(cell)
        if cell.name in failing:
            raise OSError(f"the training of {cell.name} failed: no reason")
        pathlib.Path(cell.workdir).mkdir(parents=True)
        (pathlib.Path(cell.workdir) / "evaluation.json").write_text("{}")
        sha = json.loads((tmp_path / "data" / "digits" / "manifest.json").read_text())["data_sha256"]
        return {"auc": 0.9 if cell.name.startswith("a") else 0.8 + 0.001 * len(trained), "minutes": 0.5,
                "data_sha256": sha}
    trained, failing = [], set()
    monkeypatch.setattr(command.cells, "train", train)
    return tmp_path, trained, failing


def run(place, claim=CLAIM, seeds=2, name="app/one"):
    return command.run(name, claim, place / "data", seeds, place / "docs", place / "work", place / "none")


def test_seeds_go_in_turn_and_nothing_is_trained_twice(place):
    place, trained, _ = place
    assert run(place) == 2.0
    assert [cell.name for cell in trained] == ["a, seed 0", "b, seed 0", "a, seed 1", "b, seed 1"]
    assert trained[1].words == ("--config.dropout=0.2", "--config.seed=0")
    assert pathlib.Path(trained[1].workdir).parent == place / "work" / "app" / "one"
    assert claims.judge(CLAIM, results.stored("app/one", CLAIM, place / "docs"))[0] == "holds"
    assert run(place) == 0.0 and len(trained) == 4
    assert run(place, seeds=3) == 1.0 and [cell.name for cell in trained[4:]] == ["a, seed 2", "b, seed 2"]
    assert (place / "docs" / "claims.md").exists()


def test_a_changed_config_or_data_set_is_run_again_and_told(place, capsys):
    place, trained, _ = place
    run(place, seeds=1)
    arms = {**ARMS, "b": claims.Arm("verification/digits", "digits", {"dropout": 0.3})}
    run(place, claims.Claim(CLAIM.sets, arms, "auc", ("a > b",), 6.0), seeds=1)
    assert [cell.name for cell in trained[2:]] == ["b, seed 0"] and trained[1].workdir != trained[2].workdir
    assert "b, seed 0 is run again, as dropout changed" in capsys.readouterr().err
    (place / "data" / "digits" / "manifest.json").write_text('{"data_sha256": "aa"}')
    run(place, seeds=1)
    assert [cell.name for cell in trained[3:]] == ["a, seed 0", "b, seed 0"]
    assert "a, seed 0 is run again, as the data changed" in capsys.readouterr().err


def test_what_was_trained_before_a_failure_is_kept(place):
    place, trained, failing = place
    failing.add("b, seed 0")
    with pytest.raises(OSError, match="the training of b, seed 0 failed"):
        run(place)
    failing.clear()
    run(place)
    assert [cell.name for cell in trained] == ["a, seed 0", "b, seed 0", "b, seed 0", "a, seed 1", "b, seed 1"]


def test_a_removed_result_is_trained_anew_not_read_from_the_old_workdir(place):
    place, trained, _ = place
    run(place, seeds=1)
    (place / "docs" / "claims" / "app" / "one" / "a-0.json").unlink()
    run(place, seeds=1)         # `train` above would stumble over a workdir that is still there
    assert [cell.name for cell in trained[2:]] == ["a, seed 0"]


def test_a_set_from_outside_must_be_there(place):
    with pytest.raises(ValueError, match="has no set `faces`; write it by `make data`"):
        command.data_sha(CLAIM, str(place[0] / "data"), "faces")


def test_the_cheapest_go_first_and_what_is_left_out_is_told(place, monkeypatch, capsys):
    place, _, _ = place
    known = {f"app/{name}": claims.Claim(CLAIM.sets, ARMS, "auc", ("a > b",), minutes)
             for name, minutes in (("dear", 30.0), ("cheap", 1.5), ("fair", 6.0))}
    order = []

    def note(name, claim, data, seeds):
        order.append(name)
        if name == "app/fair":
            raise ValueError("`x` is 1 but must be 2.")
        return claim.minutes
    monkeypatch.setattr(command, "run", note)
    assert not command.run_all(known, "data", 3, 20.0)
    assert order == ["app/cheap", "app/fair"]
    assert capsys.readouterr().out.splitlines() == [
        "app/cheap  not run", "app/fair  error: `x` is 1 but must be 2.",
        "app/dear  left out: about 30 CPU minutes, of 20 are 18 left"]
    monkeypatch.setattr(command.claims, "judge", lambda *words: ("holds", []))
    assert command.run_all({"app/cheap": known["app/cheap"]}, "data", 3, 20.0)


def test_results_of_another_config_are_part_of_the_cost(place):
    place, _, _ = place
    run(place)
    path = place / "docs" / "claims" / "app" / "one" / "a-0.json"
    shas = {"digits": json.loads(path.read_text())["data_sha256"]}
    assert command.to_run("app/one", CLAIM, shas, 2, place / "docs") == []
    content = json.loads(path.read_text())
    content["config"]["dropout"] = 0.77
    path.write_text(json.dumps(content))
    (arm, seed, _, keys), = command.to_run("app/one", CLAIM, shas, 2, place / "docs")
    assert (arm, seed, keys) == ("a", 0, ["dropout"])
    assert len(command.to_run("app/one", CLAIM, {"digits": "other"}, 2, place / "docs")) == 4
    assert len(command.to_run("app/one", CLAIM, {}, 2, place / "docs")) == 1, "data that are not there tell nothing"


def test_the_command_refuses_what_it_cannot_do_and_lists_a_line_a_claim():
    def call(*words):
        return subprocess.run([sys.executable, "-m", "keras_apps.claims", *words], cwd=ROOT, capture_output=True,
                              text=True)
    done, told = call("--list", "--all"), "give one of --list, --name=<app>/<claim>, --all and --smoke."
    assert (done.returncode, done.stderr) == (1, f"error: {told}\n")
    lines = call("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(claims.every())
    assert all(" CPU minutes  " in line for line in lines)


@pytest.mark.slow
def test_smoke_runs_real_trainings_and_keeps_nothing(tmp_path):
    before = {path: path.stat().st_mtime_ns for path in results.DOCS.rglob("*")} if results.DOCS.exists() else {}
    done = subprocess.run([sys.executable, "-m", "keras_apps.claims", "--smoke", f"--data={tmp_path}",
                           "--name=verification/contrastive_needs_negatives"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("ran 2 steps; a smoke run gives no verdict\n") and "verdict:" not in done.stdout.lower()
    after = {path: path.stat().st_mtime_ns for path in results.DOCS.rglob("*")} if results.DOCS.exists() else {}
    assert before == after and not list(tmp_path.iterdir())
