import contextlib
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.run import Run
from keras_apps.strategy import make_strategy
from keras_apps.watch import Follow, Profile, WatchCollapse, sample
from tests.keras_apps.runs import small_config


class Images:
    """Row r is an image of its own: its one pixel says r."""

    def load(self, rows):
        return np.asarray(rows, np.float32)[:, None, None, None]


def fake_run(classes=8, each=6):
    labels = np.full(classes * each + 3, -1)
    labels[3:] = np.repeat(np.arange(classes), each)
    return types.SimpleNamespace(rows=np.flatnonzero(labels >= 0), labels=labels, images=Images())


def fake_loop(step, table):
    """A loop whose app embeds row r as table[r]."""
    table = tf.constant(table, tf.float32)
    app = types.SimpleNamespace(embed=lambda images: tf.gather(table, tf.cast(images[:, 0, 0, 0], tf.int32)))
    return types.SimpleNamespace(step=tf.constant(step), steps=100, app=app, position=lambda: step)


def learnt(run, dimensions=16):
    """Classes at the corners of a simplex, as a network that has learnt them by heart has them."""
    classes = run.labels.max() + 1
    return np.pad(np.eye(classes) - 1 / classes, [(0, 0), (0, dimensions - classes)])[run.labels]


def collapsed(run, dimensions=16):
    return 1 + 0.02 * np.random.default_rng(0).normal(size=(len(run.labels), dimensions))


def watched(run, table, steps, every=1):
    """The logs of these steps."""
    watcher, found = WatchCollapse(run, every), []
    for step in steps:
        logs = {"train/loss": 1.0}
        watcher(fake_loop(step, table), logs)
        found.append(logs)
    return found


def test_embeddings_that_are_not_finite_are_told_and_end_nothing(capsys):
    run = fake_run()
    table = learnt(run)
    table[run.rows[0]] = np.inf
    assert watched(run, table, range(1, 4)) == [{"train/loss": 1.0}] * 3
    assert capsys.readouterr().err.count("the embeddings are not finite at step 1; use a lower rate") == 1


def test_a_collapsed_network_is_told_once_in_words(capsys):
    run = fake_run()
    logs = watched(run, collapsed(run), range(1, 3))
    assert capsys.readouterr().err == "", "two looks may be chance"
    logs = watched(run, collapsed(run), range(1, 8))
    told = capsys.readouterr().err
    assert told.count("warning:") == 1 and told.count("\n") == 1
    assert "the 16-dimensional embeddings of 48 training images of 8 classes fill 1.0 dimensions" in told
    assert {"collapse/effective_rank", "collapse/alignment", "collapse/uniformity", "collapse/spread"} <= set(logs[0])


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 12])
def test_learnt_classes_are_not_taken_for_a_collapse(classes, capsys):
    run = fake_run(classes)
    watched(run, learnt(run), range(1, 8))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 12])
def test_a_point_is_a_collapse_whatever_the_number_of_classes(classes, capsys):
    run = fake_run(classes)
    watched(run, collapsed(run), range(1, 8))
    assert capsys.readouterr().err.count("warning:") == 1


def test_a_network_that_recovers_is_not_warned_of(capsys):
    run = fake_run()
    watcher, points, apart = WatchCollapse(run, 1), collapsed(run), learnt(run)
    watcher.embed = lambda images: tf.gather(tf.constant(table, tf.float32), tf.cast(images[:, 0, 0, 0], tf.int32))
    watcher.rows = sample(run.rows, run.labels)
    watcher.images = run.images.load(watcher.rows)
    for step in range(1, 13):
        table = points if step % 3 else apart
        watcher(fake_loop(step, table), {})
    assert capsys.readouterr().err == ""


def test_it_looks_every_so_often_and_first_after_a_restart():
    run = fake_run()
    for steps, looks in ((range(10, 210, 10), [10, 50, 100, 150, 200]), (range(70, 130, 10), [70, 100])):
        found = watched(run, learnt(run), steps, every=50)
        assert [step for step, logs in zip(steps, found) if "collapse/spread" in logs] == looks
    assert all("collapse/spread" not in logs for logs in watched(run, learnt(run), range(1, 5), every=0))


def test_an_app_that_does_not_embed_is_left_alone():
    logs = {"train/loss": 1.0}
    WatchCollapse(fake_run(), 1)(types.SimpleNamespace(step=tf.constant(1), app=object()), logs)
    assert logs == {"train/loss": 1.0}


def test_idle_pairs_are_told_once_after_long(capsys):
    watcher = WatchCollapse(None, 0)
    loop = types.SimpleNamespace(step=tf.constant(1), app=object())

    def log(*values):
        for value in values:
            watcher(loop, {"train/active": value})
        return capsys.readouterr().err
    assert log(*[0.0] * 9, 0.5, *[0.005] * 9) == ""
    told = log(0.005)
    assert "`train/active` is 0.005, below 0.01 for 10 logs: nothing is left to learn" in told
    assert log(*[0.0] * 20) == ""


def test_the_sample_holds_every_class_alike():
    run = fake_run(8, 100)
    rows = sample(run.rows, run.labels)
    assert len(rows) == len(set(rows)) == 256 and set(np.bincount(run.labels[rows])) == {32}
    many = fake_run(500, 3)
    rows = sample(many.rows, many.labels)
    assert len(np.unique(many.labels[rows])) == 64 and len(rows) == 192
    assert many.labels[rows].min() == 0 and many.labels[rows].max() == 499


def test_a_profile_covers_its_window_and_no_more(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append(("start", folder)))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append(("stop", step)))
    profile = Profile(str(tmp_path), 3, 5)
    for step in range(8):               # steps done before
        profile.at(step)
        assert profile.running == (step in (2, 3, 4)), "the 3rd, 4th and 5th step"
    assert calls == [("start", str(tmp_path / "tensorboard")), ("stop", 5)]
    assert str(tmp_path / "tensorboard" / "plugins" / "profile") in capsys.readouterr().err


def test_a_profile_of_the_last_steps_ends_with_the_run_and_one_of_none_says_so(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    profile = Profile(str(tmp_path), 3, 4)
    for step in range(4):
        profile.at(step)
    profile(types.SimpleNamespace(step=tf.constant(4), steps=4), {})
    assert calls == ["start", "stop"]
    capsys.readouterr()
    Profile(str(tmp_path), 7, 9)(types.SimpleNamespace(step=tf.constant(4), steps=4), {})
    assert "nothing was profiled: steps 7 to 9 are not among those of this session" in capsys.readouterr().err


@pytest.mark.parametrize("first, last", [(0, 3), (5, 4)])
def test_a_window_without_a_step_is_refused(first, last, tmp_path):
    with pytest.raises(ValueError, match=f"the steps to profile are {first} to {last} but"):
        Profile(str(tmp_path), first, last)


def test_a_profile_writes_its_files(tmp_path):
    profile = Profile(str(tmp_path), 1, 1)
    profile.at(0)
    tf.reduce_sum(tf.ones([8, 8]))
    profile.at(1)
    assert list((tmp_path / "tensorboard" / "plugins" / "profile").glob("*/*.xplane.pb"))


@pytest.mark.slow
@pytest.mark.parametrize("negatives, warnings", [(0.0, 1), (1.0, 0)])
def test_real_training_without_negatives_collapses_and_with_them_does_not(data, negatives, warnings, capsys):
    # No norm after the embedding: its batch statistics would keep images apart whatever the loss wants.
    config = small_config(steps=200, log_every=10, head="", norm="none", batch=12,
                          loss=f"contrastive(margin=1.0, negatives={negatives})")
    config.data.update(holdout=0.3)
    run = Run(config, str(data), make_strategy("one"))
    run.loop(None, [WatchCollapse(run, 20)]).run()
    assert capsys.readouterr().err.count("look alike to the network") == warnings


# ---- what an app wants watched

class Board:
    def __init__(self):
        self.drawn = []

    def pictures(self, step, pictures):
        self.drawn.append((step, sorted(pictures)))


def following(step, weights):
    """A loop whose app says by which weights it was asked."""
    @contextlib.contextmanager
    def averaged():
        weights.append("averaged")
        yield
        weights.pop()

    def follow(splits, step):
        return {"auc": 0.5 + step / 100, "averaged": float(weights == ["averaged"])}, {f"sheet of {splits}": None}
    return types.SimpleNamespace(step=tf.constant(step), averaged=averaged, app=types.SimpleNamespace(follow=follow))


def test_what_an_app_watches_is_asked_by_averaged_weights_every_so_often():
    board, weights, found = Board(), [], {}
    watcher = Follow(types.SimpleNamespace(splits="the splits"), 20, board)
    for step in range(5, 60, 5):
        logs = {"train/loss": 1.0}
        watcher(following(step, weights), logs)
        if len(logs) > 1:
            found[step] = logs
    assert list(found) == [5, 20, 40] and weights == []
    assert found[20] == {"train/loss": 1.0, "follow/auc": pytest.approx(0.7), "follow/averaged": 1.0}
    assert board.drawn == [(step, ["sheet of the splits"]) for step in (5, 20, 40)]


def test_without_follow_every_nothing_is_watched():
    board, logs = Board(), {"train/loss": 1.0}
    Follow(None, 0, board)(types.SimpleNamespace(step=tf.constant(20)), logs)
    assert logs == {"train/loss": 1.0} and board.drawn == []
