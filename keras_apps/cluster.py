"""The processes of a run: who they are, what they must agree on, and what is said when one is lost."""

import contextlib
import json
import os
import re

import tensorflow as tf

LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError, tf.errors.InternalError)
# These have many causes; another worker is one where the text speaks of it.
UNSURE = tf.errors.FailedPreconditionError, tf.errors.InternalError
SIGNS = re.compile(r"aborted by|heartbeat|remote target|connect|socket|coordination|collective|\btask\b|\brpc\b|peer",
                   re.IGNORECASE)


class WorkerLost(OSError):
    """Another process of the run no longer answers."""


class Workers:
    """The processes that train together, one a worker; a single process where the strategy knows no others."""

    def __init__(self, strategy):
        together = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        cluster = strategy.cluster_resolver.cluster_spec().as_dict() if together else {}
        self.strategy = strategy
        self.served = isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy)
        self.addresses, self.chiefs = addresses(cluster) or [""], len(cluster.get("chief", []))
        self.count = len(self.addresses)
        self.index = getattr(strategy.extended, "_id_in_cluster", 0) if together else 0
        self.chief = self.index == 0
        if self.count > 1:
            def each(value):
                return tf.distribute.get_replica_context().all_gather(value[None], 0)
            self._gather = tf.function(lambda value: strategy.run(each, (value,)), autograph=False)

    def ask(self, number):
        """Every worker's number, by worker; all workers must ask."""
        if self.count == 1:
            return [number]
        found = self.strategy.experimental_local_results(self._gather(tf.constant(number, tf.int64)))[0].numpy()
        return found[::len(found) // self.count].tolist()

    @contextlib.contextmanager
    def named(self):
        """Inside, TensorFlow's errors of a lost worker become `WorkerLost`."""
        try:
            yield
        except LOST as error:
            lost = self.lost(error)
            if lost is error:
                raise
            raise lost from error

    def lost(self, error):
        """What to raise in place of one of LOST: a `WorkerLost` where another worker went away, else the error."""
        alone = self.count == 1 and not self.served
        if alone or isinstance(error, UNSURE) and not SIGNS.search(str(error)):
            return error
        said = re.search(r"(?:aborted by|heartbeat)[^\n]*", str(error)) or re.match(r"[^\n]*", str(error))
        if self.served:
            return WorkerLost("a parameter server is lost, or the last of the workers; see why it ended and start all "
                              "again with the same command, which goes on from the last checkpoint "
                              f"(TensorFlow: {said[0][:200]}).")
        places = [f"{i} ({place})" for i, place in enumerate(self.addresses)]
        named = re.search(r"remote target /job:(\w+)/replica:0/task:(\d+)", str(error))
        place = int(named[2]) + (self.chiefs if named[1] == "worker" else 0) if named else -1
        others = [places[place]] if place in range(self.count) and place != self.index else [
            place for i, place in enumerate(places) if i != self.index]
        return WorkerLost(f"worker {places[self.index]} has lost contact to worker {' or '.join(others)}; see why it "
                          "ended and start all again with the same command, which goes on from the last checkpoint "
                          f"(TensorFlow: {said[0][:200]}).")


def addresses(cluster):
    """host:port of those that train, chief first."""
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def cluster_of(environment=None):
    """(cluster {job: [host:port]}, job, index) of TF_CONFIG.

    Raises:  ValueError where it is missing or does not fit.
    """
    text = (os.environ if environment is None else environment).get("TF_CONFIG", "")
    remedy = ('set it to {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, or let '
              "`python -m keras_apps.launch --workers=2 -- ...` do so on one machine")
    if not text:
        raise ValueError(f"`TF_CONFIG` is not set but says which processes train together; {remedy}.")
    try:
        found = json.loads(text)
        cluster, task = found["cluster"], found["task"]
        job, index = task["type"], int(task["index"])
        sound = index in range(len(cluster[job])) and index == float(task["index"]) and all(
            isinstance(places, list) and all(re.fullmatch(r"\S+:\d+", place) for place in places)
            for places in cluster.values())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"`TF_CONFIG` is {text[:200]!r}, which cannot be read ({type(error).__name__}: "
                         f"{str(error)[:100]}); {remedy}.") from error
    if not sound:
        raise ValueError(f"`TF_CONFIG` is {text[:200]!r}, whose cluster must list host:port of every task, with a "
                         f"place for this one; {remedy}.")
    return cluster, job, index
