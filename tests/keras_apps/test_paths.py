"""Variables by path: everything is there, once, by the shortest way."""

import re

import pytest
import tensorflow as tf

from keras_apps.app import App
from keras_apps.local import LocalVariable, parts_of
from keras_apps.paths import inside, paths_of
from tests.contracts.dummies import APPS, dummy_config


class Head(tf.Module):
    """Local variables are no trackables, what holds them may be one."""

    def __init__(self):
        super().__init__()
        self.classes = LocalVariable([[1.0], [2.0]])
        self.local = [self.classes]


class PlainHead:
    """Or none."""

    def __init__(self):
        self.classes, self.more = LocalVariable([[1.0], [2.0]]), [LocalVariable([[4.0]])]


class Inner(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.stages = [tf.keras.Sequential([tf.keras.layers.Dense(2), tf.keras.layers.ReLU()]) for _ in range(11)]
        self.norm = tf.keras.layers.BatchNormalization()

    def call(self, x):
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)


class WholeApp(App):
    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.network = Inner()
        self.network(tf.zeros([1, 3]))
        self.deep = {"a": {"b": self.network.stages[0]}}
        self.second = self.network
        self.teacher = tf.Variable([1.0])
        self.again = [self.teacher, tf.Variable(2.0)]
        self.head, self.other, self.plain = Head(), PlainHead(), [LocalVariable([[3.0]])]
        self.itself = self

    def variables(self, stage, phase):
        return {"network": self.network.trainable_variables}


@pytest.fixture(scope="module")
def app():
    return WholeApp(dummy_config())


def test_a_path_is_the_shortest_way(app):
    paths = paths_of(app)
    assert paths["network/norm/gamma"] is app.network.norm.gamma
    kernels = [path for path in paths if path.endswith("kernel")]
    assert all(re.fullmatch(r"network/stages/\d+/layer[\w-]*-0/kernel", path) for path in kernels)
    assert [int(path.split("/")[2]) for path in kernels] == list(range(11)), "not by the four words through `deep`"
    assert paths["teacher"] is app.teacher and paths["again/1"] is app.again[1]
    assert not any(path.startswith(("second", "itself")) or path == "again/0" for path in paths)


@pytest.mark.parametrize("path, found", [
    ("head/classes", lambda app: app.head.classes), ("plain/0", lambda app: app.plain[0]),
    ("other/classes", lambda app: app.other.classes), ("other/more/0", lambda app: app.other.more[0])])
def test_local_variables_have_paths_wherever_they_are_held(app, path, found):
    assert paths_of(app).get(path) is found(app)


def test_everything_has_one_path(app):
    found = list(paths_of(app).values())
    assert len({id(v) for v in found}) == len(found)
    plain = [v for v in found if not isinstance(v, LocalVariable)]
    assert {id(v) for v in plain} == {id(v) for v in (*app.network.variables, app.teacher, *app.again)}


@pytest.mark.parametrize("kind", APPS)
def test_everything_the_dummies_train_has_a_path(kind):
    app = APPS[kind](dummy_config(groups=APPS[kind].groups))
    known = {id(part) for v in paths_of(app).values() for part in (v, *parts_of([v]))}
    for stage in app.stages():
        for phase in stage["phases"]:
            for variables in app.variables(stage["name"], phase).values():
                assert variables and known >= {id(v) for v in variables}


def test_paths_are_the_same_for_another_of_the_kind(app):
    assert list(paths_of(app)) == list(paths_of(WholeApp(dummy_config())))


def test_checkpoints_name_variables_by_the_same_paths(app, tmp_path):
    """`start_from` finds them by that."""
    stored = dict(tf.train.list_variables(tf.train.Checkpoint(app=app).write(str(tmp_path / "c"))))
    paths = paths_of(app)
    for path, variable in paths.items():
        if not isinstance(variable, LocalVariable):
            assert stored[f"app/{path}/.ATTRIBUTES/VARIABLE_VALUE"] == variable.shape.as_list()


@pytest.mark.parametrize("path, prefix, expected", [
    ("network/stages/1/kernel", "network/stages/1", True), ("network/stages/10/kernel", "network/stages/1", False),
    ("network", "network", True), ("network", "network/stages", False), ("networks/a", "network", False),
    ("anything", "", True),
])
def test_inside(path, prefix, expected):
    assert inside(path, prefix) is expected
