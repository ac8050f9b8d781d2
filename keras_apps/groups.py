"""Groups of variables: what moves them, how fast, from which step on, and their averages."""

import math

import tensorflow as tf

from keras_apps.build import build, parse
from keras_apps.local import LocalOptimizer, LocalVariable, parts_of
from keras_apps.paths import inside, paths_of

SUM = tf.distribute.ReduceOp.SUM


class Groups:
    """The optimizers of an app's groups, one for each rate inside a group, and the averages of what they move.

    A variable may be in one group in one phase and in another in the next: each group's optimizer has its own state of
    it. Its average is one.

    Args:    app: built.  stages: of the app.  config: settled.  schedule: () -> factor on every rate at this step.
             step: int64 variable.  strategy: whose scope holds them.
    Raises:  ValueError for a group without an optimizer, an optimizer without a group, or rates of nothing.
    """

    def __init__(self, app, stages, config, schedule, step, strategy):
        self.config, self.step, self.strategy = config, step, strategy
        groups = {}
        for stage in stages:
            for phase in stage["phases"]:
                found = app.variables(stage["name"], phase)
                _require_apart(found, phase)
                for group, variables in found.items():
                    seen = groups.setdefault(group, [])
                    seen += [v for v in variables if not any(v is old for old in seen)]
        _require_apart({group: [v for v in variables if isinstance(v, LocalVariable)]
                        for group, variables in groups.items()}, "")
        given = [group for group, text in config.optimizers.items() if text]     # "" = none
        missing = set(groups) - set(given)
        if missing:
            raise ValueError(f"`optimizers` has no entry for {sorted(missing)}; add one such as "
                             f"\"adam(rate=1e-3)\" (it has {sorted(given)}).")
        for group in given:
            if group not in groups and group not in app.idle:
                raise ValueError(f"`optimizers.{group}` names no group that is trained; these are {', '.join(groups)}. "
                                 "Leave it out, or set it to \"\".")
        self.optimizers, self.locals, self.trained, self.averages, self._key = {}, {}, [], [], {}
        # Keras lists the parts of a variable that is dealt over parameter servers.
        paths = paths_of(app)
        self._whole = {id(part): v for v in paths.values() if not isinstance(v, LocalVariable)
                       for part in parts_of([v])}
        moved = {id(v) for variables in groups.values() for v in variables}
        factors = _factors(config.rates, {path: v for path, v in paths.items()
                                          if moved & {id(v), *map(id, parts_of([v]))}})
        for group, variables in groups.items():
            parts = {}
            for v in variables:
                factor, start = factors.get(id(v), (1.0, 0))
                parts.setdefault((float(f"{factor:.6g}"), start), []).append(v)     # as its name has it
            for (factor, start), members in parts.items():
                suffix = ("" if factor == 1 else f"_x{factor:g}") + (f"_from_{start}" if start else "")
                self._add(group, group + suffix, members, _scaled(schedule, factor, start, step))

    def _add(self, group, key, variables, schedule):
        def make():
            return build("optimizers", self.config.optimizers[group], schedule=lambda rate: Rate(rate, schedule))
        shared = [v for v in variables if not isinstance(v, LocalVariable)]
        local = [v for v in variables if isinstance(v, LocalVariable)]
        self._key.update({(group, id(v)): key for v in variables})
        known = set(map(id, self.trained))
        whole = list({id(v): v for v in (self._whole.get(id(v), v) for v in shared) if id(v) not in known}.values())
        with self.strategy.scope():
            averages = [_average_of(v) for v in whole + local] if self.config.ema else []
        self.trained += whole + local
        self.averages += averages
        if shared:
            with self.strategy.scope():
                self.optimizers[key] = make()
                self.optimizers[key].build(shared)
        if local:
            self.locals[key] = LocalOptimizer(make, local, averages[len(whole):])

    def stored(self):
        """{name: trackable} for a checkpoint; the averages of local variables lie with their optimizer."""
        found = {**{f"optimizer_{key}": value for key, value in self.optimizers.items()},
                 **{f"local_{key}": value for key, value in self.locals.items()}}
        if self.config.ema:
            found["averages"] = _Holder([v for v in self.averages if not isinstance(v, LocalVariable)])
        return found

    # ---- one step, in replica context

    def reduced(self, variables, gradients, context):
        """The gradients summed over the replicas (of local variables: this replica's), and their global norm.

        None stays None. Shards count once each in the norm.
        """
        place = [i for i, (v, g) in enumerate(zip(variables, gradients))
                 if g is not None and not isinstance(v, LocalVariable)]
        gradients = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
        if place and self.strategy.num_replicas_in_sync > 1:
            for i, g in zip(place, context.all_reduce(SUM, [gradients[i] for i in place])):
                gradients[i] = g
        squares = tf.add_n([tf.zeros([])] + [_square(gradients[i]) for i in place])
        own = [_square(g) for v, g in zip(variables, gradients) if isinstance(v, LocalVariable) and g is not None]
        if own:
            squares += context.all_reduce(SUM, tf.add_n(own))
        return gradients, tf.sqrt(squares)

    def apply(self, members, gradients, norm):
        """Moves what is in a phase's groups, after scaling all gradients to a global norm of at most `clip`.

        Args:    members: [(group, variable)], a gradient or None each.
        """
        if self.config.clip:
            factor = tf.minimum(1.0, self.config.clip / tf.maximum(norm, 1e-12))
            gradients = [g if g is None else g * tf.cast(factor, g.dtype) for g in gradients]
        found = {id(v): g for (_, v), g in zip(members, gradients)}
        for key, optimizer in self.optimizers.items():
            own = [(g, v) for (group, v), g in zip(members, gradients)
                   if g is not None and self._key[group, id(v)] == key and not isinstance(v, LocalVariable)]
            if own:
                optimizer.apply_gradients(own, skip_gradients_aggregation=True)
        for local in self.locals.values():
            local.apply([found.get(id(v)) for v in local.local])

    # ---- after it, outside replica context

    def rates(self):
        """{name: the rate this step was taken with}."""
        optimizers = {**{key: local.optimizers[0][0] for key, local in self.locals.items()}, **self.optimizers}
        return {key: _rate_of(optimizer) for key, optimizer in optimizers.items()}

    def average(self):
        """average += (1 - d) (value - average), d = min(ema, (1 + t) / (10 + t)): early steps are not over-weighted."""
        if self.averages:
            t = tf.cast(self.step, tf.float32)
            rest = 1.0 - tf.minimum(self.config.ema, (1.0 + t) / (10.0 + t))
            for average, value in zip(parts_of(self.averages), parts_of(self.trained)):
                average.assign_add(tf.cast(rest, value.dtype) * (value - average))


def _require_apart(groups, phase):
    """Refuses a variable that two groups would move at once; one that lives on replicas, two at all."""
    owner = {}
    for group, variables in groups.items():
        for v in variables:
            if owner.setdefault(id(v), group) != group:
                where = f" of phase {phase!r}" if phase else ""
                raise ValueError(f"`{getattr(v, 'name', 'a variable')}` is in the groups {owner[id(v)]!r} and "
                                 f"{group!r}{where} but one optimizer must hold its state; name one group for it "
                                 "(`rates` changes its rate, also from a step on).")


class Rate(tf.keras.optimizers.schedules.LearningRateSchedule):
    """rate x schedule(step of the loop), whatever the optimizer's own count of updates is."""

    def __init__(self, rate, factor):
        self.rate, self.factor = rate, factor

    def __call__(self, iterations):
        return self.rate * self.factor()


def _rate_of(optimizer):
    rate = optimizer._learning_rate
    return rate(None) if isinstance(rate, Rate) else rate


def _square(gradient):
    return tf.cast(tf.nn.l2_loss(gradient) * 2.0, tf.float32)


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


# ---- rates

def _scaled(schedule, factor, start, step):
    if (factor, start) == (1.0, 0):
        return schedule
    return lambda: schedule() * factor * tf.cast(step >= start, tf.float32)


def _factors(texts, paths):
    """{id of variable or part: (factor, start)} of `config.rates`; several rules multiply, the latest start counts.

    "layers(path='network/backbone', factor=0.1, start=500)": what lies below the path learns with a tenth of its
    group's rate, and not before step 500.
    "depth(path='network/backbone/stages', decay=0.75)": place i of n below the path learns with 0.75^(n - 1 - i).
    """
    found = {}
    for text in texts:
        name, words = parse(text)
        rule = _RULES.get(name)
        try:
            chosen = rule(paths, **words)
        except (TypeError, ValueError, AttributeError):
            raise ValueError(f"`rates` has {text!r} but must be like \"layers(path='network/backbone', factor=0.1, "
                             "start=500)\" or \"depth(path='network/backbone/stages', decay=0.75)\".") from None
        if not chosen:
            near = sorted({"/".join(path.split("/")[:3]) for path in paths})
            raise ValueError(f"`rates` has {text!r} but nothing that is trained lies there; there are "
                             f"{', '.join(near)}.")
        for path, (factor, start) in chosen.items():
            if not (0 <= factor < math.inf and start >= 0):
                raise ValueError(f"`rates` has {text!r} but factors and starts must not be negative, or without end.")
            for part in {id(part): part for part in (paths[path], *parts_of([paths[path]]))}.values():
                before = found.get(id(part), (1.0, 0))
                found[id(part)] = (before[0] * factor, max(before[1], start))
    return found


def _layers(paths, path, factor=1.0, start=0):
    return {name: (float(factor), int(start)) for name in paths if inside(name, path)}


def _depth(paths, path, decay):
    below = {name: name[len(path):].strip("/").split("/")[0] for name in paths if inside(name, path)}
    order = sorted(set(below.values()), key=lambda part: (not part.isdecimal(), int(part) if part.isdecimal() else 0,
                                                          part))
    return {name: (float(decay) ** (len(order) - 1 - order.index(part)), 0) for name, part in below.items()}


_RULES = {"layers": _layers, "depth": _depth}
