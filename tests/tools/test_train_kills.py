"""Killed trainings: what is typed, when it is killed, and that another weight would be seen."""

import pathlib
import random
import re
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.checkpoints import Host
from tools import train_kills

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("strategy", train_kills.STRATEGIES)
def test_the_words_are_flags_of_the_commands(strategy):
    words = train_kills.words(strategy, "data", "workdir")
    source = (ROOT / "keras_apps" / "train.py").read_text() + (ROOT / "keras_apps" / "launch.py").read_text()
    for word in words[3:]:
        flag = re.match(r"--(\w+)", word)
        assert word == "--" or f'"{flag[1]}"' in source, word


def checkpoint(workdir, step, value, fact):
    host = Host({"steps": 3})
    host.facts["best"] = fact
    tf.train.Checkpoint(w=tf.Variable(value), host=host).write(str(workdir / "checkpoints" / f"ckpt-{step}"))
    tf.compat.v1.train.update_checkpoint_state(str(workdir / "checkpoints"), f"ckpt-{step}")


def trainings(monkeypatch, value=1.0, fact=0.5, code=0, saved=0):
    """Each call "trains" at once: the undisturbed one to the weight 1 and the fact .5, the others as given."""
    random.seed(0)
    np.random.seed(0)
    codes = iter([code])

    def make(strategy, data, workdir, log):
        told = (1.0, 0.5) if workdir.name == "whole" else (value, fact)
        checkpoint(workdir, train_kills.STEPS, *told)
        ended = 0 if workdir.name == "whole" else next(codes, 0)
        return types.SimpleNamespace(wait=lambda seconds: ended, process=None,
                                     says=lambda words: words == f"step {saved} of {train_kills.STEPS} is saved")
    monkeypatch.setattr(train_kills, "Training", make)
    monkeypatch.setattr(train_kills, "until", lambda *_: "training")
    kills = iter(range(100))
    monkeypatch.setattr(train_kills, "kill", lambda *_: "the process" if next(kills) == 0 else None)


class Never(random.Random):
    """No SIGTERM."""

    def random(self):
        return 0.9


def test_equal_weights_pass_and_others_are_named(monkeypatch, tmp_path):
    after_one = np.nextafter(np.float32(1), np.float32(2))
    for number, (value, fact, told) in enumerate([
            (1.0, 0.5, None), (after_one, 0.5, "w/.ATTRIBUTES/VARIABLE_VALUE differs under one"),
            (1.0, 0.6, "host differs under one")]):
        place = tmp_path / str(number)
        place.mkdir()
        trainings(monkeypatch, value, fact)
        lines = []
        if told:
            with pytest.raises(AssertionError, match=told):
                train_kills.kill_training("one", "data", place, 1, Never(0), lines.append)
        else:
            assert train_kills.kill_training("one", "data", place, 1, Never(0), lines.append) == 1
            assert lines[0].startswith("| one | 1 | SIGKILL to the process, training")


def test_random_state_is_compared(monkeypatch, tmp_path):
    trainings(monkeypatch)
    make = train_kills.Training

    def drawing(*words):
        np.random.random()
        return make(*words)
    monkeypatch.setattr(train_kills, "Training", drawing)
    with pytest.raises(AssertionError, match="host(/numpy)? differs under one"):
        train_kills.kill_training("one", "data", tmp_path, 1, Never(0), [].append)


@pytest.mark.parametrize("code, saved, obeyed", [(0, 300, False), (143, 299, False), (143, 300, True)])
def test_a_sigterm_that_is_not_obeyed_is_told(monkeypatch, tmp_path, code, saved, obeyed):
    class Always(random.Random):
        def random(self):
            return 0.1
    trainings(monkeypatch, code=code, saved=saved)

    def fail(what):
        raise AssertionError(what)
    make = train_kills.Training
    monkeypatch.setattr(train_kills, "Training", lambda *words: types.SimpleNamespace(**vars(make(*words)), fail=fail))
    if not obeyed:
        with pytest.raises(AssertionError, match=f"SIGTERM at step 300 was answered with {code}"):
            train_kills.kill_training("one", "data", tmp_path, 1, Always(0), [].append)
    else:
        assert train_kills.kill_training("one", "data", tmp_path, 1, Always(0), [].append) == 1


@pytest.mark.slow
def test_every_strategy_stands_a_kill(tmp_path, capsys):
    place = tmp_path / "log.md"
    flags = types.SimpleNamespace(times=3, seed=1, log=str(place))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_kills.flags, "FLAGS", flags)
        train_kills.main(None)
    assert "3 kills in" in place.read_text() and place.read_text().count("tensors identical") >= 3
