"""The arithmetic of one training step: terms, weights, gradients, updates; exact on any number of replicas."""

import tensorflow as tf

from keras_apps.layers.batch_norm import BatchNormLayer
from keras_apps.local import LocalVariable

SUM = tf.distribute.ReduceOp.SUM
BATCH_NORMS = BatchNormLayer, tf.keras.layers.BatchNormalization
FIRST_SCALE, RAISED_AFTER, HIGHEST_SCALE = 2.0 ** 15, 2000, 2.0 ** 24


class Step:
    """One step of a stage: its phases in order, each as often as the stage says, each time with a batch of its own.

        terms, carry = app.losses(...)
        loss = sum over terms of weight x sum(values x value weights) / (value weights summed over ALL replicas)
        gradients: summed over the replicas (local variables: not), clipped by global norm, applied by group
        app.after_step(...)

    Accumulation: a batch is computed in `config.accumulate` parts one after the other, whose gradients are added; the
    same as at once for terms of single examples, so others are refused. float16: the loss is multiplied by a scale
    before the gradient is taken; where a gradient overflows the update is left out and the scale halved, after 2,000
    updates in a row it is doubled. Moving statistics are of the forward pass, which is sound then, and are kept.

    Args:    app, config, strategy: as the loop's.  number: the step variable.  groups: a `Groups`.
    State:   scale, sound (updates since the scale changed), fault [2] (step and place of the first occurrence of a
             phase whose loss or gradient was not finite; -1 = none).
    """

    def __init__(self, app, config, strategy, number, groups):
        self.app, self.config, self.strategy, self.number, self.groups = app, config, strategy, number, groups
        if config.accumulate > 1 and app.across():
            raise ValueError(f"`accumulate` is {config.accumulate} but `{config.app}` has a term that looks across the "
                             "batch, which would see a part of it only; use accumulate=1, or a config without it.")
        norms = [layer for layer in app.submodules if isinstance(layer, BATCH_NORMS)] if config.accumulate > 1 else ()
        if norms:
            raise ValueError(f"`accumulate` is {config.accumulate} but the network has {len(norms)} batch norms, whose "
                             "mean would be that of a part of the batch; use norms of single images, such as "
                             "--config.backbone=\"small_cnn(norm='group')\" --config.norm=layer, or accumulate=1.")
        self.scaled = config.precision == "float16"
        with strategy.scope():
            one = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
            self.scale = tf.Variable(FIRST_SCALE if self.scaled else 1.0, **one)
            self.sound = tf.Variable(0, **one)
            self.fault = tf.Variable([-1, -1], dtype=tf.int64, **one)

    def function(self, stage):
        """(iterator) -> logs {name: scalar}, as a tf.function; moves `number` on by one."""
        @tf.function(autograph=False)
        def step(iterator):
            return self.take(stage, iterator.get_next)
        return step

    def take(self, stage, draw):
        """One step with the batches that `draw()` gives; returns logs."""
        logs = {}
        for phase, times in stage["phases"].items():
            for occurrence in range(times):
                found = self._occurrence(stage, phase, occurrence, draw())
                logs.update({f"{phase}/{name}": value for name, value in found.items()})
        self.groups.average()
        logs.update({f"rate/{key}": rate for key, rate in self.groups.rates().items()})
        self.number.assign_add(1)
        return logs

    def _occurrence(self, stage, phase, occurrence, batch):
        place = place_of(stage, phase, occurrence)
        members = [(group, v) for group, own in self.app.variables(stage["name"], phase).items() for v in own]
        variables = [v for _, v in members]
        known = {}      # what is no tensor cannot leave `strategy.run`

        def compute(batch):
            gradients, carry, logs, norm = self._gradients(phase, place, batch, variables)
            known["places"] = [i for i, g in enumerate(gradients) if g is not None]
            return [gradients[i] for i in known["places"]], carry, logs, norm

        def apply(found, carry, norm):
            gradients = [None] * len(members)
            for i, gradient in zip(known["places"], found):
                gradients[i] = gradient
            self.groups.apply(members, gradients, norm)
            self.app.after_step(phase, carry)

        def both(batch):
            found, carry, logs, norm = compute(batch)
            apply(found, carry, norm)
            return logs, norm

        if not self.scaled:
            logs, norm = self._first(self.strategy.run(both, (batch,)))
            finite = tf.math.is_finite(logs["loss"]) & tf.math.is_finite(norm)
        else:
            # No condition may stand around updates inside `strategy.run`, so it stands around a second one.
            found, carry, logs, norms = self.strategy.run(compute, (batch,))
            logs, norm = self._first((logs, norms))
            sound = tf.math.is_finite(norm)

            def update():
                self.strategy.run(apply, (found, carry, norms))
                return tf.constant(0)
            tf.cond(sound, update, lambda: tf.constant(0))
            finite = tf.math.is_finite(logs["loss"]) & (sound | (self.scale > 1.0))
            logs = {**logs, "scale": tf.identity(self.scale)}
            self._rescale(sound)
        self._note(finite, place)
        return {**logs, "gradient_norm": norm}

    def _first(self, values):
        return tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], values)

    def _rescale(self, sound):
        count = tf.where(sound, self.sound + 1, 0)
        full = count >= RAISED_AFTER
        self.scale.assign(tf.where(sound, tf.where(full, tf.minimum(self.scale * 2.0, HIGHEST_SCALE), self.scale),
                                   tf.maximum(self.scale / 2.0, 1.0)))
        self.sound.assign(tf.where(full, 0, count))

    def _note(self, finite, place):
        here = tf.stack([self.number.read_value(), tf.constant(place, tf.int64)])
        self.fault.assign(tf.where(finite | (self.fault[0] >= 0), self.fault.read_value(), here))

    # ---- in replica context

    def _gradients(self, phase, place, batch, variables):
        context = tf.distribute.get_replica_context()
        seed = tf.constant([self.config.seed, 1], tf.int32)
        for part in (tf.cast(self.number, tf.int64), place, context.replica_id_in_sync_group):
            seed = tf.random.experimental.stateless_fold_in(seed, part)
        parts = self.config.accumulate
        watched = [v.here()[0] if isinstance(v, LocalVariable) else v for v in variables]
        total, logs, carry = [None] * len(variables), None, None
        for part in range(parts):
            # One after the other: side by side they would need the memory of the whole batch.
            before = [g for g in total if g is not None]
            with tf.control_dependencies(before):
                own = seed if parts == 1 else tf.random.experimental.stateless_fold_in(seed, part)
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(watched)
                    terms, carry = self.app.losses(phase, _part(batch, part, parts), own, self.number)
                    loss, found = self._reduce(phase, terms, context)
                    scaled = loss * self.scale if self.scaled else loss
                slopes = tape.gradient(scaled, watched)
            if parts > 1 and carry is not None:
                raise ValueError(f"`accumulate` is {parts} but phase {phase!r} carries something to `after_step`, "
                                 "which would see a part of the batch only; use accumulate=1.")
            total = [new if old is None else old if new is None else old + new
                     for old, new in zip(total, map(_dense, slopes))]
            logs = found if logs is None else {name: value + found[name] for name, value in logs.items()}
        if self.scaled:
            total = [g if g is None else g / tf.cast(self.scale, g.dtype) for g in total]
        gradients, norm = self.groups.reduced(variables, total, context)
        return gradients, carry, logs, norm

    def _reduce(self, phase, terms, context):
        """This replica's share of the loss, and the global value of every term for the log."""
        names, parts = list(terms), self.config.accumulate
        for name, term in terms.items() if parts > 1 else ():
            if isinstance(term, tuple):
                raise ValueError(f"`accumulate` is {parts} but term {name!r} of phase {phase!r} has weights, whose sum "
                                 "is known only once the whole batch is; use accumulate=1.")
        pairs = [term if isinstance(term, tuple) else (term, tf.ones_like(term)) for term in terms.values()]
        pairs = [(tf.cast(values, tf.float32), tf.stop_gradient(tf.cast(weight, tf.float32)))
                 for values, weight in pairs]
        if not pairs:
            raise ValueError(f"phase {phase!r} has no loss term; `losses` must return at least one.")
        taken = {"loss", "gradient_norm", "scale"} & set(names)
        if taken:
            raise ValueError(f"phase {phase!r} has a term named `{min(taken)}` but that is the loop's own name in the "
                             "log; give the term another name.")
        total = parts * context.all_reduce(SUM, tf.stack([tf.reduce_sum(w) for _, w in pairs]))
        # 0 x infinity would be NaN.
        sums = [tf.reduce_sum(tf.where(tf.not_equal(w, 0.0), v, 0.0) * w) for v, w in pairs]
        shares = tf.math.divide_no_nan(tf.stack(sums), total)
        weights = self.app.weights(phase, self.number)
        unknown = set(weights) - set(names)
        if unknown:
            raise ValueError(f"`weights` names {sorted(unknown)} but phase {phase!r} has the terms {sorted(names)}.")
        if not weights:
            raise ValueError(f"`weights` of phase {phase!r} is empty but must name a term; return at least one of "
                             f"{sorted(names)} with its weight.")
        loss = tf.add_n([shares[names.index(name)] * tf.cast(weight, tf.float32)
                         for name, weight in weights.items()])
        reduced = context.all_reduce(SUM, tf.stop_gradient(tf.concat([shares, [loss]], 0)))
        return loss, dict(zip([*names, "loss"], tf.unstack(reduced)))


def place_of(stage, phase, occurrence):
    """The number of a phase's occurrence inside a step."""
    return [*stage["phases"]].index(phase) * 1000 + occurrence


def draw_of(stage, step, place):
    """The draw that the occurrence at a place of a step took, counted from the stage's first."""
    phase, occurrence = divmod(int(place), 1000)
    times = [*stage["phases"].values()]
    return (int(step) - stage["first"]) * sum(times) + sum(times[:phase]) + occurrence


def _part(batch, part, parts):
    """One of the equal parts of a replica's batch."""
    def cut(tensor):
        rows = tensor.shape[0]
        if rows is None or rows % parts:
            raise ValueError(f"`accumulate` is {parts} but a replica's part of the batch holds {rows} rows, which must "
                             "be a multiple of it.")
        return tensor[part * (rows // parts):(part + 1) * (rows // parts)]
    return batch if parts == 1 else tf.nest.map_structure(cut, batch)


def _dense(gradient):
    return gradient if gradient is None else tf.convert_to_tensor(gradient)
