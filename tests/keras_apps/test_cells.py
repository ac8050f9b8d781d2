import pathlib
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import types

import pytest
from absl import flags

from keras_apps import cells
from keras_apps.cells import Cell

ROOT = pathlib.Path(__file__).parents[2]
DIGITS = str(ROOT / "keras_apps" / "configs" / "verification" / "digits.py")
# The flags and files of `keras_apps.train`, in milliseconds.
FAKE = """#!{python} -IS
import os, pathlib, sys, time
given = dict(word.split("=", 1) for word in sys.argv[3:])
work = pathlib.Path(given["--workdir"])
assert sys.argv[1:3] == ["-m", "keras_apps.train"] and given["--models"] == ""
assert all(os.path.isabs(given[name]) for name in ("--config", "--data", "--workdir"))
if given["--config.seed"] == "13":
    sys.exit("a line before\\nerror: `seed` is 13 but must be lucky; use 12.")
work.mkdir(exist_ok=True)
with open(work.parent / "calls.txt", "a") as file:
    file.write("begin\\n")
(work / "config.json").write_text('{{"steps": 60}}')
(work / "metrics.jsonl").write_text('{{"step": 40, "rate/loss": 7, "train/loss": 0.25}}\\n{{"step": 60, "tra')
time.sleep(float(given["--config.steps"]))
with open(work.parent / "calls.txt", "a") as file:
    file.write("end\\n")
(work / "evaluation.json").write_text('{{"auc": 0.9}}')
"""


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """(seconds, seed) -> a cell whose training takes so long."""
    path = tmp_path / "python"
    path.write_text(FAKE.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))

    def make(seconds=0.0, seed=0):
        return Cell("one", DIGITS, str(tmp_path), str(tmp_path / "runs" / "one"),
                    (f"--config.steps={seconds}", f"--config.seed={seed}"))
    return make


def calls(tmp_path):
    path = tmp_path / "runs" / "calls.txt"
    return path.read_text().split() if path.exists() else []


def test_a_training_gives_its_evaluation_and_its_last_loss(cell):
    shown = []
    assert cells.train(cell(0.6), shown.append) == {"auc": 0.9, "loss": 0.25}
    assert shown and set(shown) <= {"step 0 of ?", "step 40 of 60"} and shown[-1] == "step 40 of 60"


def test_a_training_that_was_cut_off_is_a_failure_with_a_remedy(cell, monkeypatch):
    monkeypatch.setattr(cells, "result", lambda workdir: None)
    with pytest.raises(OSError, match="the training of one was cut off by --max_minutes; the same command goes on"):
        cells.train(cell())


def test_a_failure_is_the_trainings_own_sentence(cell):
    with pytest.raises(OSError, match="^the training of one failed: `seed` is 13 but must be lucky; use 12.$"):
        cells.train(cell(seed=13))


def test_no_second_training_beside_one_that_still_runs(cell, tmp_path, capsys):
    first = threading.Thread(target=cells.train, args=(cell(1.0),))
    first.start()
    while not calls(tmp_path):
        time.sleep(0.01)
    cells.train(cell())
    first.join()
    assert calls(tmp_path) == ["begin", "end", "begin", "end"]
    assert "waiting for the training that still runs in one" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_that_outlives_its_caller_keeps_the_lock(cell, tmp_path):
    code = ("import sys; from keras_apps import cells; sys.executable = sys.argv[1]; "
            "cells.train(cells.Cell('one', *sys.argv[2:5], tuple(sys.argv[5:])))")
    long = cell(1.5)
    fake, real = sys.executable, pathlib.Path(sys.executable).read_text().split()[0].removeprefix("#!")
    caller = subprocess.Popen([real, "-c", code, fake, long.config, long.data, long.workdir, *long.words], cwd=ROOT)
    while not calls(tmp_path):
        assert caller.poll() is None
        time.sleep(0.02)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert calls(tmp_path) == ["begin"]
    cells.train(cell())
    assert calls(tmp_path) == ["begin", "end", "begin", "end"]


def test_the_config_is_what_train_reads():
    config = cells.config_of(DIGITS, ["--config.data.mixing=()", "--config.loss=triplet(mining='all', margin=0.1)",
                                      "--strategy=one", "--config.optimizers.network=sgd(rate=0.5)"])
    assert config["data"]["mixing"] == [] and config["loss"] == "triplet(mining='all', margin=0.1)"
    assert config["optimizers"] == {"network": "sgd(rate=0.5)"} and config["steps"] == 800


@pytest.mark.parametrize("word, size", [("(64, 32)", [64, 32]), ("64,32", [64, 32]), ("[64, 32]", [64, 32]),
                                        ("64", 64), ("wide", "wide")])
def test_a_size_of_the_command_line_may_be_a_pair(word, size):
    assert cells.config_of(DIGITS, [f"--config.size={word}"])["size"] == size       # `settle` refuses the last


@pytest.mark.parametrize("config, word, told", [
    (DIGITS, "--config.stepz=3", "`stepz` is not a key of this config; did you mean .*steps"),
    (DIGITS, "--config.steps=many", "steps=many"), ("nowhere.py", "--config.steps=3", "`nowhere.py` but there is no"),
])
def test_what_a_config_does_not_take_is_refused(config, word, told):
    with pytest.raises(ValueError, match=told):
        cells.config_of(config, [word])


def test_an_unfinished_or_damaged_workdir_has_no_result(tmp_path):
    assert cells.result(tmp_path) is None
    (tmp_path / "evaluation.json").write_text('{"auc": 0.5}')
    (tmp_path / "metrics.jsonl").write_text('not json\n[1]\n{"step": 1, "a/loss": 1}\n{"step": 2, "a/loss": 2}\n"x"')
    assert cells.result(tmp_path) == {"auc": 0.5, "loss": 2}
    (tmp_path / "evaluation.json").write_text('{"auc": 0.5, "ended": "time"}')
    assert cells.result(tmp_path) is None, "--max_minutes cut it off"
    (tmp_path / "evaluation.json").write_text('{"auc": 0.')
    with pytest.raises(ValueError, match="evaluation.json is damaged"):
        cells.result(tmp_path)


def test_figures_and_tables_can_be_read():
    assert cells.figure([0.9, 0.8]) == ".850 ± .071" and cells.figure([-0.5]) == "-.500"
    assert cells.figure([None, float("nan")]) == "-" and cells.figure([1234.5678]) == "1235"
    assert cells.figure([10.05]) == "10.05" and cells.figure([1.0, 1.0]) == "1.000 ± .000"
    assert cells.figure([1.7e-6]) == "2e-06" and cells.figure([-0.0004]) == "-4e-04"
    assert cells.table(["a", "bb"], [["ccc", 1]]) == ["| a   | bb |", "|-----|----|", "| ccc | 1  |"]


def test_the_machine_is_words_without_a_path():
    assert re.fullmatch(r"\d+ cores?( of an? .+)?", cells.machine())


def test_watching_tells_a_line_a_cell_where_there_is_no_terminal(capsys):
    with cells.watching(2) as begin:
        begin("first")("step 1 of 2")
        begin("second")
    assert capsys.readouterr().err == "1 of 2: first\n2 of 2: second\n"


@pytest.mark.parametrize("said, told", [("step 3\nerror: `x` is 1 but must be 2.\n", "`x` is 1 but must be 2."),
                                        ("Killed\n", "Killed"), ("", "it does not say why")])
def test_a_command_that_fails_is_one_sentence(said, told, monkeypatch):
    words = []
    monkeypatch.setattr(cells.subprocess, "run", lambda command, **_: words.extend(command) or types.SimpleNamespace(
        returncode=1, stderr=said))
    with pytest.raises(OSError) as raised:
        cells.call("keras_apps.sample", "--workdir=w", "--count=10")
    assert str(raised.value) == told and words == [sys.executable, "-m", "keras_apps.sample", "--workdir=w",
                                                   "--count=10"]


def test_a_flag_of_the_trainings_without_the_dashes_before_it_is_said_to_need_them():
    for word, name in (("--config.steps=5", "config.steps"), ("--deterministic", "deterministic")):
        error = flags.UnrecognizedFlagError(name)
        assert cells.explain_words(error, ["sweep", "--seeds=1", word]) == (
            f"`--{name}` is not a flag of this command; flags of `keras_apps.train` come last, after two dashes that "
            f"stand alone: -- {word}")
    assert cells.explain_words(ValueError("else"), ["sweep"]) is None
