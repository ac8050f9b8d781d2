"""Variables that live in shares, one a replica: the rows of a class-sharded head."""

import io

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.sharded_variable import ShardedVariable
from tensorflow.python.ops import resource_variable_ops


class LocalVariable:
    """A matrix whose rows are dealt over the replicas, one plain variable each.

    Shard r holds rows [r * share, (r + 1) * share); the last shard is padded with zero rows. A process has the shards
    of its own replicas. A plain resource variable is made on purpose: `tf.Variable` inside a strategy's scope would be
    mirrored.

    Args:    initial: array [K, ...], the same whatever the number of replicas.
    """

    def __init__(self, initial, name="local"):
        strategy = tf.distribute.get_strategy()
        initial = np.asarray(initial)
        self.name, self.rows = name, len(initial)
        self.replicas = strategy.num_replicas_in_sync
        self.share = -(-self.rows // self.replicas)
        self.place = Place(strategy)
        self.shards = []
        for device, part in zip(self.place.devices, self.own(initial)):
            with tf.device(device):
                self.shards.append(resource_variable_ops.ResourceVariable(part, name=name, trainable=True))

    def here(self):
        """This replica's shard and its first row."""
        replica = replica_id()
        return self.shards[replica - self.place.first], replica * self.share

    def gathered(self):
        """The whole matrix [K, ...] as a NumPy array; of several workers, all must ask together."""
        return self.place.gather([shard.numpy() for shard in self.shards])[:self.rows]

    def scatter(self, whole):
        for shard, part in zip(self.shards, self.own(whole)):
            shard.assign(part)

    def own(self, whole):
        """This process's parts of a matrix with one row a class, padded to equal shares."""
        padding = [(0, self.share * self.replicas - self.rows)] + [(0, 0)] * (whole.ndim - 1)
        return np.split(np.pad(whole, padding), self.replicas)[self.place.here]


class Place:
    """Which of a strategy's replicas this process has."""

    def __init__(self, strategy):
        self.strategy, self.replicas = strategy, strategy.num_replicas_in_sync
        self.devices = strategy.extended.worker_devices if self.replicas > 1 else (None,)
        self.first = getattr(strategy.extended, "_id_in_cluster", 0) * len(self.devices)
        self.here = slice(self.first, self.first + len(self.devices))
        self._gather = None

    def gather(self, parts):
        """The parts of all replicas end to end, of which this process gives its own; all processes must call."""
        if len(parts) == self.replicas:
            return np.concatenate(parts)
        values = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group - self.first]))

        def gather(part):       # an argument itself has no device, which a gather needs
            return tf.distribute.get_replica_context().all_gather(tf.identity(part), 0)
        self._gather = self._gather or tf.function(lambda values: self.strategy.run(gather, (values,)),
                                                   autograph=False, reduce_retracing=True)
        return self.strategy.experimental_local_results(self._gather(values))[0].numpy()


class LocalOptimizer(tf.train.experimental.PythonState):
    """One optimizer a shard, and the state of shards and slots in a checkpoint.

    Gradients are not reduced, slots are local; values, slots and averages are stored gathered, so that any number
    of replicas restores them.

    Args:    make: () -> a Keras optimizer; called once a shard, outside the strategy's scope.
             variables: the group's `LocalVariable`s.  averages: `LocalVariable`s beside them, or none.
    """

    def __init__(self, make, variables, averages=()):
        self.local, self.averages = list(variables), list(averages)
        if self.local and not hasattr(make(), "update_step"):
            raise ValueError(f"`{type(make()).__name__}` cannot move variables that lie in shares on the replicas; use "
                             "\"adam()\" or \"sgd()\" for their group.")
        self.optimizers = [[make() for _ in variable.shards] for variable in self.local]
        self._collected = None
        for variable, optimizers in zip(self.local, self.optimizers):
            for shard, optimizer in zip(variable.shards, optimizers):
                optimizer.build([shard])

    def apply(self, gradients):
        """Updates this replica's shards; in replica context. A gradient of None is left out."""
        replica = replica_id()
        for gradient, variable, optimizers in zip(gradients, self.local, self.optimizers):
            if gradient is None:
                continue
            place = replica - variable.place.first
            shard, optimizer = variable.shards[place], optimizers[place]
            # apply_gradients would start a merge call, so its steps are taken one by one.
            optimizer._compute_current_learning_rate()
            if optimizer.weight_decay and optimizer._use_weight_decay(shard):
                shard.assign_sub(shard * optimizer.weight_decay * optimizer.learning_rate)
            optimizer.update_step(tf.convert_to_tensor(gradient), shard)
            optimizer.iterations.assign_add(1)

    def collect(self):
        """Gathers what `serialize` stores; of several workers all must call, before one of them saves."""
        self._collected = {}
        for i, (variable, optimizers) in enumerate(zip(self.local, self.optimizers)):
            self._collected[f"{i}/value"] = variable.gathered()
            for j, copies in enumerate(zip(*(optimizer.variables for optimizer in optimizers))):
                values = [copy.numpy() for copy in copies]
                self._collected[f"{i}/slot/{j}"] = (
                    variable.place.gather(values)[:variable.rows] if copies[0].shape.rank else values[0])
        self._collected.update({f"{i}/average": average.gathered() for i, average in enumerate(self.averages)})

    def serialize(self):
        if self._collected is None:
            self.collect()
        stream = io.BytesIO()
        np.savez(stream, **self._collected)
        self._collected = None      # the next save must not store it again
        return stream.getvalue()

    def deserialize(self, text):
        arrays = np.load(io.BytesIO(text), allow_pickle=False)
        for i, (variable, optimizers) in enumerate(zip(self.local, self.optimizers)):
            variable.scatter(arrays[f"{i}/value"])
            for j, copies in enumerate(zip(*(optimizer.variables for optimizer in optimizers))):
                stored = arrays[f"{i}/slot/{j}"]
                parts = variable.own(stored) if copies[0].shape.rank else [stored] * len(copies)
                for copy, part in zip(copies, parts):
                    copy.assign(part)
        for i, average in enumerate(self.averages):
            average.scatter(arrays[f"{i}/average"])


def parts_of(variables):
    """The plain variables in a list: of a `LocalVariable` its shards, of one dealt over parameter servers its parts,
    of any other itself."""
    return [part for v in variables for part in getattr(v, "shards", None) or (
        v.variables if isinstance(v, ShardedVariable) else [v])]


def replica_id():
    """This replica's number as a Python int (the context has it as a constant tensor while tracing)."""
    context = tf.distribute.get_replica_context()
    return int(tf.get_static_value(context.replica_id_in_sync_group))
