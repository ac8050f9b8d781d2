"""Variables that live in shares, one a replica: the rows of a class-sharded head."""

import io

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops


class LocalVariable:
    """A matrix whose rows are dealt over the replicas, one plain variable each.

    Shard r holds rows [r * share, (r + 1) * share); the last shard is padded with zero rows. A plain resource
    variable is made on purpose: `tf.Variable` inside a strategy's scope would be mirrored.

    Args:    initial: array [K, ...], the same whatever the number of replicas.
    """

    def __init__(self, initial, name="local"):
        strategy = tf.distribute.get_strategy()
        initial = np.asarray(initial)
        self.name, self.rows = name, len(initial)
        self.replicas = strategy.num_replicas_in_sync
        self.share = -(-self.rows // self.replicas)
        self.shards = []
        devices = strategy.extended.worker_devices if self.replicas > 1 else (None,)
        for device, part in zip(devices, self.split(initial)):
            with tf.device(device):
                self.shards.append(resource_variable_ops.ResourceVariable(part, name=name, trainable=True))

    def here(self):
        """This replica's shard and its first row."""
        replica = replica_id()
        return self.shards[replica], replica * self.share

    def gathered(self):
        """The whole matrix [K, ...] as a NumPy array."""
        return np.concatenate([shard.numpy() for shard in self.shards])[:self.rows]

    def scatter(self, whole):
        for shard, part in zip(self.shards, self.split(whole)):
            shard.assign(part)

    def split(self, whole):
        """The replicas' parts of a matrix with one row a class, padded to equal shares."""
        padding = [(0, self.share * self.replicas - self.rows)] + [(0, 0)] * (whole.ndim - 1)
        return np.split(np.pad(whole, padding), self.replicas)


class LocalOptimizer(tf.train.experimental.PythonState):
    """One optimizer a shard, and the state of shards and slots in a checkpoint.

    Gradients are not reduced, slots are local; values, slots and averages are stored gathered, so that any number
    of replicas restores them.

    Args:    make: () -> a Keras optimizer; called once a shard, outside the strategy's scope.
             variables: the group's `LocalVariable`s.  averages: `LocalVariable`s beside them, or none.
    """

    def __init__(self, make, variables, averages=()):
        self.local, self.averages = list(variables), list(averages)
        self.optimizers = [[make() for _ in variable.shards] for variable in self.local]
        for variable, optimizers in zip(self.local, self.optimizers):
            for shard, optimizer in zip(variable.shards, optimizers):
                optimizer.build([shard])

    def apply(self, gradients):
        """Updates this replica's shards; in replica context. A gradient of None is left out."""
        replica = replica_id()
        for gradient, variable, optimizers in zip(gradients, self.local, self.optimizers):
            if gradient is None:
                continue
            shard, optimizer = variable.shards[replica], optimizers[replica]
            # apply_gradients would start a merge call, so its steps are taken one by one.
            optimizer._compute_current_learning_rate()
            if optimizer.weight_decay and optimizer._use_weight_decay(shard):
                shard.assign_sub(shard * optimizer.weight_decay * optimizer.learning_rate)
            optimizer.update_step(tf.convert_to_tensor(gradient), shard)
            optimizer.iterations.assign_add(1)

    def serialize(self):
        arrays = {}
        for i, (variable, optimizers) in enumerate(zip(self.local, self.optimizers)):
            arrays[f"{i}/value"] = variable.gathered()
            for j, copies in enumerate(zip(*(optimizer.variables for optimizer in optimizers))):
                arrays[f"{i}/slot/{j}"] = (
                    np.concatenate([copy.numpy() for copy in copies])[:variable.rows]
                    if copies[0].shape.rank else copies[0].numpy())
        arrays.update({f"{i}/average": average.gathered() for i, average in enumerate(self.averages)})
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return stream.getvalue()

    def deserialize(self, text):
        arrays = np.load(io.BytesIO(text), allow_pickle=False)
        for i, (variable, optimizers) in enumerate(zip(self.local, self.optimizers)):
            variable.scatter(arrays[f"{i}/value"])
            for j, copies in enumerate(zip(*(optimizer.variables for optimizer in optimizers))):
                stored = arrays[f"{i}/slot/{j}"]
                parts = variable.split(stored) if copies[0].shape.rank else [stored] * len(copies)
                for copy, part in zip(copies, parts):
                    copy.assign(part)
        for i, average in enumerate(self.averages):
            average.scatter(arrays[f"{i}/average"])


def parts_of(variables):
    """The plain variables in a list: of a `LocalVariable` its shards, of any other itself."""
    return [part for v in variables for part in (v.shards if isinstance(v, LocalVariable) else [v])]


def replica_id():
    """This replica's number as a Python int (the context has it as a constant tensor while tracing)."""
    context = tf.distribute.get_replica_context()
    return int(tf.get_static_value(context.replica_id_in_sync_group))
