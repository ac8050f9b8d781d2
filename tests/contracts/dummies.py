"""Five small apps, each bending the loop's contract in its own way, and data for them."""

import numpy as np
import tensorflow as tf

from keras_apps import pairs
from keras_apps.app import App
from keras_apps.config import base, settle
from keras_apps.local import LocalVariable


def weights(shape, seed, name):
    values = np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0])
    return tf.Variable(values.astype(np.float32), name=name)


def dummy_config(steps=6, batch=16, optimizer="sgd(rate=0.05, momentum=0.9)", groups=("network",), **more):
    config = base()
    config.update({"app": "dummy", "steps": steps, "batch": batch, "log_every": 1, "checkpoint_every": 2, **more})
    config.optimizers = {group: optimizer for group in groups}
    return settle(config)


class Draws:
    """Batches of arrays: draw d is a function of d alone, replica r gets the r-th contiguous slice.

    Beside them `draw`: the number d in every row.
    """

    def __init__(self, make):
        self.make = make

    def dataset(self, start, replicas, here, memo):
        def parts():
            draw = start
            while True:
                whole = self.make(np.random.default_rng(draw))
                for replica in here:
                    own = {name: values[replica * len(values) // replicas:(replica + 1) * len(values) // replicas]
                           for name, values in whole.items()}
                    yield {"draw": np.full(len(next(iter(own.values()))), draw, np.float32), **own}
                draw += 1
        first = next(parts())
        return tf.data.Dataset.from_generator(parts, output_signature={
            name: tf.TensorSpec(values.shape, values.dtype) for name, values in first.items()})


class GanApp(App):
    """Five critic batches a step, then one of the generator; each phase has its own variables and optimizer."""

    groups = ("critic", "generator")

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.generator = [weights((3, 8), 1, "g1"), weights((8, 2), 2, "g2")]
        self.critic = [weights((2, 8), 3, "c1"), weights((8, 1), 4, "c2")]

    def stages(self):
        return ({"name": "gan", "steps": self.config.steps, "phases": {"critic": 5, "generator": 1},
                 "batch": self.config.batch, "size": 1},)

    def variables(self, stage, phase):
        return {phase: getattr(self, phase)}

    def _fake(self, batch):
        return tf.tanh(batch["noise"] @ self.generator[0]) @ self.generator[1]

    def _score(self, points):
        return (tf.tanh(points @ self.critic[0]) @ self.critic[1])[:, 0]

    def losses(self, phase, batch, seed, step):
        fake = self._score(self._fake(batch))
        if phase == "generator":
            return {"fool": -fake}, None
        return {"gap": fake - self._score(batch["real"]), "size": tf.square(fake)}, None

    def weights(self, phase, step):
        return {"fool": 1.0} if phase == "generator" else {"gap": 1.0, "size": 0.1}

    def data(self, stage):
        return Draws(lambda r: {"noise": r.normal(size=(16, 3)).astype(np.float32),
                                "real": (r.normal(size=(16, 2)) + 2).astype(np.float32)})


class MixApp(App):
    """8 labelled and 24 unlabelled examples a batch; each term has its own number of values, weights and ramp."""

    groups = ("network",)

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.matrix = weights((4, 3), 5, "matrix")

    def variables(self, stage, phase):
        return {"network": [self.matrix]}

    def losses(self, phase, batch, seed, step):
        supervised = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], batch["labelled"] @ self.matrix)
        sure = tf.nn.softmax(batch["unlabelled"] @ self.matrix)
        other = tf.nn.softmax(batch["other_view"] @ self.matrix)
        gap = tf.reduce_sum(tf.square(other - tf.stop_gradient(sure)), axis=1)
        mask = tf.cast(tf.reduce_max(sure, axis=1) > 0.5, tf.float32)
        return {"supervised": supervised, "consistency": (gap, mask), "share": mask}, None

    def weights(self, phase, step):
        return {"supervised": 1.0, "consistency": tf.minimum(1.0, tf.cast(step, tf.float32) / 4.0)}

    def data(self, stage):
        return Draws(lambda r: {"labelled": r.normal(size=(8, 4)).astype(np.float32),
                                "label": r.integers(3, size=8).astype(np.int32),
                                "unlabelled": 2 * r.normal(size=(24, 4)).astype(np.float32),
                                "other_view": 2 * r.normal(size=(24, 4)).astype(np.float32)})


class QueueApp(App):
    """A queue of past embeddings as negatives: written in after_step, the same on every replica."""

    groups = ("network",)

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.matrix = weights((4, 3), 6, "matrix")
        queue = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
        first = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.queue = tf.Variable(queue, **first)
        self.place = tf.Variable(0, dtype=tf.int64, **first)

    def variables(self, stage, phase):
        return {"network": [self.matrix]}

    def losses(self, phase, batch, seed, step):
        one, two = (tf.math.l2_normalize(batch[name] @ self.matrix, axis=1) for name in ("one", "two"))
        gathered, _, offset = pairs.across(two, tf.zeros([tf.shape(two)[0]], tf.int32))
        own = offset + tf.range(tf.shape(one)[0])
        past = tf.math.l2_normalize(self.queue.read_value(), axis=1)
        logits = 5.0 * tf.concat([tf.matmul(one, gathered, transpose_b=True),
                                  tf.matmul(one, past, transpose_b=True)], axis=1)
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)
        return {"contrast": values}, tf.stop_gradient(gathered)

    def weights(self, phase, step):
        return {"contrast": 1.0}

    def after_step(self, phase, carry):
        rows = (self.place + tf.range(tf.shape(carry)[0], dtype=tf.int64)) % 40
        self.queue.assign(tf.tensor_scatter_nd_update(self.queue.read_value(), rows[:, None], carry))
        self.place.assign((self.place + 16) % 40)

    def data(self, stage):
        return Draws(lambda r: {name: r.normal(size=(16, 4)).astype(np.float32) for name in ("one", "two")})


class GrowApp(App):
    """Two stages: the second doubles the input, halves the batch and trains one more layer."""

    groups = ("network",)

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.small, self.large = weights((4, 2), 8, "small"), weights((8, 4), 9, "large")

    def stages(self):
        half = self.config.steps // 2
        return ({"name": "small", "steps": half, "phases": {"train": 1}, "batch": 16, "size": 4},
                {"name": "large", "steps": self.config.steps - half, "phases": {"train": 1}, "batch": 8, "size": 8})

    def variables(self, stage, phase):
        return {"network": [self.small] + ([self.large] if stage == "large" else [])}

    def across(self):
        return False

    def losses(self, phase, batch, seed, step):
        x = batch["x"]
        hidden = x if x.shape[1] == 4 else tf.tanh(x @ self.large)
        error = tf.reduce_sum(tf.square(hidden @ self.small - batch["y"]), axis=1)
        return {"error": error, "draw": batch["draw"]}, None

    def weights(self, phase, step):
        return {"error": 1.0}

    def data(self, stage):
        return Draws(lambda r: {"x": r.normal(size=(stage["batch"], stage["size"])).astype(np.float32),
                                "y": r.normal(size=(stage["batch"], 2)).astype(np.float32)})


class ShardedApp(App):
    """A softmax over 11 classes whose rows are dealt over the replicas; the gradient is written by hand."""

    groups = ("network", "classes")

    def __init__(self, config, info=None):
        super().__init__(config, info)
        self.matrix = weights((4, 5), 10, "matrix")
        self.classes = LocalVariable(np.random.default_rng(11).normal(size=(11, 5)).astype(np.float32))

    def variables(self, stage, phase):
        return {"network": [self.matrix], "classes": [self.classes]}

    def losses(self, phase, batch, seed, step):
        embeddings = batch["x"] @ self.matrix
        gathered, labels, offset = pairs.across(embeddings, batch["label"])
        shard, first = self.classes.here()
        context = tf.distribute.get_replica_context()
        add = tf.distribute.ReduceOp.SUM

        @tf.custom_gradient
        def cross_entropy(gathered, shard):
            column = first + tf.range(tf.shape(shard)[0])
            logits = tf.where(column < self.classes.rows, gathered @ tf.transpose(shard), -1e9)
            hit = tf.cast(labels[:, None] == column, tf.float32)
            peak = tf.reduce_max(logits, axis=1)
            if context.num_replicas_in_sync > 1:
                peak = tf.reduce_max(context.all_gather(peak[None], axis=0), axis=0)
            powers = tf.exp(logits - peak[:, None])
            total, target = context.all_reduce(add, [tf.reduce_sum(powers, 1), tf.reduce_sum(hit * logits, 1)])

            def gradient(upstream):
                # Each replica's upstream covers its own rows only; a shard learns from all of them.
                slope = context.all_reduce(add, upstream)[:, None] * (powers / total[:, None] - hit)
                return slope @ shard, tf.transpose(slope) @ gathered
            return tf.math.log(total) + peak - target, gradient

        values = cross_entropy(gathered, tf.convert_to_tensor(shard))
        return {"classes": values[offset:offset + tf.shape(embeddings)[0]]}, None

    def weights(self, phase, step):
        return {"classes": 1.0}

    def data(self, stage):
        return Draws(lambda r: {"x": r.normal(size=(16, 4)).astype(np.float32),
                                "label": r.integers(11, size=16).astype(np.int32)})


APPS = {"gan": GanApp, "mix": MixApp, "queue": QueueApp, "grow": GrowApp, "sharded": ShardedApp}
