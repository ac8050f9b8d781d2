"""Groups of variables: slower and later rates, decay, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.app import App
from keras_apps.loop import Loop
from tests.contracts.dummies import APPS, Draws, dummy_config

STRATEGY = tf.distribute.get_strategy()
PLAIN = "sgd(rate=1.0, momentum=0.0)"


class LayersApp(App):
    """Loss = the sum of all weights, so that with plain SGD of rate 1 a step moves each by its own factor."""

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.stem = tf.Variable(0.0)
        self.blocks = [{"kernel": tf.Variable(0.0), "bias": tf.Variable(0.0)} for _ in range(11)]

    def variables(self, stage, phase):
        return {"network": [self.stem, *(v for block in self.blocks for v in block.values())]}

    def losses(self, phase, batch, seed, step):
        return {"sum": tf.add_n(self.variables(None, phase)["network"]) + batch["zero"]}, None

    def weights(self, phase, step):
        return {"sum": 1.0}

    def data(self, stage):
        return Draws(lambda random: {"zero": np.zeros(2, np.float32)})

    def moved(self):
        """{path: how far}."""
        return {"stem": -self.stem.numpy(), **{f"blocks/{i}/{name}": -v.numpy() for i, block in enumerate(self.blocks)
                                               for name, v in block.items()}}


def looped(kind=LayersApp, actions=(), groups=("network",), **words):
    app = kind(dummy_config(groups=groups, **{"optimizer": PLAIN, "steps": 1, **words}))
    return Loop(app, app.config, app.data, STRATEGY, None, actions)


@pytest.mark.parametrize("rates, expected", [
    ((), {}),
    (("layers(path='stem', factor=0.5)",), {"stem": 0.5}),
    (("layers(path='blocks/1', factor=0.25)",), {"blocks/1/kernel": 0.25, "blocks/1/bias": 0.25}),
    (("layers(path='blocks/3/bias', factor=0.0)",), {"blocks/3/bias": 0.0}),
    # Place 10 comes after place 9, not after place 1.
    (("depth(path='blocks', decay=0.5)",), {f"blocks/{i}/{name}": 0.5 ** (10 - i)
                                            for i in range(11) for name in ("kernel", "bias")}),
    (("layers(path='', factor=0.5)", "layers(path='blocks/2', factor=0.5)", "depth(path='blocks/2', decay=0.5)"),
     {**{f"blocks/{i}/{name}": 0.5 for i in range(11) for name in ("kernel", "bias")}, "stem": 0.5,
      "blocks/2/bias": 0.125, "blocks/2/kernel": 0.25}),
    # 0.1 x 0.7 is not quite 0.07: two optimizers of nearly the same rate.
    (("layers(path='blocks', factor=0.1)", "layers(path='blocks/0', factor=0.7)", "layers(path='stem', factor=0.07)"),
     {**{f"blocks/{i}/{name}": 0.1 if i else 0.07 for i in range(11) for name in ("kernel", "bias")}, "stem": 0.07}),
])
def test_every_weight_moves_by_the_product_of_its_factors(rates, expected):
    loop = looped(rates=rates)
    loop.run()
    moved = loop.app.moved()
    assert set(expected) <= set(moved)
    for path, distance in moved.items():
        assert distance == pytest.approx(expected.get(path, 1.0), abs=1e-6), path


def test_a_later_start_leaves_weights_and_averages_untouched_before():
    seen = []
    loop = looped(rates=("layers(path='blocks', factor=0.5, start=2)", "layers(path='blocks/0', start=1)"), steps=4,
                  ema=0.5, optimizer="sgd(rate=1.0, momentum=0.9, decay=0.1)",
                  actions=[lambda loop, logs: seen.append((loop.app.moved(), logs))])
    average = loop.averages[[v is loop.app.blocks[1]["kernel"] for v in loop.trained].index(True)]
    loop.actions.append(lambda loop, logs: average.numpy() == 0.0 or loop.position() > 2 or pytest.fail("moved"))
    loop.run()
    late = [[moved[path] for moved, _ in seen] for path in ("blocks/0/kernel", "blocks/1/kernel", "blocks/10/bias")]
    assert all(each[:2] == [0, 0] and each[2] > 0 for each in late), "of several starts the latest counts"
    assert all(moved["stem"] > 0 for moved, _ in seen)
    assert average.numpy() < 0
    rates = [logs["rate/network_x0.5_from_2"] for _, logs in seen]
    assert rates == [0, 0, 0.5, 0.5] and {logs["rate/network"] for _, logs in seen} == {1.0}


def test_shares_of_classes_have_rates_of_their_own():
    def moved(rates, steps=1):
        loop = looped(APPS["sharded"], groups=("network", "classes"), rates=rates, steps=steps)
        before = [loop.app.matrix.numpy(), loop.app.classes.gathered()]
        loop.run()
        return [after - old for after, old in zip([loop.app.matrix.numpy(), loop.app.classes.gathered()], before)]
    whole = moved(())
    slower = moved(("layers(path='classes', factor=0.25)",))
    assert min(np.abs(part).max() for part in whole) > 1e-2
    np.testing.assert_allclose(slower[0], whole[0], atol=1e-6)
    np.testing.assert_allclose(slower[1], 0.25 * whole[1], atol=1e-6)
    late = moved(("layers(path='classes', start=1)",))
    assert not late[1].any() and late[0].any()


@pytest.mark.parametrize("rates", [(), ("layers(path='blocks/1', factor=0.5)",)])
def test_decay_leaves_out_what_the_optimizer_excludes_in_every_part_of_a_group(rates):
    class Decayed(LayersApp):
        def __init__(self, config, info=None):
            super().__init__(config, info)
            self.blocks = [{name: tf.Variable(1.0, name=name) for name in ("kernel", "gamma", "beta", "bias")}
                           for _ in range(2)]

        def losses(self, phase, batch, seed, step):
            terms, _ = super().losses(phase, batch, seed, step)
            return {"sum": 0.0 * terms["sum"]}, None
    loop = looped(Decayed, optimizer="sgd(rate=1.0, decay=0.5)", rates=rates)
    loop.run()
    kept = [{name: v.numpy() for name, v in block.items()} for block in loop.app.blocks]
    unmoved = {"gamma": 1.0, "beta": 1.0, "bias": 1.0}
    assert kept == [{**unmoved, "kernel": 0.5}, {**unmoved, "kernel": 0.75 if rates else 0.5}]


@pytest.mark.parametrize("text, match", [
    ("layers(path='block', factor=0.1)", r"nothing that is trained lies there; there are blocks/0/bias, blocks/0/kern"),
    ("depth(path='network', decay=0.5)", "nothing that is trained lies there; there are blocks/0/bias"),
    ("layrs(path='stem')", "but must be like \"layers"),
    ("layers(pth='stem')", "but must be like \"layers"),
    ("layers()", "but must be like \"layers"),
    ("depth(path='blocks')", "but must be like \"layers"),
    ("layers(path='stem', factor=-0.1)", "factors and starts must not be negative"),
    ("layers(path='stem', start=-1)", "factors and starts must not be negative"),
    ("layers(path='stem', factor='half')", "`rates` has .layers.path='stem', factor='half'.. but"),
    ("depth(path='blocks', decay='half')", "`rates` has .depth.path='blocks', decay='half'.. but"),
    ("layers(path='stem', factor=1e999)", "`rates` has .layers.path='stem', factor=1e999.. but"),
])
def test_rates_that_say_nothing_are_refused(text, match):
    with pytest.raises(ValueError, match=match):
        looped(rates=(text,))


def test_rates_of_what_is_not_trained_are_refused():
    class Idle(LayersApp):
        def __init__(self, config, info=None):
            super().__init__(config, info)
            self.idle = tf.Variable(0.0, trainable=False)
    with pytest.raises(ValueError, match="nothing that is trained lies there"):
        looped(Idle, rates=("layers(path='idle')",))


def test_an_optimizer_without_a_group_is_refused():
    with pytest.raises(ValueError, match="`optimizers.head` names no group that is trained; these are network"):
        looped(groups=("network", "head"))


def test_an_empty_optimizer_is_none():
    config = dummy_config(steps=1, optimizer=PLAIN, groups=("network", "head"))
    with config.unlocked():
        config.optimizers = {"network": PLAIN, "head": ""}
    app = LayersApp(config)
    assert list(Loop(app, config, app.data, STRATEGY, None, ()).groups.optimizers) == ["network"]
    with config.unlocked():
        config.optimizers = {"network": ""}
    with pytest.raises(ValueError, match=r"`optimizers` has no entry for \['network'\].* \(it has \[\]\)"):
        Loop(app, config, app.data, STRATEGY, None, ())


def test_each_group_has_an_optimizer_of_its_own():
    config = dummy_config(steps=1, groups=("network", "classes"))
    with config.unlocked():
        config.optimizers = {"network": "sgd(rate=0.5, momentum=0.0)", "classes": "adam(rate=0.01)"}
    app, logged = APPS["sharded"](config), []
    before = app.classes.gathered()
    Loop(app, config, app.data, STRATEGY, None, [lambda loop, logs: logged.append(logs)]).run()
    assert (logged[0]["rate/network"], logged[0]["rate/classes"]) == (0.5, pytest.approx(0.01))
    np.testing.assert_allclose(np.abs(app.classes.gathered() - before), 0.01, rtol=1e-2), "Adam's first step"


class Alternating(LayersApp):
    """Two phases: the second moves one of the first's variables by an optimizer of its own."""

    def stages(self):
        stage, = super().stages()
        return ({**stage, "phases": {"all": 1, "stem": 1}},)

    def variables(self, stage, phase):
        return {"slow": [self.stem]} if phase == "stem" else {"network": super().variables(stage, phase)["network"]}

    def losses(self, phase, batch, seed, step):
        return {"sum": tf.add_n(super().variables(None, phase)["network"]) + batch["zero"]}, None


def test_a_variable_may_be_in_another_group_in_another_phase():
    config = dummy_config(steps=3, groups=("network", "slow"), ema=0.5)
    with config.unlocked():
        config.optimizers = {"network": "sgd(rate=1.0, momentum=0.0)", "slow": "sgd(rate=0.125, momentum=0.5)"}
    app = Alternating(config)
    loop = Loop(app, config, app.data, STRATEGY, None, ())
    loop.run()
    moved = app.moved()
    assert moved["blocks/0/kernel"] == pytest.approx(3.0), "by one group alone"
    # Momentum of the own optimizer alone: 1, 1.5, 1.75 times its rate, beside three steps of the other.
    assert moved["stem"] == pytest.approx(3.0 + 0.125 * (1 + 1.5 + 1.75))
    assert len(loop.averages) == len(loop.trained) == 23, "one average of each"


def test_a_variable_in_two_groups_of_a_phase_is_refused():
    class Twice(LayersApp):
        def variables(self, stage, phase):
            return {"fast": [self.stem], "slow": [self.stem]}
    with pytest.raises(ValueError, match="is in the groups 'fast' and 'slow' of phase 'train' but one optimizer must"):
        looped(Twice, groups=("fast", "slow"))
