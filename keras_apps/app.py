"""The contract between an application and the training loop."""

import types

import numpy as np
import tensorflow as tf

from keras_apps import splits

BLOCK = 256     # images that go through a network at once outside the training


class App(tf.Module):
    """What the loop must know about a task.

    An app has no loop, no optimizer and no tape around its own variables; the loop owns order, reduction,
    optimizers, averages, seeds and checkpoints. All variables of all stages are made in the constructor,
    inside the strategy's scope: optimizers cannot take late ones. Random numbers come from the seeds that are given
    (`tf.random.stateless_*`): a restart repeats those, and no others.

    Args:    config: a settled config.
             info: facts about the data by attribute (classes, channels, records, ...).
    """

    keys = ()       # of the config, beside those of `config.base`
    needs = ()      # columns the data must have; "identity|label" = one of them
    takes = ()      # what a mixing adds to a batch and `losses` reads
    kinds = "classes"       # what the names of the training rows are
    floor = "raw pixels"    # what figures are compared with
    captions = {}           # {tag of a picture: what it shows}
    idle = ()               # groups for which a config may name an optimizer although it trains none of them
    exact = False           # served, it takes only images of the very size it was trained on, where that is one
    colourless = False      # served, one that was trained on grey images refuses those in colour
    judged_by = "pairs"     # of held-out identities, or "images"

    def __init__(self, config, info):
        super().__init__()
        self.config = config
        self.info = info
        self._graphs = types.SimpleNamespace()      # a module would make functions part of checkpoints

    def compiled(self, name, *specs):
        """`self.<name>` as one graph: of images [n,H,W,C], or of what `specs` say at the first call."""
        if not hasattr(self._graphs, name):
            specs = specs or (tf.TensorSpec([None, *self.info.shape], tf.float32),)
            setattr(self._graphs, name, tf.function(getattr(self, name), autograph=False, input_signature=specs))
        return getattr(self._graphs, name)

    def over(self, name, images):
        """`self.<name>` of many images, block by block, as an array."""
        function = self.compiled(name)
        return np.concatenate([function(images[start:start + BLOCK]).numpy()
                               for start in range(0, len(images), BLOCK)])

    @staticmethod
    def select(images, config):
        """Which rows are trained on, as which class, and which are held out: see `splits.select`."""
        return splits.select(images, config)

    def stages(self):
        """Stages in order: {"name", "steps", "phases": {phase: batches a step}, "batch", "size"}, a size as in configs.

        "rounds" beside them, in [1, steps], asks for `between` so often; with "anew" the schedule begins once more, for
        this stage and those behind it up to the next such. No stage sees the draws of another. "sampler" takes the
        place of the config's; "unlabelled" adds the rows of the split of that name; "views", of tfrecords/views, makes
        batch["views"] in place of all augmentation; "plain" leaves all of it out.
        """
        return ({"name": "train", "steps": self.config.steps, "phases": {"train": 1},
                 "batch": self.config.batch, "size": self.config.size},)

    def variables(self, stage, phase):
        """{group: [variables]} that this phase trains; `config.optimizers[group]` moves them.

        In another phase a variable may be in another group, whose optimizer then has a state of its own.
        A gradient of None leaves a variable untouched in this step. A group may hold `LocalVariable`s.
        """
        raise NotImplementedError

    def losses(self, phase, batch, seed, step):
        """The loss terms of one replica's batch.

        Args:    batch: dict of tensors, this replica's contiguous slice of the global batch.
                 seed: [2] int32, a function of run seed, step, phase occurrence and replica.
                 step: int64 scalar.
        Returns: terms {name: values [n]} or {name: (values [n], weight [n])}; n may differ per term, a value of
                 the whole batch is repeated n times. The loop divides by the weights' sum over ALL replicas;
                 the weights carry no gradient. A value of weight 0 counts for nothing, whatever it is; where its
                 own gradient is not finite, its input must be masked (0 x infinity is NaN). No term may be named
                 `loss`: the total is.  carry: anything `after_step` wants.
        """
        raise NotImplementedError

    def starting(self):
        """The parts that begin with the encoder which `init` names: each holds a `network`."""
        return (self,)

    def across(self):
        """Whether a term looks across the batch (pairs, queues, shares of a head): such a batch must be seen whole.

        Without one, batches may be computed in parts or by workers that do not wait for each other.
        """
        return True

    def weights(self, phase, step):
        """{term: scalar}; ramps live here. A term without a weight is only logged."""
        raise NotImplementedError

    def after_step(self, phase, carry):
        """Updates outside the gradient (queues, centres), in replica context, after the optimizers.

        Use `tf.where`, never `tf.cond`, around assigns.
        """

    def between(self, stage, round, data):
        """Host work over the whole set before each of a stage's `rounds` (pseudo-labels, clusters).

        Returns: {name: array by row index}, seen by `losses` as `batch["memo"][name]` and checkpointed;
                 empty where the app has none.
        """
        return {}

    def probe(self, splits):
        """What to look at before the training: sentences, those that warn beginning with "note: " or "warning: "."""
        return []

    def evaluate(self, splits):
        """{metric: float} on {name: Split}; shares as fractions, floors as `floor_<metric>`."""
        raise NotImplementedError

    def grids(self, result):
        """[`figures.Grid`] of the main figures of `evaluate`, which stand before all others where they are shown."""
        return []

    def files(self, splits):
        """{file name: text} to lie beside the report after `evaluate`."""
        return {}

    def follow(self, splits, step):
        """What to watch every `follow_every` steps: {name: float}, {tag: uint8 [H,W,3]}. Nothing is chosen by it."""
        return {}, {}

    def pictures(self, splits):
        """{tag: uint8 [H,W,3]} for TensorBoard after `evaluate`; empty where the app has none."""
        return {}

    def scored(self, splits):
        """{tag: (scores [m] in [0, 1], truth [m] bool)} for TensorBoard's precision-recall curves."""
        return {}

    def projection(self, splits):
        """(embeddings [n,D], labels [n] of str, images [n,H,W,C]) for the projector, or None."""
        return None

    def served(self):
        """The variables that the signatures read; others (heads, centres) are not exported."""
        raise NotImplementedError

    def signatures(self):
        """{name: {"function": f, "images": 1 or 2, or "inputs": {name: tf.TensorSpec}}} in order.

        The first is the default one when served.
        """
        raise NotImplementedError

    def requests(self):
        """{signature: {input: values}}: one request each for signatures that take no images, to check and warm up."""
        return {}

    def about(self, result):
        """Markdown for the model card: what was trained and how its figures are to be read."""
        raise NotImplementedError
