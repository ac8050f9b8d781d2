"""Equal weights on 1, 2 and 4 replicas: one process a replica count walks all methods and apps."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_apps.losses.metric
from keras_apps.build import methods
from keras_apps.launch import Cluster
from tests.contracts import replicas as walk
from tests.contracts.dummies import APPS
from tfrecords.sources.digits import DigitsSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).parents[2]


def run(replicas, out, *what):
    words = [sys.executable, "-m", "tests.contracts.replicas", str(replicas), str(out), *map(str, what)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(out))


SEVERAL = [2, pytest.param(4, marks=pytest.mark.slow)]      # four: minutes of tracing what two have traced


class Results(dict):
    """{replicas: arrays by name}, of each number of replicas a process when first asked for."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        write([DigitsSource()], folder / "digits", shards=2)

    def __missing__(self, replicas):
        if replicas > 1:
            self[1]         # leaves the checkpoint that others go on from
            shutil.copytree(self.folder / "work", self.folder / f"work{replicas}")
        work = self.folder / ("work" if replicas == 1 else f"work{replicas}")
        self[replicas] = run(replicas, self.folder / f"{replicas}.npz", "both", work, self.folder / "digits")
        return self[replicas]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(tmp_path_factory.mktemp("replicas"))


@pytest.mark.parametrize("replicas", SEVERAL)
@pytest.mark.parametrize("kind", APPS)
def test_weights_and_gradients_equal_those_of_one_replica(results, replicas, kind):
    names = [name for name in results[1] if name.startswith(f"{kind}/")]
    assert any("/weights/" in name for name in names)
    for name in names:
        gap = np.abs(results[1][name] - results[replicas][name]).max()
        assert gap <= 1e-5, f"{name} differs by {gap}"


@pytest.mark.parametrize("replicas", SEVERAL)
@pytest.mark.parametrize("name", walk.CRAFT)
def test_parts_rates_and_scales_are_exact_across_replicas(results, replicas, name):
    found = [key for key in results[1] if key.startswith(f"{name}/")]
    assert found and not np.array_equal(results[1][found[0]], results[1][found[0].replace(name, walk.CRAFT[name][0])])
    for key in found:
        np.testing.assert_allclose(results[replicas][key], results[1][key], atol=1e-5, err_msg=key)


@pytest.mark.parametrize("replicas", SEVERAL)
def test_the_verification_app_trains_to_equal_weights(results, replicas):
    names = [name for name in results[1] if name.startswith("verification/")]
    assert len(names) > 15
    for name in names:
        np.testing.assert_allclose(results[replicas][name], results[1][name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("replicas", SEVERAL)
@pytest.mark.parametrize("folder", [folder for folder in walk.CALLS if (ROOT / "keras_apps" / folder).is_dir()])
def test_every_method_of_a_folder_is_exact_across_replicas(results, folder, replicas):
    found = results[replicas]
    names = [name for name in results[1] if name.startswith(f"{folder}/")]
    for method in methods(folder):
        assert {f"{folder}/{method}()/value", f"{folder}/{method}()/gradient"} <= set(names)
    for name in names:
        # Float32: variables, and what layers and the networks of them compute.
        variables = "/weights/" in name or "/state/" in name
        narrow = folder in ("layers", "generators", "critics") or name.startswith("heads/final_bn(")
        atol = 1e-5 if narrow else 1e-6 if variables else 1e-9
        np.testing.assert_allclose(found[name], results[1][name], atol=atol, err_msg=name)
        assert np.abs(results[1][name]).max() > 0, name


PROXY_TOY = '''
import tensorflow as tf


class ProxyToyLoss(tf.Module):
    """Softmax over one vector a class."""

    def __init__(self, classes, dimension, seed, distance="dot"):
        super().__init__()
        if distance not in ("dot", "cosine"):
            raise ValueError(f"`distance` is {distance!r} but must be one of dot, cosine; use dot.")
        self.proxies = tf.Variable(tf.random.stateless_normal([classes, dimension], [seed, 0]))

    def __call__(self, embeddings, labels):
        logits = tf.matmul(embeddings, tf.cast(self.proxies, embeddings.dtype), transpose_b=True)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
'''


def test_a_loss_that_needs_facts_is_walked_as_soon_as_its_file_is_there(tmp_path, monkeypatch):
    folder = tmp_path / "keras_apps" / "losses" / "metric"
    folder.mkdir(parents=True)
    (folder / "proxy_toy.py").write_text(PROXY_TOY)
    monkeypatch.setattr("tfrecords.methods.ROOT", tmp_path)
    monkeypatch.setattr(walk, "ROOT", tmp_path)
    monkeypatch.setattr(keras_apps.losses.metric, "__path__", [str(folder)])
    found = walk.methods_on(tf.distribute.get_strategy())
    forms = ("proxy_toy()", "proxy_toy(distance='dot')", "proxy_toy(distance='cosine')")
    parts = ("value", "gradient", "weights/0")
    assert set(found) == {f"losses/metric/{form}/{part}" for form in forms for part in parts}
    assert all(value.any() for value in found.values())
    assert found["losses/metric/proxy_toy()/weights/0"].shape == (walk.FACTS["classes"], walk.FACTS["dimension"])


@pytest.mark.parametrize("replicas", SEVERAL)
def test_shards_resume_on_another_number_of_replicas(results, replicas):
    names = [name for name in results[1] if name.startswith("resumed")]
    assert names == ["resumed", "resumed/averages/0", "resumed/averages/1"]
    for name in names:
        np.testing.assert_allclose(results[replicas][name], results[1][name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("replicas", [1, *SEVERAL])
def test_averages_of_shards_are_swapped_in_and_lag_behind(results, replicas):
    found = results[replicas]
    np.testing.assert_array_equal(found["sharded/averaged/classes/0"], found["sharded/averages/1"])
    assert np.abs(found["sharded/averaged/classes/0"] - found["sharded/weights/classes/0"]).max() > 1e-3


@pytest.mark.slow
def test_two_worker_processes_train_to_the_weights_of_one(results, tmp_path):
    """Queues, shares of classes and all: stages and phases as the replicas of one process have them."""
    cluster = Cluster(2, 0, [str(tmp_path / "out.npz"), str(tmp_path / "work")], module="tests.contracts.workers")
    assert cluster.wait(0) == 0
    found = dict(np.load(tmp_path / "out.npz"))
    assert {name.split("/")[0] for name in found} == set(APPS)
    for name, value in found.items():
        np.testing.assert_allclose(value, results[1][name], atol=1e-5, err_msg=name)
    for kind in APPS:
        assert (tmp_path / "work" / kind / "checkpoints" / "ckpt-6.index").exists()


def test_the_dummies_learn_something(results):
    """Equality of weights that never moved would prove nothing."""
    for kind, app in APPS.items():
        fresh = app.__new__(app)
        from tests.contracts.dummies import dummy_config
        from tests.contracts.replicas import state
        app.__init__(fresh, dummy_config(groups=app.groups))
        for name, value in state(fresh).items():
            assert np.abs(results[1][f"{kind}/weights/{name}"] - value).max() > 1e-3 or name.startswith("place"), name
