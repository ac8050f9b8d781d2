"""Who trains together: TF_CONFIG, good and hostile; a process alone; what is said when one is lost."""

import json
import types

import pytest
import tensorflow as tf

from keras_apps.cluster import LOST, WorkerLost, Workers, addresses, cluster_of

TWO = {"worker": ["a:1", "b:2"]}


def told(cluster, job="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


@pytest.mark.parametrize("cluster, job, index", [
    (TWO, "worker", 0), (TWO, "worker", 1), ({"chief": ["c:0"], **TWO, "ps": ["d:3"]}, "chief", 0),
    ({"worker": ["[::1]:4"]}, "worker", 0),
])
def test_a_sound_one_is_read(cluster, job, index):
    assert cluster_of(told(cluster, job, index)) == (cluster, job, index)


def test_an_index_may_be_a_text():
    """As shells and templates write it."""
    assert cluster_of(told(TWO, index="1")) == (TWO, "worker", 1)


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", told(TWO)["TF_CONFIG"])
    assert cluster_of() == (TWO, "worker", 0)
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(ValueError, match="`TF_CONFIG` is not set but says which processes train together; set it to"):
        cluster_of()


@pytest.mark.parametrize("environment", [
    {"TF_CONFIG": "{"}, {"TF_CONFIG": "null"}, {"TF_CONFIG": "[]"}, {"TF_CONFIG": "3"}, {"TF_CONFIG": '"worker"'},
    {"TF_CONFIG": "{}"}, {"TF_CONFIG": json.dumps({"cluster": TWO})},
    {"TF_CONFIG": json.dumps({"cluster": TWO, "task": {"type": "worker"}})},
    {"TF_CONFIG": json.dumps({"cluster": TWO, "task": ["worker", 0]})},
    {"TF_CONFIG": "[" * 100_000}, {"TF_CONFIG": "x" * 100_000},
    told(TWO, index=2), told(TWO, index=-1), told(TWO, index=10 ** 30), told(TWO, index=None), told(TWO, index="one"),
    told(TWO, index=float("inf")), told(TWO, index=float("nan")), told(TWO, index=[0]), told(TWO, index=0.5),
    told(TWO, job="wrker"), told(TWO, job=None), told(TWO, job=["worker"]), told(TWO, job={}),
    told([], "worker"), told({}), told(None), told({"worker": []}), told({"worker": None}), told({"worker": 3}),
    told({"worker": "a:1"}), told({"worker": [None]}), told({"worker": [["a:1"]]}), told({"worker": [""]}),
    told({"worker": ["a"]}), told({"worker": ["a:b"]}), told({"worker": {"0": "a:1"}}),
], ids=lambda environment: environment["TF_CONFIG"][:70])
def test_a_wrong_one_is_refused_in_one_short_sentence(environment):
    with pytest.raises(ValueError, match=r"^`TF_CONFIG` [^\n]+; set it to") as error:
        cluster_of(environment)
    assert len(str(error.value)) < 1000


def test_chiefs_come_first():
    assert addresses({"worker": ["a:1", "b:2"], "ps": ["p:1"], "chief": ["c:3"]}) == ["c:3", "a:1", "b:2"]
    assert addresses({"ps": ["p:1"]}) == []


def test_a_process_alone_asks_itself():
    workers = Workers(tf.distribute.get_strategy())
    assert (workers.count, workers.index, workers.chief, workers.ask(7)) == (1, 0, True, [7])


def among(index):
    """Of three workers."""
    spec = types.SimpleNamespace(as_dict=lambda: {"chief": ["c:3"], "worker": ["a:1", "b:2"]})

    class Several(tf.distribute.MultiWorkerMirroredStrategy):
        cluster_resolver = types.SimpleNamespace(cluster_spec=lambda: spec)
        extended = types.SimpleNamespace(_id_in_cluster=index)
    return Workers(Several.__new__(Several))


def test_one_of_several_knows_its_place():
    assert [(among(i).count, among(i).index, among(i).chief) for i in range(3)] == [
        (3, 0, True), (3, 1, False), (3, 2, False)]


@pytest.mark.parametrize("said, quoted", [
    ("Collective ops is aborted by: connection refused\nThe error could be from\n[[node]]",
     "aborted by: connection refused"),
    ("/job:worker task 1 heartbeat timed out\nmore", "heartbeat timed out"),
    ("Socket closed\nAdditional GRPC error", "Socket closed"), ("", ""), ("x" * 5000, "x" * 200),
])
def test_a_lost_worker_is_one_sentence_that_says_what_to_do(said, quoted):
    error = among(1).lost(tf.errors.UnavailableError(None, None, said))
    assert isinstance(error, WorkerLost) and isinstance(error, OSError), "a user's error, no defect"
    text = str(error)
    assert text.startswith("worker 1 (a:1) has lost contact to worker 0 (c:3) or 2 (b:2);")
    assert "start all again with the same command" in text and text.endswith(f"(TensorFlow: {quoted}).")
    assert "\n" not in text and len(text) < 500


def test_a_fault_that_speaks_of_no_other_worker_is_told_as_it_is():
    own = tf.errors.InternalError(None, None, "Failed to allocate a descriptor of the convolution")
    assert among(1).lost(own) is own
    gone = tf.errors.InternalError(None, None, "Collective ops is aborted by: connection reset by peer")
    assert isinstance(among(1).lost(gone), WorkerLost)


@pytest.mark.parametrize("index, said, named", [
    (0, "/job:worker/replica:0/task:0", "1 (a:1)"), (1, "/job:worker/replica:0/task:1", "2 (b:2)"),
    (2, "/job:chief/replica:0/task:0", "0 (c:3)"), (1, "/job:worker/replica:0/task:0", "0 (c:3) or 2 (b:2)"),
    (1, "/job:worker/replica:0/task:9", "0 (c:3) or 2 (b:2)"),
])
def test_the_one_that_the_error_names_is_named(index, said, named):
    error = among(index).lost(tf.errors.UnavailableError(None, None, f"from remote target {said}:\nSocket closed"))
    assert f"has lost contact to worker {named};" in str(error)


def test_inside_named_the_sentence_comes_in_place_of_the_error():
    with pytest.raises(WorkerLost, match="worker 1 .a:1. has lost contact"):
        with among(1).named():
            raise tf.errors.UnavailableError(None, None, "Socket closed")
    with pytest.raises(tf.errors.UnavailableError), Workers(tf.distribute.get_strategy()).named():
        raise tf.errors.UnavailableError(None, None, "Socket closed")


def test_without_its_servers_a_training_says_so():
    kind = tf.distribute.experimental.ParameterServerStrategy
    with pytest.raises(WorkerLost, match="a parameter server is lost, or the last of the workers"):
        with Workers(kind.__new__(kind)).named():
            raise tf.errors.UnavailableError(None, None, "Socket closed")


def test_what_a_lost_worker_raises_is_known():
    for kind in (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError):
        assert issubclass(kind, LOST)
    assert not issubclass(tf.errors.InvalidArgumentError, LOST), "our own mistakes are not blamed on another worker"
    assert not issubclass(tf.errors.ResourceExhaustedError, LOST)
