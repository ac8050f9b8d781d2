"""The loop: the arithmetic of one step, resume, averages, refusals."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.app import App
from keras_apps.loop import Loop
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
    with pytest.raises(ValueError, match="the weights are not finite at step 4"):
        loop.run()
    assert loop.manager.latest_checkpoint.endswith("ckpt-2")


def test_shards_that_are_not_finite_never_become_a_checkpoint(tmp_path):
    app, loop = trained("sharded", str(tmp_path))
    app.classes.scatter(np.full([11, 5], np.nan, np.float32))
    with pytest.raises(ValueError, match="the weights are not finite at step 0"):
        loop.save()
    assert loop.manager.latest_checkpoint is None


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
    with pytest.raises(ValueError, match="phase 'train' has a term named `loss` but that is the total's name in the "
                                         "log; give the term another name."):
        Loop(app, config, app.data, STRATEGY).run()

    class Broken(WeighedApp):
        def losses(self, phase, batch, seed, step):
            return {"main": batch["x"] * self.w / 0.0}, None
    app = Broken(config)
    with pytest.raises(ValueError, match="`train/main` is inf at step 1 of stage train but must be finite"):
        Loop(app, config, app.data, STRATEGY).run()
