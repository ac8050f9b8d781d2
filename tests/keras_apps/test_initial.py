"""Starting from another run's encoder: which weights are taken, and what is refused."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.app import App
from keras_apps.initial import start_from
from keras_apps.loop import Loop
from tests.contracts.dummies import Draws, dummy_config, weights

STRATEGY = tf.distribute.get_strategy()


class Network(tf.Module):
    def __init__(self, seed, width, classes):
        super().__init__()
        self.backbone = {"first": weights((3, width), seed, "first"), "norm": tf.Variable(tf.zeros(width))}
        self.embedding = weights((width, classes), seed + 1, "embedding")


class EncoderApp(App):
    """A backbone and an embedding, and what a run has beside its network."""

    def __init__(self, config, info=None, seed=1, width=4, classes=2, network=None):
        super().__init__(config, info)
        self.network = network or Network(seed, width, classes)
        self.head = weights((classes, 5), seed + 2, "head")

    def variables(self, stage, phase):
        return {"network": [self.network.backbone["first"], self.network.embedding, self.head]}

    def losses(self, phase, batch, seed, step):
        hidden = tf.tanh(batch["x"] @ self.network.backbone["first"])
        return {"error": tf.reduce_sum(tf.square(hidden @ self.network.embedding @ self.head - 1.0), 1)}, None

    def weights(self, phase, step):
        return {"error": 1.0}

    def after_step(self, phase, carry):
        self.network.backbone["norm"].assign_add(tf.ones_like(self.network.backbone["norm"]))

    def data(self, stage):
        return Draws(lambda random: {"x": random.normal(size=(8, 3)).astype(np.float32)})


def trained(workdir, **words):
    app = EncoderApp(dummy_config(steps=4, **words))
    loop = Loop(app, app.config, app.data, STRATEGY, str(workdir))
    loop.run()
    return loop


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run that keeps averages."""
    return trained(tmp_path_factory.mktemp("averaged"), ema=0.9)


def values(app):
    return {"first": app.network.backbone["first"].numpy(), "norm": app.network.backbone["norm"].numpy(),
            "embedding": app.network.embedding.numpy(), "head": app.head.numpy()}


def test_averaged_weights_are_taken_where_there_are_some(averaged):
    app = EncoderApp(dummy_config(), seed=20)
    head, raw = app.head.numpy(), values(averaged.app)
    said = start_from(app, averaged.workdir)
    with averaged.averaged():
        expected = values(averaged.app)
    found = values(app)
    for name in ("first", "norm", "embedding"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert np.abs(found["first"] - raw["first"]).max() > 1e-4
    np.testing.assert_array_equal(found["norm"], 4.0, "statistics have no averages and come as they are")
    np.testing.assert_array_equal(found["head"], head, "the other run's classes are not ours")
    assert said == f"3 of 3 variables of the network come from {averaged.workdir}/checkpoints/ckpt-4"


def test_without_averages_the_weights_themselves_are_taken(tmp_path):
    loop, app = trained(tmp_path), EncoderApp(dummy_config(), seed=20)
    start_from(app, str(tmp_path))
    np.testing.assert_array_equal(app.network.backbone["first"], loop.app.network.backbone["first"])


def test_an_embedding_of_another_length_starts_anew_and_is_told(averaged):
    app = EncoderApp(dummy_config(), seed=20, classes=7)
    before = app.network.embedding.numpy()
    said = start_from(app, averaged.workdir)
    assert said.startswith("2 of 3 variables of the network come from") and said.endswith("; new: network/embedding")
    np.testing.assert_array_equal(app.network.embedding, before)
    np.testing.assert_array_equal(app.network.backbone["norm"], 4.0)


def test_another_width_is_refused_by_the_variables_name(averaged):
    app = EncoderApp(dummy_config(), seed=20, width=6)
    before = values(app)
    with pytest.raises(ValueError, match=r"`init` is .* but its backbone is another one: `network/backbone/first` has "
                                         r"the shape \[3, 4\] there and has the shape \[3, 6\] here; use the same"):
        start_from(app, averaged.workdir)
    for name, value in values(app).items():
        np.testing.assert_array_equal(value, before[name], "nothing is taken by halves")


def test_a_backbone_with_more_layers_is_refused_by_the_variables_name(averaged):
    network = Network(20, 4, 2)
    network.backbone = {**network.backbone, "second": tf.Variable([1.0])}
    app = EncoderApp(dummy_config(), network=network)
    with pytest.raises(ValueError, match=r"`network/backbone/second` is not there and has the shape \[1\] here"):
        start_from(app, averaged.workdir)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_the_list_of_checkpoints_is_not_needed(averaged, tmp_path, content):
    listing = pathlib.Path(shutil.copytree(averaged.workdir, tmp_path / "run")) / "checkpoints" / "checkpoint"
    listing.unlink() if content is None else listing.write_bytes(content)
    app = EncoderApp(dummy_config(), seed=20)
    start_from(app, str(tmp_path / "run"))
    np.testing.assert_array_equal(app.network.backbone["norm"], 4.0)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("file"),
                                  lambda path: (path / "checkpoints").mkdir(parents=True)])
def test_a_folder_without_a_checkpoint_is_refused(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(ValueError, match="`init` is .*run but holds no checkpoint; name the --workdir of a"):
        start_from(EncoderApp(dummy_config()), str(tmp_path / "run"))


def test_a_checkpoint_of_something_else_is_refused_in_one_sentence(tmp_path):
    tf.train.CheckpointManager(tf.train.Checkpoint(v=tf.Variable(1.0)), str(tmp_path / "checkpoints"), 1).save()
    with pytest.raises(ValueError, match="`init` is "):
        start_from(EncoderApp(dummy_config()), str(tmp_path))


def test_a_damaged_newest_checkpoint_gives_way_or_is_told(averaged, tmp_path):
    """As in a restart of the run itself."""
    workdir = pathlib.Path(shutil.copytree(averaged.workdir, tmp_path / "run"))
    data = workdir / "checkpoints" / "ckpt-4.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    app = EncoderApp(dummy_config(), seed=20)
    try:
        start_from(app, str(workdir))
    except ValueError as error:
        assert str(error).startswith("`init` is ") and "\n" not in str(error)
    else:
        np.testing.assert_array_equal(app.network.backbone["norm"], 2.0)
