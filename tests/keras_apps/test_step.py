"""The step: parts of a batch, the loss scale of float16, what is not finite; and which draw a step took."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.app import App
from keras_apps.loop import Loop
from keras_apps.step import FIRST_SCALE, HIGHEST_SCALE, draw_of, place_of
from tests.contracts.dummies import Draws, GanApp, GrowApp, MixApp, QueueApp, dummy_config
from tests.contracts.replicas import state

STRATEGY = tf.distribute.get_strategy()


def looped(kind, workdir=None, actions=(), groups=("network",), **words):
    app = kind(dummy_config(groups=groups, **words))
    return Loop(app, app.config, app.data, STRATEGY, workdir and str(workdir), actions)


# ---- a batch in parts

def apart(kind):
    """The app with terms of single examples."""
    class Apart(kind):
        def across(self):
            return False
    return Apart


@pytest.fixture(scope="module")
def at_once():
    return accumulated(1)


class ShortApp(apart(GanApp)):
    """Two critic batches a step."""

    def stages(self):
        stage, = super().stages()
        return ({**stage, "phases": {"critic": 2, "generator": 1}},)


def accumulated(parts):
    logged = []
    loop = looped(ShortApp, groups=GanApp.groups, steps=3, accumulate=parts, clip=1.0,
                  actions=[lambda loop, logs: logged.append(logs)])
    loop.run()
    logs = [{name: value for name, value in each.items() if name != "images_per_second"} for each in logged]
    return state(loop.app), logs


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_are_the_same_as_the_whole(at_once, parts):
    values, logs = accumulated(parts)
    expected, told = at_once
    fresh = state(GanApp(dummy_config(groups=GanApp.groups)))
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)
        assert np.abs(value - fresh[name]).max() > 1e-3
    for ours, theirs in zip(logs, told, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6), "terms, loss, norm and rates"


@pytest.mark.parametrize("kind, words, match", [
    (GanApp, {"accumulate": 2}, "`accumulate` is 2 but `dummy` has a term that looks across the batch"),
    (apart(MixApp), {"accumulate": 2}, "`accumulate` is 2 but term 'consistency' of phase 'train' has weights"),
    (apart(QueueApp), {"accumulate": 4}, "`accumulate` is 4 but phase 'train' carries something to `after_step`"),
    (apart(GanApp), {"accumulate": 3}, "`accumulate` is 3 but a replica's part of the batch holds 16 rows"),
])
def test_what_cannot_be_computed_in_parts_is_refused(kind, words, match):
    with pytest.raises(ValueError, match=match):
        looped(kind, groups=kind.groups, steps=1, **words).run()


# ---- float16

class HalfApp(App):
    """Slopes of the input / sqrt(2) in float16: 8 overflows while the scale is at its first value."""

    large = ()      # draws of 8 instead of 1/8

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.w, self.updates = tf.Variable([1.0, 2.0]), tf.Variable(0.0, trainable=False)

    def variables(self, stage, phase):
        return {"network": [self.w]}

    def losses(self, phase, batch, seed, step):
        return {"main": tf.cast(tf.reduce_sum(tf.cast(self.w, tf.float16)) * batch["x"], tf.float32)}, None

    def weights(self, phase, step):
        return {"main": 1.0}

    def after_step(self, phase, carry):
        self.updates.assign_add(1.0)

    def data(self, stage):
        whole = Draws(lambda random: {"x": np.full(4, 0.125, np.float16)})

        class Large:
            def dataset(self, *words):
                return whole.dataset(*words).map(lambda batch: {**batch, "x": tf.where(
                    tf.reduce_any(batch["draw"][0] == large), tf.constant(8.0, tf.float16), batch["x"])})
        large = tf.constant([-1.0, *self.large])
        return Large()


HALF = {"precision": "float16", "optimizer": "sgd(rate=0.1, momentum=0.9)", "batch": 4, "ema": 0.5}


def test_an_overflow_leaves_everything_untouched_and_halves_the_scale():
    class Overflowing(HalfApp):
        large = (2.0,)
    seen = []
    loop = looped(Overflowing, steps=5, **HALF, actions=[lambda loop, logs: seen.append(
        (loop.app.w.numpy(), loop.groups.optimizers["network"].momentums[0].numpy(), loop.app.updates.numpy(),
         loop.arithmetic.scale.numpy(), loop.arithmetic.sound.numpy(), logs))])
    loop.run()
    ws, velocities, after, scales, sounds, logs = zip(*seen)
    np.testing.assert_array_equal(ws[2], ws[1])
    np.testing.assert_array_equal(velocities[2], velocities[1])
    assert np.abs(velocities[1]).min() > 0
    assert after == (1, 2, 2, 3, 4), "queues and centres do not learn from what overflowed either"
    assert scales == (FIRST_SCALE,) * 2 + (FIRST_SCALE / 2,) * 3 and sounds == (1, 2, 0, 1, 2)
    velocity, w = 0.0, np.array([1.0, 2.0])
    for found, slope in zip(ws, (0.125, 0.125, None, 0.125, 0.125)):
        if slope:
            velocity = 0.9 * velocity - 0.1 * slope
            w = w + velocity
        np.testing.assert_allclose(found, w, rtol=1e-3)
    assert logs[0]["train/main"] == pytest.approx(3 * 0.125, rel=1e-3), "the scale is in no logged figure"
    assert logs[0]["train/gradient_norm"] == pytest.approx(0.125 * 2 ** 0.5, rel=1e-3)
    assert [each["train/scale"] for each in logs] == [FIRST_SCALE] * 3 + [FIRST_SCALE / 2] * 2


def test_2000_sound_steps_double_the_scale_up_to_its_bound():
    class Wide(HalfApp):
        def losses(self, phase, batch, seed, step):
            return {"main": tf.reduce_sum(self.w) * tf.cast(batch["x"], tf.float32)}, None
    seen = []
    loop = looped(Wide, steps=4, **HALF)
    scale, sound = loop.arithmetic.scale, loop.arithmetic.sound
    sound.assign(1998)

    def act(loop, logs):
        seen.append((scale.numpy(), sound.numpy()))
        if len(seen) == 3:
            scale.assign(HIGHEST_SCALE)
            sound.assign(1999)
    loop.actions.append(act)
    loop.run()
    assert seen == [(FIRST_SCALE, 1999), (2 * FIRST_SCALE, 0), (2 * FIRST_SCALE, 1), (HIGHEST_SCALE, 0)]


def test_scale_and_count_survive_a_restart(tmp_path):
    class Overflowing(HalfApp):
        large = (1.0,)
    words = {**HALF, "steps": 6}
    straight = looped(Overflowing, tmp_path / "a", **words)
    straight.run()

    def stop(loop, logs):
        if loop.position() == 5:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        looped(Overflowing, tmp_path / "b", [stop], **words).run()
    loop = looped(Overflowing, tmp_path / "b", **words)
    assert loop.restore() == 4
    assert (loop.arithmetic.scale.numpy(), loop.arithmetic.sound.numpy()) == (FIRST_SCALE / 2, 2)
    loop.run()
    np.testing.assert_array_equal(loop.app.w, straight.app.w)
    assert loop.arithmetic.sound.numpy() == straight.arithmetic.sound.numpy() == 4


def test_an_overflow_that_no_scale_mends_ends_the_run():
    class Hopeless(HalfApp):
        def losses(self, phase, batch, seed, step):
            # The value is finite, its slope infinite whatever the scale.
            return {"main": batch["x"] * tf.cast(tf.sqrt(self.w[0] - 1.0), tf.float16)}, None
    loop = looped(Hopeless, steps=30, **{**HALF, "optimizer": "sgd(rate=0.1)"})
    with pytest.raises(ValueError, match=r"is (nan|inf) at step 16 of stage train but must be finite"):
        loop.run()
    np.testing.assert_array_equal(loop.app.w, [1.0, 2.0])
    assert loop.arithmetic.scale.numpy() == 1.0


# ---- not finite

def spoilt(kind, name, draw):
    """The app with a NaN among the values `name` of one draw."""
    class Spoilt(kind):
        def data(self, stage):
            whole = super().data(stage)

            def spoil(batch):
                bad = tf.where(batch["draw"][0] == draw, np.float32(np.nan), 0.0)
                return {**batch, name: batch[name] + bad * tf.cast(tf.one_hot(3, batch[name].shape[0])[:, None] > 0,
                                                                   tf.float32)}

            class Data:
                def dataset(self, *words):
                    return whole.dataset(*words).map(spoil)
            return Data()
    return Spoilt


def drawn(kind, name, draw, stage):
    """The batch of a draw as `spoilt` gives it."""
    app = spoilt(kind, name, draw)(dummy_config(groups=kind.groups, steps=8))
    return next(app.data(app.stages()[stage]).dataset(draw, 1, (0,), {}).as_numpy_iterator())


@pytest.mark.parametrize("kind, name, draw, stage, step, log_every, match", [
    # Step s of the first takes the draws 6 s to 6 s + 5, five of them for the critic.
    (GanApp, "real", 15, 0, 3, 50, "the loss of 'critic', or its gradient, is not finite at step 3 of stage gan"),
    (GanApp, "noise", 17, 0, 3, 1, "`generator/fool` is nan at step 3 of stage gan but must be finite"),
    (GrowApp, "y", 6, 1, 7, 1, "`train/error` is nan at step 7 of stage large"),
])
def test_the_batch_that_was_not_finite_is_kept(tmp_path, kind, name, draw, stage, step, log_every, match):
    loop = looped(spoilt(kind, name, draw), tmp_path, groups=kind.groups, steps=8, log_every=log_every)
    with pytest.raises(ValueError, match=match) as told:
        loop.run()
    path = tmp_path / "not_finite" / f"step-{step}.npz"
    assert str(told.value).endswith(f"(its batch is in {path}).")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    kept, expected = dict(np.load(path)), drawn(kind, name, draw, stage)
    assert set(kept) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(kept[key], value)
    assert np.isnan(kept[name]).any()
    saved = sorted(file.name for file in (tmp_path / "checkpoints").glob("*.index"))
    assert saved[-1] == f"ckpt-{(step - 1) // 2 * 2}.index", "nothing is saved after it"


def test_every_occurrence_has_a_place_and_a_draw_of_its_own():
    stage = {"first": 4, "phases": {"a": 2, "b": 1, "c": 3}}
    drawn = [draw_of(stage, step, place_of(stage, phase, occurrence)) for step in (4, 5, 6)
             for phase, times in stage["phases"].items() for occurrence in range(times)]
    assert drawn == list(range(18)), "the order in which a step takes them"


class SeededApp(App):
    """Logs a number drawn from the seed, and its square, one a part of the batch."""

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.w = tf.Variable(1.0)

    def across(self):
        return False

    def stages(self):
        stage, = super().stages()
        return ({**stage, "phases": {"one": 2, "two": 1}},)

    def variables(self, stage, phase):
        return {"network": [self.w]}

    def losses(self, phase, batch, seed, step):
        drawn = tf.random.stateless_uniform([1], seed)
        return {"main": batch["draw"] * self.w, "drawn": drawn, "square": drawn ** 2}, None

    def weights(self, phase, step):
        return {"main": 1.0}

    def data(self, stage):
        class Rows:
            def dataset(self, *words):
                return tf.data.Dataset.from_tensors({"draw": tf.zeros(4)}).repeat()
        return Rows()


def test_seeds_differ_by_step_occurrence_and_part_and_come_back():
    def drawn(**words):
        seen = []
        looped(SeededApp, steps=3, **words, actions=[lambda loop, logs: seen.extend(
            (logs[f"{phase}/drawn"], logs[f"{phase}/square"]) for phase in ("one", "two"))]).run()
        return np.transpose(seen)
    (first, squares), (again, _), (other, _) = drawn(), drawn(), drawn(seed=1)
    assert len({*first, *other}) == 12 and list(first) == list(again)
    np.testing.assert_allclose(squares, first ** 2, rtol=1e-5)
    means, squares = drawn(accumulate=4)
    assert (squares - means ** 2).min() > 1e-3, "each part draws its own number"
