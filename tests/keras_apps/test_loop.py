"""The loop: the arithmetic of one step, resume, averages, refusals."""

import os
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.app import App
from keras_apps.loop import Loop
from keras_apps.stopping import Stopping
from tests.contracts.dummies import APPS, Draws, GrowApp, QueueApp, dummy_config
from tests.contracts.replicas import state, values_of

STRATEGY = tf.distribute.get_strategy()


def trained(kind, workdir=None, actions=(), **words):
    config = dummy_config(groups=APPS[kind].groups, **words)
    app = APPS[kind](config)
    loop = Loop(app, config, app.data, STRATEGY, workdir, actions)
    return app, loop


class WeighedApp(App):
    """values x_i w with weights v_i; a second term is only logged."""

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.w, self.idle = tf.Variable(1.0), tf.Variable(5.0)

    def variables(self, stage, phase):
        return {"network": [self.w, self.idle]}

    def losses(self, phase, batch, seed, step):
        return {"main": (batch["x"] * self.w, batch["v"]), "shown": batch["x"]}, None

    def weights(self, phase, step):
        return {"main": 3.0}

    def data(self, stage):
        return Draws(lambda r: {"x": np.float32([1, 2, 3, 4]), "v": np.float32([1, 0, 0, 3])})


def test_a_step_is_the_weighted_mean_times_the_terms_weight():
    logged = []
    config = dummy_config(steps=1, batch=4, optimizer="sgd(rate=0.1, momentum=0.0)")
    app = WeighedApp(config)
    Loop(app, config, app.data, STRATEGY, None, [lambda loop, logs: logged.append(logs)]).run()
    slope = 3.0 * (1 * 1 + 4 * 3) / 4
    np.testing.assert_allclose(app.w.numpy(), 1 - 0.1 * slope, rtol=1e-6)
    assert app.idle.numpy() == 5.0, "a gradient of None leaves a variable untouched"
    np.testing.assert_allclose([logged[0]["train/main"], logged[0]["train/shown"], logged[0]["train/loss"]],
                               [slope / 3, 2.5, slope], rtol=1e-6)


def test_a_value_of_weight_zero_counts_for_nothing_even_where_it_is_not_finite():
    class Gaps(WeighedApp):
        def losses(self, phase, batch, seed, step):
            return {"main": (batch["x"] * self.w + np.float32([0, np.inf, np.nan, 0]), batch["v"])}, None
    config = dummy_config(steps=1, batch=4, optimizer="sgd(rate=0.1, momentum=0.0)")
    app = Gaps(config)
    Loop(app, config, app.data, STRATEGY).run()
    np.testing.assert_allclose(app.w.numpy(), 1 - 0.1 * 3.0 * (1 * 1 + 4 * 3) / 4, rtol=1e-6)


def test_the_logged_rate_is_the_one_the_step_was_taken_with():
    seen = []
    config = dummy_config(steps=4, batch=4, optimizer="sgd(rate=0.1, momentum=0.0)", schedule="cosine()")
    app = WeighedApp(config)
    Loop(app, config, app.data, STRATEGY, None,
         [lambda loop, logs: seen.append((logs["rate/network"], app.w.numpy()))]).run()
    rates, weights = np.transpose(seen)
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(4) / 4)), rtol=1e-5)
    np.testing.assert_allclose(-np.diff([1.0, *weights]), rates * 3.0 * (1 * 1 + 4 * 3) / 4, rtol=1e-5)


def test_a_group_of_local_variables_logs_its_rate():
    logged = []
    _, loop = trained("sharded", steps=1, optimizer="sgd(rate=0.25)", schedule="constant()",
                      actions=[lambda loop, logs: logged.append(logs)])
    loop.run()
    assert logged[0]["rate/classes"] == logged[0]["rate/network"] == 0.25


def test_clip_bounds_the_global_norm():
    config = dummy_config(steps=1, batch=4, optimizer="sgd(rate=1.0, momentum=0.0)", clip=0.5)
    app = WeighedApp(config)
    Loop(app, config, app.data, STRATEGY).run()
    np.testing.assert_allclose(app.w.numpy(), 0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", APPS)
def test_resume_gives_the_weights_of_an_undisturbed_run(kind, tmp_path):
    words = {"steps": 6, "optimizer": "adam(rate=0.01)", "ema": 0.9}
    whole, _ = trained(kind, **words)
    _, straight = trained(kind, str(tmp_path / "a"), **words)
    straight.run()

    class Killed(Exception):
        pass

    def kill(loop, logs):
        if loop.step.numpy() == 5:
            raise Killed

    app, loop = trained(kind, str(tmp_path / "b"), [kill], **words)
    with pytest.raises(Killed):
        loop.run()
    app, loop = trained(kind, str(tmp_path / "b"), **words)
    assert loop.restore() == 4
    loop.run()
    expected = state(straight.app)
    for name, value in state(app).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert len(loop.averages) == len(loop.trained) > 0
    for one, two in zip(values_of(loop.averages), values_of(straight.averages)):
        np.testing.assert_array_equal(one, two)


def test_a_finished_run_stays_as_it_is(tmp_path):
    app, loop = trained("mix", str(tmp_path))
    loop.run()
    app, loop = trained("mix", str(tmp_path), [lambda *_: pytest.fail("a step ran")])
    loop.run()
    assert loop.step.numpy() == loop.steps


@pytest.mark.parametrize("kind, read", [
    ("mix", lambda app: app.matrix.numpy()), ("sharded", lambda app: app.classes.gathered())])
def test_averages_follow_their_recursion_and_are_swapped_in_and_out(kind, read):
    seen = []
    app, loop = trained(kind, ema=0.9, actions=[lambda loop, logs: seen.append(read(loop.app))])
    average = read(app)
    loop.run()
    for t, value in enumerate(seen):
        average += (1 - min(0.9, (1 + t) / (10 + t))) * (value - average)
    with loop.averaged():
        np.testing.assert_allclose(read(app), average, atol=1e-6)
    np.testing.assert_array_equal(read(app), seen[-1])
    assert np.abs(average - seen[-1]).max() > 1e-3


def test_each_stage_goes_on_with_the_draws_after_those_of_the_stages_before(tmp_path):
    class Twice(GrowApp):
        def stages(self):
            first, second = super().stages()
            return {**first, "phases": {"train": 2}}, second

    seen = []

    def stop(loop, logs):
        seen.append(logs["train/draw"])
        if loop.step.numpy() == 5 and len(seen) == 5:
            raise KeyboardInterrupt
    config = dummy_config(steps=6)
    for last in (False, True):
        app = Twice(config)
        loop = Loop(app, config, app.data, STRATEGY, str(tmp_path), [stop])
        if last:
            loop.run()
        else:
            with pytest.raises(KeyboardInterrupt):
                loop.run()
    assert seen == [1, 3, 5, 6, 7, 7, 8], "two draws a step, then one; step 5 ran twice"


class RoundsApp(QueueApp):
    """Asks for host work before each of three rounds; the loss sees it by row."""

    steps, rounds = 6, 3

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.calls = []

    def stages(self):
        return ({"name": "train", "steps": self.steps, "phases": {"train": 1}, "batch": 4, "size": 1,
                 "rounds": self.rounds},)

    def between(self, stage, round, data):
        self.calls.append((stage, round))
        return {"target": np.float32([10 * round] * 4)}

    def losses(self, phase, batch, seed, step):
        values = tf.square(batch["memo"]["target"] - self.matrix[0, 0])
        return {"contrast": values, "seen": batch["memo"]["target"]}, None

    def after_step(self, phase, carry):
        pass

    def data(self, stage):
        class Rows:
            def dataset(self, start, replicas, here, memo):
                return tf.data.Dataset.from_tensors({"memo": dict(memo)}).repeat()
        return Rows()


def test_between_runs_before_each_round_and_survives_a_restart(tmp_path):
    config = dummy_config(checkpoint_every=3)
    app, seen = RoundsApp(config), []

    def stop(loop, logs):
        seen.append(logs["train/seen"])
        if loop.step.numpy() == 4 and len(seen) == 4:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        Loop(app, config, app.data, STRATEGY, str(tmp_path), [stop]).run()
    assert app.calls == [("train", 0), ("train", 1)]
    app = RoundsApp(config)
    Loop(app, config, app.data, STRATEGY, str(tmp_path), [stop]).run()
    assert app.calls == [("train", 2)], "the memo of the round it stopped in comes from the checkpoint"
    assert seen == [0, 0, 10, 10, 10, 20, 20]


def test_there_are_as_many_rounds_as_asked_for():
    class Uneven(RoundsApp):
        steps, rounds = 5, 4
    seen = []
    config = dummy_config()
    app = Uneven(config)
    Loop(app, config, app.data, STRATEGY, None, [lambda loop, logs: seen.append(logs["train/seen"])]).run()
    assert app.calls == [("train", number) for number in range(4)]
    assert seen == [0, 10, 20, 30, 30]


@pytest.mark.parametrize("asked", [0, 7])
def test_rounds_without_a_step_are_refused(asked):
    class Wrong(RoundsApp):
        rounds = asked
    config = dummy_config()
    app = Wrong(config)
    with pytest.raises(ValueError, match=rf"`rounds` of stage 'train' is {asked} but must lie in \[1, 6\], its steps"):
        Loop(app, config, app.data, STRATEGY)


def test_weights_that_are_not_finite_never_become_a_checkpoint(tmp_path):
    class Exploding(WeighedApp):
        def losses(self, phase, batch, seed, step):
            # The loss of step 4 is finite, its gradient is not.
            bad = tf.cast(step == 3, tf.float32)
            return {"main": batch["x"] * tf.sqrt(self.w * (1.0 - bad) + 0.0)}, None
    config = dummy_config(steps=8, batch=4, checkpoint_every=2, log_every=50, optimizer="sgd(rate=0.001)")
    app = Exploding(config)
    loop = Loop(app, config, app.data, STRATEGY, str(tmp_path))
    with pytest.raises(ValueError, match="`train/gradient_norm` is nan at step 4 of stage train"):
        loop.run()
    assert loop.checkpoints.manager.latest_checkpoint.endswith("ckpt-2")


def test_shards_that_are_not_finite_never_become_a_checkpoint(tmp_path):
    app, loop = trained("sharded", str(tmp_path))
    app.classes.scatter(np.full([11, 5], np.nan, np.float32))
    with pytest.raises(ValueError, match="the weights are not finite at step 0"):
        loop.save()
    assert loop.checkpoints.manager.latest_checkpoint is None


def test_refusals():
    config = dummy_config()
    app = APPS["gan"](config)
    with pytest.raises(ValueError, match=r"`optimizers` has no entry for \['critic', 'generator'\]"):
        Loop(app, config, app.data, STRATEGY)

    class WrongWeights(WeighedApp):
        def weights(self, phase, step):
            return {"mian": 1.0}
    app = WrongWeights(config)
    with pytest.raises(ValueError, match="`weights` names .'mian'. but phase 'train' has the terms .'main', 'shown'."):
        Loop(app, config, app.data, STRATEGY).run()

    class NoWeights(WeighedApp):
        def weights(self, phase, step):
            return {}
    app = NoWeights(config)
    with pytest.raises(ValueError, match="`weights` of phase 'train' is empty but must name a term; return at least "
                                         "one of .'main', 'shown'. with its weight."):
        Loop(app, config, app.data, STRATEGY).run()

    class Taken(WeighedApp):
        def losses(self, phase, batch, seed, step):
            return {"main": batch["x"] * self.w, "loss": batch["x"]}, None
    app = Taken(config)
    with pytest.raises(ValueError, match="phase 'train' has a term named `loss` but that is the loop's own name in the "
                                         "log; give the term another name."):
        Loop(app, config, app.data, STRATEGY).run()

    class Broken(WeighedApp):
        def losses(self, phase, batch, seed, step):
            return {"main": batch["x"] * self.w / 0.0}, None
    app = Broken(config)
    with pytest.raises(ValueError, match="`train/main` is inf at step 1 of stage train but must be finite"):
        Loop(app, config, app.data, STRATEGY).run()


# ---- judged on the way

LOOKS = {"evaluate_every": 1, "data": {"validation": 0.5}}


class Judge:
    """Gives figures in turn; notes the weights it was asked about."""

    def __init__(self, figures, read=lambda: None):
        self.figures, self.read, self.asked = iter(figures), read, []

    def __call__(self):
        self.asked.append(self.read())
        return {"auc": next(self.figures), "images": 4, "note": "no figure"}


def judged(figures, workdir=None, actions=(), stopping=None, kind="mix", **words):
    app = APPS[kind](dummy_config(**{"steps": 10, "log_every": 50, **LOOKS, **words}))
    judge = Judge(figures, lambda: app.matrix.numpy())
    return Loop(app, app.config, app.data, STRATEGY, workdir and str(workdir), actions, judge, stopping)


@pytest.mark.parametrize("words, figures, ended, reason, best", [
    ({"best": "auc", "patience": 2}, [0.5, 0.7, 0.6, 0.7, 0.9], 4, "patience", 2),       # as good is not better
    ({"best": "-auc", "patience": 2}, [0.5, 0.7, 0.4, 0.6, 0.4, 0.1], 5, "patience", 3),
    ({"best": "auc", "patience": 2, "min_delta": 0.1}, [0.5, 0.55, 0.62, 0.7, 0.71], 5, "patience", 3),
    ({"best": "-auc", "patience": 1, "min_delta": 0.1}, [0.5, 0.35, 0.3], 3, "patience", 2),
    ({"best": "auc", "patience": 1, "evaluate_every": 3}, [0.5, 0.4], 6, "patience", 3),
    ({"best": "auc"}, [0.5, 0.9, *[0.1] * 8], 10, "finished", 2),
    ({"best": "auc", "patience": 3}, [float("nan"), 0.4, 0.5, 0.6, float("nan"), 0.1, 0.2], 7, "patience", 4),
    ({}, [0.5] * 10, 10, "finished", None),
])
def test_training_ends_when_patience_does_and_keeps_the_best(tmp_path, words, figures, ended, reason, best):
    loop = judged(figures, tmp_path, **words)
    assert loop.run() == reason
    assert loop.position() == ended and loop.finished()
    kept = sorted(path.stem for path in (tmp_path / "best").glob("*.index"))
    assert kept == ([f"ckpt-{best}"] if best else [])
    assert loop.checkpoints.paths()[0].endswith(f"ckpt-{ended}"), "the end is saved whatever `checkpoint_every` says"
    asked, last = loop.judge.asked, loop.app.matrix.numpy()
    loop.restore_best()
    every = words.get("evaluate_every", 1)
    np.testing.assert_array_equal(loop.app.matrix.numpy(), asked[best // every - 1] if best else last)
    assert loop.position() == (best or ended)


def test_after_patience_the_run_is_finished_for_good(tmp_path):
    figures = [0.5, 0.4, 0.3]
    judged(figures, tmp_path, best="auc", patience=2).run()
    loop = judged([], tmp_path, [lambda *_: pytest.fail("a step ran")], best="auc", patience=2)
    assert loop.restore() == 3 and loop.finished()
    assert loop.run() == "patience" and loop.position() == 3


def test_a_restart_goes_on_counting_and_remembers_the_best(tmp_path):
    class Killed(Exception):
        pass

    def kill(loop, logs):
        if loop.position() == 4:
            raise Killed
    words = {"best": "auc", "patience": 3, "checkpoint_every": 1}
    with pytest.raises(Killed):
        judged([0.2, 0.8, 0.3, 0.3], tmp_path, [kill], **words).run()
    loop = judged([0.7, 0.7, 0.9, 0.9], tmp_path, **words)
    assert loop.restore() == 3 and loop.host.facts["waited"] == 1
    assert loop.run() == "patience" and loop.position() == 5
    loop.restore_best()
    assert loop.position() == 2


def test_the_judge_sees_averages_and_its_figures_are_logged():
    seen = []
    loop = judged([0.5, 0.25], steps=4, evaluate_every=2, ema=0.5, actions=[lambda loop, logs: seen.append(
        (loop.position(), logs, loop.app.matrix.numpy(), loop.averages[0].numpy()))])
    loop.run()
    found = {position: logs for position, logs, _, _ in seen}
    assert sorted(found) == [1, 2, 4], "looks are logged whatever `log_every` says"
    assert "validation/auc" not in found[1]
    assert [{name: value for name, value in found[step].items() if name.startswith("validation/")}
            for step in (2, 4)] == [{"validation/auc": 0.5}, {"validation/auc": 0.25}]
    (_, _, raw, average), = (each for each in seen if each[0] == 4)
    np.testing.assert_array_equal(loop.judge.asked[1], average)
    assert np.abs(raw - average).max() > 1e-4
    np.testing.assert_array_equal(loop.app.matrix.numpy(), raw)


@pytest.mark.parametrize("best", ["acu", "-images", "note"])
def test_a_metric_that_is_none_is_refused_by_those_that_are(best):
    with pytest.raises(ValueError, match="`best` is '[-a-z]+' but the evaluation gives auc; name one of them, with a "
                                         "minus where less is better"):
        judged([0.5], best=best).run()


def test_looks_change_nothing_of_the_training():
    """Averages are put in place for a look, and taken out again."""
    words = {"kind": "queue", "steps": 4, "ema": 0.5, "optimizer": "adam(rate=0.01)"}
    quiet = judged([], evaluate_every=0, data={"validation": 0.0}, **words)
    quiet.run()
    looked = judged([0.1, 0.2, 0.3, 0.4], best="auc", **words)
    looked.run()
    for name, value in state(quiet.app).items():
        np.testing.assert_array_equal(value, state(looked.app)[name], err_msg=name)
    np.testing.assert_array_equal(quiet.averages[0], looked.averages[0])
    assert all((read != quiet.app.matrix.numpy()).any() for read in looked.judge.asked)


# ---- stopped before the end

def stopped_at(step, stop):
    def action(loop, logs):
        if loop.position() == step:
            stop(loop)
    return action


def test_time_ends_a_run_which_goes_on_from_there(tmp_path):
    words = {"steps": 9, "checkpoint_every": 4, "log_every": 1, "optimizer": "adam(rate=0.01)"}
    _, straight = trained("mix", None, **words)
    assert straight.run() == "finished"
    app = APPS["mix"](dummy_config(**words))
    stopping = Stopping(minutes=1)

    def late(loop):
        stopping.start -= 61
    loop = Loop(app, app.config, app.data, STRATEGY, str(tmp_path), [stopped_at(2, late)], stopping=stopping)
    assert loop.run() == "time" and not loop.finished()
    assert [path.rpartition("-")[2] for path in loop.checkpoints.paths()] == ["3"], "saved at the next step, at once"
    _, loop = trained("mix", str(tmp_path), **words)
    assert loop.run() == "finished"
    np.testing.assert_array_equal(loop.app.matrix, straight.app.matrix)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_at_the_next_step_and_ends(tmp_path, number):
    _, straight = trained("mix", None, steps=6)
    straight.run()
    kill = stopped_at(3, lambda loop: os.kill(os.getpid(), number))
    _, loop = trained("mix", str(tmp_path), [kill], steps=6, checkpoint_every=50)
    assert loop.run() == "signal" and loop.stopping.signal == number.name
    assert (loop.position(), loop.finished()) == (4, False)
    _, loop = trained("mix", str(tmp_path), steps=6, checkpoint_every=50)
    assert loop.restore() == 4 and loop.run() == "finished"
    np.testing.assert_array_equal(loop.app.matrix, straight.app.matrix)


def test_a_signal_comes_before_time_and_patience(tmp_path):
    kill = stopped_at(1, lambda loop: os.kill(os.getpid(), signal.SIGTERM))
    loop = judged([0.5, 0.4], tmp_path, [kill], best="auc", patience=1)
    assert loop.run() == "signal" and loop.position() == 2


def test_a_second_ctrl_c_ends_without_a_checkpoint(tmp_path):
    def twice(loop):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)        # Python takes signals between two operations
    before = signal.getsignal(signal.SIGINT)
    _, loop = trained("mix", str(tmp_path), [stopped_at(1, twice)], steps=6, checkpoint_every=50)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert not loop.checkpoints.paths()
    assert signal.getsignal(signal.SIGINT) is before


# ---- actions

def test_actions_are_called_before_every_step_where_they_ask_for_it(tmp_path):
    class Both:
        def __init__(self):
            self.before, self.after = [], []

        def at(self, step):
            self.before.append(step)

        def __call__(self, loop, logs):
            self.after.append(loop.position())
    action = Both()
    _, loop = trained("grow", str(tmp_path), [action], steps=5, log_every=2)
    loop.run()
    assert action.before == [0, 1, 2, 3, 4], "through all stages"
    assert action.after == [1, 2, 4, 5], "the first and the last step are logged, too"
    action = Both()
    _, loop = trained("grow", str(tmp_path), [action], steps=5, log_every=2)
    loop.run()
    assert action.before == action.after == []
