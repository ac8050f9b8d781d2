"""The one training loop, for every application, under `tf.distribute`."""

import bisect
import contextlib
import io
import json
import os
import time

import numpy as np
import tensorflow as tf

from keras_apps.build import build
from keras_apps.local import LocalOptimizer, LocalVariable, parts_of

KEEP = 3        # checkpoints


class Loop:
    """Trains an app through its stages; exact on any number of replicas, resumable at every checkpoint.

    One step takes the phases in order, each phase as often as the stage says, each time with a batch of its own:
        terms, carry = app.losses(...)
        loss = sum over terms of weight x sum(values x value weights) / (value weights summed over ALL replicas)
        gradients: summed over the replicas (local variables: not), clipped by global norm, applied by group
        app.after_step(...)

    Args:    app: an `App`, built inside the strategy's scope.  config: settled.
             batches: (stage) -> an object with `dataset(start, replicas, here, memo)`, such as `Batches`.
             strategy: one device (the default strategy) or `MirroredStrategy`.
             workdir: where checkpoints go; None = nothing is written and nothing resumed.
             actions: (loop, logs) -> None, called every `log_every` steps and after the last step.
    """

    def __init__(self, app, config, batches, strategy, workdir=None, actions=()):
        self.app, self.config, self.batches, self.strategy = app, config, batches, strategy
        self.workdir, self.actions = workdir, actions
        self.stages = [dict(stage) for stage in app.stages()]
        self.steps = draw = 0
        for stage in self.stages:
            steps, rounds = stage["steps"], stage.setdefault("rounds", 1)
            if not 1 <= rounds <= max(1, steps):
                raise ValueError(f"`rounds` of stage {stage['name']!r} is {rounds} but must lie in [1, {steps}], its "
                                 "steps; change one of them.")
            # A stage goes on with the draws: those of the stages before would give the same images once more.
            stage["first"], stage["last"], stage["draw"] = self.steps, self.steps + steps, draw
            self.steps, draw = stage["last"], draw + steps * sum(stage["phases"].values())
        schedule = build("schedules", config.schedule, steps=self.steps)
        with strategy.scope():
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step",
                                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.schedule = lambda: schedule(self.step)
        self._make_optimizers(lambda rate: _Rate(rate, self.schedule))
        self.memo = _Memo()
        parts = {"app": app, "step": self.step, "memo": self.memo,
                 **{f"optimizer_{group}": value for group, value in self.optimizers.items()},
                 **{f"local_{group}": value for group, value in self.locals.items()}}
        if config.ema:      # those of local variables lie with their optimizer
            parts["averages"] = _Holder([v for v in self.averages if not isinstance(v, LocalVariable)])
        self.manager = None
        if workdir:
            self.manager = tf.train.CheckpointManager(
                tf.train.Checkpoint(**parts), os.path.join(workdir, "checkpoints"), KEEP)

    def _make_optimizers(self, rate):
        """One optimizer a group over the variables of all stages and phases."""
        groups = {}
        for stage in self.stages:
            for phase in stage["phases"]:
                for group, variables in self.app.variables(stage["name"], phase).items():
                    seen = groups.setdefault(group, [])
                    seen += [v for v in variables if not any(v is old for old in seen)]
        missing = set(groups) - set(self.config.optimizers)
        if missing:
            raise ValueError(f"`optimizers` has no entry for {sorted(missing)}; add one such as "
                             f"\"adam(rate=1e-3)\" (it has {sorted(self.config.optimizers)}).")
        for group in self.config.optimizers:
            if group not in groups:
                raise ValueError(f"`optimizers.{group}` names no group that is trained; these are {', '.join(groups)}.")
        self.optimizers, self.locals, self.trained, self.averages = {}, {}, [], []
        for group, variables in groups.items():
            def make(text=self.config.optimizers[group]):
                return build("optimizers", text, schedule=rate)
            shared = [v for v in variables if not isinstance(v, LocalVariable)]
            local = [v for v in variables if isinstance(v, LocalVariable)]
            with self.strategy.scope():
                averages = [_average_of(v) for v in shared + local] if self.config.ema else []
            self.trained += shared + local
            self.averages += averages
            if shared:
                with self.strategy.scope():
                    self.optimizers[group] = make()
                    self.optimizers[group].build(shared)
            if local:
                self.locals[group] = LocalOptimizer(make, local, averages[len(shared):])

    # ---- running

    def _position(self):
        return int(self.step.numpy())

    def restore(self):
        """Continues from the newest checkpoint; returns the step it stands at.

        Raises:  ValueError where it is damaged or of another network.
        """
        newest = self.manager and self.manager.latest_checkpoint
        if newest:
            try:
                self.manager.checkpoint.restore(newest).assert_existing_objects_matched()
            except (tf.errors.OpError, LookupError, AssertionError, ValueError) as error:
                reason = (str(error).splitlines() or ["no reason given"])[0]
                raise ValueError(f"the checkpoint {newest} cannot be read ({reason}); remove its files, and name the "
                                 f"one before in the file `checkpoint` beside it, or use another --workdir.") from error
        return self._position()

    def run(self):
        """Trains from where the checkpoint stands to the last step."""
        self.restore()
        for stage in self.stages:
            if self._position() < stage["last"]:
                self._run_stage(stage)

    def _run_stage(self, stage):
        draws = sum(stage["phases"].values())
        bounds = [stage["first"] + stage["steps"] * i // stage["rounds"] for i in range(stage["rounds"] + 1)]
        step = self._position()
        train_step = self._step_function(stage)
        while step < stage["last"]:
            number = bisect.bisect(bounds, step) - 1
            batches = self.batches(stage)
            if self.memo.key != [stage["name"], number]:
                with self.averaged():
                    arrays = self.app.between(stage["name"], number, batches)
                self.memo.key, self.memo.arrays = [stage["name"], number], dict(arrays)
            iterator = self._iterator(batches, stage["draw"] + (step - stage["first"]) * draws)
            end = bounds[number + 1]
            clock, since = None, None
            while step < end:
                logs = train_step(iterator)
                step += 1
                if since is None:           # the first step traces the graph: not counted in the rate
                    clock, since = time.perf_counter(), step
                saves = step % self.config.checkpoint_every == 0 or step == self.steps
                if saves or step % self.config.log_every == 0 or step == 1:
                    now = time.perf_counter()
                    if step > since:
                        logs["images_per_second"] = (step - since) * draws * stage["batch"] / (now - clock)
                        clock, since = now, step
                    self._log(stage, step, logs)
                if saves:
                    self.save()

    def _iterator(self, batches, start):
        def own(context):
            replicas = self.strategy.num_replicas_in_sync
            each = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * each
            return batches.dataset(start, replicas, tuple(range(first, first + each)), self.memo.arrays)
        return iter(self.strategy.distribute_datasets_from_function(own))

    def _log(self, stage, step, logs):
        logs = {name: float(value) for name, value in logs.items()}
        for name, value in logs.items():
            if not np.isfinite(value):
                raise ValueError(f"`{name}` is {value} at step {step} of stage {stage['name']} but must be finite; use "
                                 "a lower rate or set `clip`.")
        for action in self.actions:
            action(self, logs)

    def save(self):
        """A checkpoint; weights that are not finite are refused, so that the one before stays the newest."""
        if not all(np.isfinite(part.numpy()).all() for part in parts_of(self.trained)):
            raise ValueError(f"the weights are not finite at step {self._position()}; use a lower rate or set `clip`, "
                             "with another --workdir.")
        if self.manager:
            self.manager.save(checkpoint_number=self._position())

    # ---- one step

    def _step_function(self, stage):
        def replica_step(phase, occurrence, batch):
            context = tf.distribute.get_replica_context()
            seed = self._seed(stage, phase, occurrence, context)
            groups = self.app.variables(stage["name"], phase)
            flat = [(group, v) for group, variables in groups.items() for v in variables]
            watched = [v.here()[0] if isinstance(v, LocalVariable) else v for _, v in flat]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                terms, carry = self.app.losses(phase, batch, seed, self.step)
                loss, logs = self._reduce(phase, terms, context)
            gradients = tape.gradient(loss, watched)
            self._apply(flat, gradients, context)
            self.app.after_step(phase, carry)
            return logs

        @tf.function(autograph=False)
        def train_step(iterator):
            logs = {}
            for phase, times in stage["phases"].items():
                for occurrence in range(times):
                    found = self.strategy.run(replica_step, args=(phase, occurrence, next(iterator)))
                    logs.update({f"{phase}/{name}": self.strategy.experimental_local_results(value)[0]
                                 for name, value in found.items()})
            self._average()
            optimizers = {**{group: local.optimizers[0][0] for group, local in self.locals.items()}, **self.optimizers}
            logs.update({f"rate/{group}": _rate_of(optimizer) for group, optimizer in optimizers.items()})
            self.step.assign_add(1)
            return logs
        return train_step

    def _seed(self, stage, phase, occurrence, context):
        """[2] int32 from run seed, step, phase occurrence and replica."""
        place = [*stage["phases"]].index(phase) * 1000 + occurrence
        seed = tf.constant([self.config.seed, 1], tf.int32)
        for part in (tf.cast(self.step, tf.int64), place, context.replica_id_in_sync_group):
            seed = tf.random.experimental.stateless_fold_in(seed, part)
        return seed

    def _reduce(self, phase, terms, context):
        """This replica's share of the loss, and the global value of every term for the log."""
        names = list(terms)
        pairs = [term if isinstance(term, tuple) else (term, tf.ones_like(term)) for term in terms.values()]
        pairs = [(tf.cast(values, tf.float32), tf.stop_gradient(tf.cast(weight, tf.float32)))
                 for values, weight in pairs]
        if not pairs:
            raise ValueError(f"phase {phase!r} has no loss term; `losses` must return at least one.")
        if "loss" in names:
            raise ValueError(f"phase {phase!r} has a term named `loss` but that is the total's name in the log; give "
                             "the term another name.")
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([tf.reduce_sum(w) for _, w in pairs]))
        # 0 x infinity would be NaN.
        sums = [tf.reduce_sum(tf.where(tf.not_equal(w, 0.0), v, 0.0) * w) for v, w in pairs]
        shares = tf.math.divide_no_nan(tf.stack(sums), total)
        weights = self.app.weights(phase, self.step)
        unknown = set(weights) - set(names)
        if unknown:
            raise ValueError(f"`weights` names {sorted(unknown)} but phase {phase!r} has the terms {sorted(names)}.")
        if not weights:
            raise ValueError(f"`weights` of phase {phase!r} is empty but must name a term; return at least one of "
                             f"{sorted(names)} with its weight.")
        loss = tf.add_n([shares[names.index(name)] * tf.cast(weight, tf.float32)
                         for name, weight in weights.items()])
        reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(tf.concat([shares, [loss]], 0)))
        return loss, dict(zip([*names, "loss"], tf.unstack(reduced)))

    def _apply(self, flat, gradients, context):
        shared = [(group, tf.convert_to_tensor(g), v) for (group, v), g in zip(flat, gradients)
                  if g is not None and not isinstance(v, LocalVariable)]
        local = {}
        for (group, v), g in zip(flat, gradients):
            if isinstance(v, LocalVariable):
                local.setdefault(group, {})[id(v)] = g
        reduced = [g for _, g, _ in shared]
        if reduced and self.strategy.num_replicas_in_sync > 1:
            reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, reduced)
        if self.config.clip:
            reduced, local = self._clip(reduced, local, context)
        for group, optimizer in self.optimizers.items():
            own = [(g, v) for g, (name, _, v) in zip(reduced, shared) if name == group]
            if own:
                optimizer.apply_gradients(own, skip_gradients_aggregation=True)
        for group, found in local.items():
            self.locals[group].apply([found.get(id(v)) for v in self.locals[group].local])

    def _clip(self, reduced, local, context):
        """Scales all gradients of a phase to a global norm of at most `clip`; shards count once each."""
        squares = tf.add_n([tf.zeros([])] + [tf.nn.l2_loss(g) * 2.0 for g in reduced])
        own = [g for found in local.values() for g in found.values() if g is not None]
        if own:
            squares += context.all_reduce(tf.distribute.ReduceOp.SUM, tf.add_n([tf.nn.l2_loss(g) * 2.0 for g in own]))
        factor = tf.minimum(1.0, self.config.clip / tf.maximum(tf.sqrt(squares), 1e-12))
        local = {group: {key: None if g is None else g * factor for key, g in found.items()}
                 for group, found in local.items()}
        return [g * factor for g in reduced], local

    # ---- averaged weights

    def _average(self):
        """average += (1 - d) (value - average), d = min(ema, (1 + t) / (10 + t)): early steps are not over-weighted."""
        if self.averages:
            t = tf.cast(self.step, tf.float32)
            rest = 1.0 - tf.minimum(self.config.ema, (1.0 + t) / (10.0 + t))
            for average, value in zip(parts_of(self.averages), parts_of(self.trained)):
                average.assign(average + tf.cast(rest, value.dtype) * (value - average))

    @contextlib.contextmanager
    def averaged(self):
        """Inside, the trained variables hold their averages (evaluation, export)."""
        values, averages = parts_of(self.trained), parts_of(self.averages)
        kept = [value.numpy() for value in values] if averages else []
        for value, average in zip(values, averages):
            value.assign(average)
        try:
            yield
        finally:
            for value, old in zip(values, kept):
                value.assign(old)


class _Rate(tf.keras.optimizers.schedules.LearningRateSchedule):
    """rate x schedule(step of the loop), whatever the optimizer's own count of updates is."""

    def __init__(self, rate, factor):
        self.rate, self.factor = rate, factor

    def __call__(self, iterations):
        return self.rate * self.factor()


def _rate_of(optimizer):
    rate = optimizer._learning_rate
    return rate(None) if isinstance(rate, _Rate) else rate


def _average_of(variable):
    if isinstance(variable, LocalVariable):
        return LocalVariable(variable.gathered(), name="average")
    return tf.Variable(variable, trainable=False, name="average",
                       aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


class _Holder(tf.Module):
    """Trackable list for the checkpoint."""

    def __init__(self, variables):
        super().__init__()
        self.variables_held = variables


class _Memo(tf.train.experimental.PythonState):
    """What `between` returned last: arrays by row, with the stage and round they belong to."""

    def __init__(self):
        self.key, self.arrays = None, {}

    def serialize(self):
        stream = io.BytesIO()
        np.savez(stream, **{"key": np.array(json.dumps(self.key)), **{f"memo/{name}": values
                                                                      for name, values in self.arrays.items()}})
        return stream.getvalue()

    def deserialize(self, text):
        stored = np.load(io.BytesIO(text), allow_pickle=False)
        self.key = json.loads(str(stored["key"]))
        self.arrays = {name[len("memo/"):]: stored[name] for name in stored.files if name.startswith("memo/")}
