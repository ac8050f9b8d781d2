"""Killed trainings: what is typed, when it is killed, and that another weight would be seen."""

import pathlib
import random
import re
import types

import numpy as np
import pytest
import tensorflow as tf

from tools import train_kills

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("strategy", train_kills.STRATEGIES)
def test_the_words_are_flags_of_the_commands(strategy):
    words = train_kills.words(strategy, "data", "workdir")
    source = (ROOT / "keras_apps" / "train.py").read_text() + (ROOT / "keras_apps" / "launch.py").read_text()
    for word in words[3:]:
        flag = re.match(r"--(\w+)", word)
        assert word == "--" or f'"{flag[1]}"' in source, word


def checkpoint(workdir, step, value):
    tf.train.Checkpoint(w=tf.Variable(value)).write(str(workdir / "checkpoints" / f"ckpt-{step}"))
    tf.compat.v1.train.update_checkpoint_state(str(workdir / "checkpoints"), f"ckpt-{step}")


def trainings(monkeypatch, value):
    """Each call "trains" at once: the undisturbed one to the weight 1, the others to `value`."""
    def make(strategy, data, workdir, log):
        checkpoint(workdir, train_kills.STEPS, 1.0 if workdir.name == "whole" else value)
        return types.SimpleNamespace(wait=lambda seconds: 0, process=None)
    monkeypatch.setattr(train_kills, "Training", make)
    monkeypatch.setattr(train_kills, "until", lambda *_: "training")
    kills = iter(range(100))
    monkeypatch.setattr(train_kills, "kill", lambda *_: "the process" if next(kills) == 0 else None)


def test_equal_weights_pass_and_others_are_named(monkeypatch, tmp_path):
    class Never(random.Random):
        def random(self):
            return 0.9      # no SIGTERM
    for value, fails in ((1.0, False), (np.nextafter(np.float32(1), np.float32(2)), True)):
        place = tmp_path / str(fails)
        place.mkdir()
        trainings(monkeypatch, value)
        lines = []
        if fails:
            with pytest.raises(AssertionError, match="w/.ATTRIBUTES/VARIABLE_VALUE differs under one"):
                train_kills.kill_training("one", "data", place, 1, Never(0), lines.append)
        else:
            assert train_kills.kill_training("one", "data", place, 1, Never(0), lines.append) == 1
            assert lines[0].startswith("| one | 1 | SIGKILL to the process, training")


def test_a_sigterm_that_is_not_obeyed_is_told(monkeypatch, tmp_path):
    class Always(random.Random):
        def random(self):
            return 0.1
    trainings(monkeypatch, 1.0)

    def fail(what):
        raise AssertionError(what)
    make = train_kills.Training
    monkeypatch.setattr(train_kills, "Training", lambda *words: types.SimpleNamespace(**vars(make(*words)), fail=fail))
    with pytest.raises(AssertionError, match="SIGTERM at step 300 was answered with 0"):
        train_kills.kill_training("one", "data", tmp_path, 1, Always(0), [].append)


@pytest.mark.slow
def test_every_strategy_stands_a_kill(tmp_path, capsys):
    place = tmp_path / "log.md"
    flags = types.SimpleNamespace(times=3, seed=1, log=str(place))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_kills.flags, "FLAGS", flags)
        train_kills.main(None)
    assert "3 kills in" in place.read_text() and place.read_text().count("tensors identical") >= 3
