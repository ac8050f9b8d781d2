import json
import urllib.error

import pytest
import tensorflow as tf

from keras_apps.groups import Groups
from keras_apps.parameter_server import Scheduled
from keras_apps.step import Step
from keras_apps.strategy import make_strategy
from tests.contracts.dummies import GanApp, MixApp, ShardedApp, dummy_config


def test_refusals():
    with pytest.raises(ValueError, match="`strategy` is 'two' but must be one of one, mirrored"):
        make_strategy("two")
    with pytest.raises(ValueError, match="no GPU; give --replicas=2 to split the CPU"):
        make_strategy("mirrored")
    with pytest.raises(ValueError, match="`replicas` is 2 but --strategy=one computes in one place"):
        make_strategy("one", 2)
    with pytest.raises(ValueError, match="`replicas` is -1"):
        make_strategy("mirrored", -1)


@pytest.mark.parametrize("name", ["multi_worker", "parameter_server", "tpu"])
def test_replicas_follow_from_the_cluster(name):
    with pytest.raises(ValueError, match=f"`replicas` is 4 but --strategy={name} takes its replicas from the cluster"):
        make_strategy(name, 4)


@pytest.mark.parametrize("name", ["multi_worker", "parameter_server"])
@pytest.mark.parametrize("text, match", [
    (None, "`TF_CONFIG` is not set but says which processes train together"),
    ("{", "`TF_CONFIG` is '{', which cannot be read"),
])
def test_clusters_are_told_by_tf_config(monkeypatch, name, text, match):
    cluster(monkeypatch, text)
    with pytest.raises(ValueError, match=match):
        make_strategy(name)


def cluster(monkeypatch, text):
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text if isinstance(text, str) else json.dumps(text))


@pytest.mark.parametrize("jobs, job, match", [
    ({"worker": ["a:1"], "ps": ["b:1"]}, "worker", "has the jobs worker, ps .* takes workers only"),
    ({"worker": ["a:1"], "evaluator": ["b:1"]}, "evaluator", "this task is a 'evaluator' but --strategy=multi_worker"),
])
def test_workers_that_share_every_step_take_no_other_jobs(monkeypatch, jobs, job, match):
    cluster(monkeypatch, {"cluster": jobs, "task": {"type": job, "index": 0}})
    with pytest.raises(ValueError, match=match):
        make_strategy("multi_worker")


@pytest.mark.parametrize("jobs, job, match", [
    ({"worker": ["a:1"], "ps": ["b:1"]}, "worker", "needs a chief, workers and ps; add 'chief'"),
    ({"chief": ["a:1"], "ps": ["b:1"]}, "chief", "add 'worker'"),
    ({"chief": ["a:1"], "worker": ["c:1"]}, "chief", "add 'ps'"),
    ({"chief": ["a:1"], "worker": ["c:1"], "ps": []}, "chief", "add 'ps'"),
    ({"chief": ["a:1"], "worker": ["c:1"], "ps": ["d:1"], "evaluator": ["b:1"]}, "evaluator",
     "makes this task a 'evaluator' but it must be chief, worker or ps"),
])
def test_parameter_servers_need_a_chief_workers_and_servers(monkeypatch, jobs, job, match):
    cluster(monkeypatch, {"cluster": jobs, "task": {"type": job, "index": 0}})
    with pytest.raises(ValueError, match=match):
        make_strategy("parameter_server")


@pytest.mark.parametrize("error", [
    ValueError("Please provide a TPU Name to connect to."), tf.errors.NotFoundError(None, None, "no such\nTPU"),
    urllib.error.URLError("Name or service not known"), TimeoutError("timed out"),
])
def test_a_tpu_that_is_not_there_is_one_sentence(monkeypatch, error):
    def connect(address):
        raise error
    monkeypatch.setattr(tf.distribute.cluster_resolver.TPUClusterResolver, "connect", connect)
    with pytest.raises(ValueError, match=r"^`strategy` is tpu but no TPU was found at 'mine' \([^\n]+\); give its name "
                                         "by --tpu, or use another strategy.$"):
        make_strategy("tpu", tpu="mine")


def test_without_parameter_servers_nothing_is_scheduled():
    app = GanApp(dummy_config(groups=GanApp.groups))
    assert Scheduled.of(tf.distribute.get_strategy(), None, app, None) is None


@pytest.mark.parametrize("kind, words, match", [
    (GanApp, {}, "`strategy` is parameter_server but `dummy` has a term that looks across the batch"),
    (ShardedApp, {}, "`strategy` is parameter_server but `dummy` has a term that looks across the batch"),
    (MixApp, {"precision": "float16"}, "`precision` is float16 but --strategy=parameter_server has no common loss"),
])
def test_parameter_servers_refuse_what_needs_the_whole_batch(kind, words, match):
    class Apart(kind):
        def across(self):
            return kind is GanApp
    config = dummy_config(groups=kind.groups, **words)
    one, app = tf.distribute.get_strategy(), Apart(config)
    step = tf.Variable(0, dtype=tf.int64)
    groups = Groups(app, app.stages(), config, lambda: 1.0, step, one)
    servers = tf.distribute.experimental.ParameterServerStrategy.__new__(
        tf.distribute.experimental.ParameterServerStrategy)     # of a cluster that is not there
    with pytest.raises(ValueError, match=match):
        Scheduled.of(servers, Step(app, config, one, step, groups), app, groups)


@pytest.mark.parametrize("environment, told", [
    ({"TF_CONFIG": "{}"}, "`TF_CONFIG` is set but --strategy=one"), ({}, "")])
def test_a_cluster_that_is_not_asked_for_is_told(monkeypatch, capsys, environment, told):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    make_strategy("one")
    found = capsys.readouterr().err
    assert told in found and bool(told) == bool(found)
