"""The one training loop, for every application, under `tf.distribute`."""

import bisect
import contextlib
import os
import sys
import time
import zlib

import numpy as np
import tensorflow as tf

from keras_apps.checkpoints import Checkpoints, Host
from keras_apps.cluster import Workers
from keras_apps.config import flat
from keras_apps.groups import Groups
from keras_apps.local import LocalVariable, parts_of
from keras_apps.parameter_server import Scheduled
from keras_apps.paths import paths_of
from keras_apps.stages import placed, scheduled
from keras_apps.step import Step, draw_of
from keras_apps.stopping import SIGNALLED, TIME_UP, Stopping
from tfrecords.read import packed
from tfrecords.shards import write_file


class Loop:
    """Trains an app through its stages; exact on any number of replicas, resumable at every checkpoint.

    What a step computes is said in `step.Step`, what moves which variables in `groups.Groups`.

    Args:    app: an `App`, built inside the strategy's scope.  config: settled.
             batches: (stage) -> an object with `dataset(start, replicas, here, memo)`, such as `Batches`.
             strategy: of `make_strategy`.
             workdir: where checkpoints go; None = nothing is written and nothing resumed.
             actions: (loop, logs) -> None, called every `log_every` steps and after the last step; those with a method
             `at(step)` have it called before every step. Of several workers the first calls them.
             judge: () -> {metric: float} of the validation images, asked every `evaluate_every` steps with the averaged
             weights in place.
             stopping: a `Stopping`; None = nothing stops the run before its end.
    Raises:  ValueError for what does not fit together.
    """

    def __init__(self, app, config, batches, strategy, workdir=None, actions=(), judge=None, stopping=None):
        self.app, self.config, self.batches, self.strategy = app, config, batches, strategy
        self.workdir, self.judge, self.stopping = workdir, judge, stopping or Stopping()
        self.workers = Workers(strategy)
        self.actions = list(actions) if self.workers.chief else []
        self.stages, self.steps = placed(app.stages())
        schedule = scheduled(config.schedule, self.stages)
        with strategy.scope():
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step",
                                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.groups = Groups(app, self.stages, config, lambda: schedule(self.step), self.step, strategy)
        self.trained, self.averages = self.groups.trained, self.groups.averages
        self.arithmetic = Step(app, config, strategy, self.step, self.groups)
        self.scheduled = Scheduled.of(strategy, self.arithmetic, app, self.groups)
        paths = paths_of(app)
        if strategy.num_replicas_in_sync > 1:
            _require_one_value(paths)
        # What must be finite to be saved: moving statistics as well.
        self.held = {id(part): part for part in parts_of([*self.trained, *paths.values()])
                     if part.dtype.is_floating}.values()
        self.host = Host(config.to_dict())
        names = {id(v): path for path, v in paths.items()}
        self.host.facts["averages"] = [names.get(id(v), "") for v in self.trained
                                       if config.ema and not isinstance(v, LocalVariable)]
        self.restored = False
        self.best = _Best(config) if config.best else None
        self.checkpoints = self.bests = None
        if workdir:
            parts = {"app": app, "step": self.step, **self.groups.stored()}
            if self.arithmetic.scaled:
                parts.update(scale=self.arithmetic.scale, sound=self.arithmetic.sound)
            judged = [name for name in parts if name in ("app", "step", "averages") or name.startswith("local_")]
            self.checkpoints, self.bests = (
                Checkpoints(os.path.join(workdir, name), parts, self.host, keep, judged, self.groups.locals.values(),
                            self.workers) for name, keep in (("checkpoints", config.keep), ("best", 1)))

    # ---- running

    def position(self):
        return int(self.step.numpy())

    def restore(self, training=True):
        """Continues from the newest checkpoint (or only judges it); returns the step it stands at.

        Raises:  ValueError where none is sound, it is of another network, or the workers see different ones.
        """
        self.restored = True
        if self.checkpoints:
            self.checkpoints.restore(training)
        steps = self.workers.ask(self.position())
        if len(set(steps)) > 1:
            raise ValueError(f"the workers found checkpoints of the steps {steps} in {self.workdir} but must see the "
                             "same files; put --workdir on a file system that all share.")
        return self.position()

    def restore_best(self):
        """Takes the weights of the best checkpoint, where the config asks for one; says so where it cannot be read."""
        if not self.best or not self.bests or "best" not in self.host.facts:
            return
        try:
            if self.bests.restore(training=False):
                return
            reason = f"{self.bests.directory} holds none"
        except ValueError as error:
            reason = str(error)
        self.checkpoints.restore(training=False)
        if self.workers.chief:
            print(f"warning: the best checkpoint cannot be read ({reason}); the last step's is judged instead.",
                  file=sys.stderr)

    def finished(self):
        """Whether nothing is left to train: the last step is done, or patience ended the run."""
        return self.position() >= self.steps or self.host.facts.get("stopped") == "patience"

    def run(self):
        """Trains from where the checkpoint stands to the last step.

        Returns: why it ended: "finished", "patience", "signal" or "time".
        """
        with self.workers.named(), self.stopping.watching():
            if not self.restored:
                self.restore()
            return self._run_stages()

    def _run_stages(self):
        for stage in self.stages:
            if not self.finished() and self.position() < stage["last"]:
                reason = self._run_stage(stage)
                if reason:
                    return reason
        return self.ended()

    def ended(self):
        """Why training ended where it stands: "finished", "patience", or "time" where there are steps left."""
        return self.host.facts.get("stopped") or ("finished" if self.finished() else "time")

    def _run_stage(self, stage):
        draws = sum(stage["phases"].values())
        bounds = [stage["first"] + stage["steps"] * i // stage["rounds"] for i in range(stage["rounds"] + 1)]
        step = self.position()
        take = (self.scheduled or self.arithmetic).function(stage)
        config, clock, since = self.config, None, None
        while step < stage["last"]:
            number = bisect.bisect(bounds, step) - 1
            batches = self.batches(stage)
            if self.host.key != [stage["name"], number]:
                self._between(stage, number, batches)
            iterator = self._iterator(batches, stage["draw"] + (step - stage["first"]) * draws)
            while step < bounds[number + 1]:
                for action in self.actions:
                    if hasattr(action, "at"):
                        action.at(step)
                logs = take(iterator)
                step += 1
                if since is None:           # the first step traces the graph: not counted in the rate
                    clock, since = time.perf_counter(), step
                judges = self.judge and config.evaluate_every and step % config.evaluate_every == 0
                saves = step % config.checkpoint_every == 0 or step == self.steps
                reason = self._asked()
                if saves or judges or reason or step % config.log_every == 0 or step == 1:
                    logs = self._settled(stage, step, logs)
                    now = time.perf_counter()
                    if step > since:
                        logs["images_per_second"] = (step - since) * draws * stage["batch"] / (now - clock)
                    if judges:
                        logs.update(self._judged(step))
                        reason = reason or self.host.facts.get("stopped")
                    for action in self.actions:
                        action(self, logs)
                    clock, since = time.perf_counter(), step
                if saves or reason:
                    self.save()
                if reason:
                    return reason
            if self.scheduled:      # no step of this round is on its way while the next one is prepared
                self.scheduled.join()
                self.step.assign(step)
        return None

    def _asked(self):
        """Why the run is to stop now: "signal", "time" or None; the same answer on all workers."""
        asked = self.stopping.asked()
        if self.workers.count > 1:      # at every step, since a signal may reach one of them only
            answers = self.workers.ask(asked)
            asked = SIGNALLED if SIGNALLED in answers else max(answers)
        return {SIGNALLED: "signal", TIME_UP: "time"}.get(asked)

    def _between(self, stage, number, batches):
        with self.averaged():
            arrays = {name: np.ascontiguousarray(values)
                      for name, values in self.app.between(stage["name"], number, batches).items()}
        for name, values in arrays.items():
            if values.dtype.kind not in "biuf":
                raise ValueError(f"`between` gave {name!r} as {values.dtype} but must give numbers; convert it.")
        digest = zlib.crc32(b"".join(name.encode() + values.tobytes() for name, values in sorted(arrays.items())))
        if len(set(self.workers.ask(digest))) > 1:
            raise ValueError(f"`between` gave different arrays on the workers before round {number} of stage "
                             f"{stage['name']!r} but must give the same; draw from the run's seed only.")
        self.host.key, self.host.arrays = [stage["name"], number], arrays

    def _iterator(self, batches, start):
        if self.scheduled:
            return iter(batches.dataset(start, 1, (0,), self.host.arrays))

        def own(context):
            replicas = self.strategy.num_replicas_in_sync
            each = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * each
            return batches.dataset(start, replicas, tuple(range(first, first + each)), self.host.arrays)
        return iter(self.strategy.distribute_datasets_from_function(own))

    def _settled(self, stage, step, logs):
        """The logs as floats, once it is sure that every step so far was finite."""
        logs = {name: float(value) for name, value in logs.items()}
        if self.scheduled:
            self.step.assign(step)      # a step that a dying worker had begun was counted twice
        fault, place = self.arithmetic.fault.numpy().tolist()
        if fault >= 0:
            phase = [*stage["phases"]][place // 1000]
            bad = [name for name, value in logs.items() if fault + 1 == step and name.startswith(f"{phase}/")
                   and not np.isfinite(value)]
            what = f"`{bad[0]}` is {logs[bad[0]]}" if bad else f"the loss of {phase!r}, or its gradient, is not finite"
            where = self._keep_batch(stage, fault, place)
            raise ValueError(f"{what} at step {fault + 1} of stage {stage['name']} but must be finite; use a lower "
                             f"rate or set `clip`, with another --workdir{where}.")
        return logs

    def _keep_batch(self, stage, step, place):
        """Writes the whole batch of an occurrence to the workdir, drawn once more; returns where, as words."""
        if not self.workdir or not self.workers.chief or self.scheduled:    # whose steps take batches in any order
            return ""
        draw = stage["draw"] + draw_of(stage, step, place)
        replicas = self.strategy.num_replicas_in_sync
        parts = self.batches(stage).dataset(draw, replicas, tuple(range(replicas)), self.host.arrays).take(replicas)
        parts = [flat(part) for part in parts.as_numpy_iterator()]
        path = os.path.join(self.workdir, "not_finite", f"step-{step + 1}.npz")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, packed({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}))
        return f" (its batch is in {path})"

    # ---- judging on the way

    def _judged(self, step):
        """Metrics on the validation images as logs; keeps the best checkpoint and notes when patience is at its end."""
        with self.averaged():
            found = self.judge()
        if self.best:
            # The first worker's figure counts: the others' may differ in the last bit.
            better = self.workers.ask(int(self.best.improves(found, self.host.facts)))[0]
            self.best.note(found, step, bool(better), self.host.facts)
            if better and self.bests:
                self._require_finite()
                self.bests.save(step)
        return {f"validation/{name}": value for name, value in found.items() if isinstance(value, float)}

    # ---- checkpoints and averaged weights

    def save(self):
        """A checkpoint; weights that are not finite are refused, so that the one before stays the newest."""
        self._require_finite()
        if self.checkpoints:
            self.checkpoints.save(self.position())

    def _require_finite(self):
        if not all(np.isfinite(part.numpy()).all() for part in self.held):
            raise ValueError(f"the weights are not finite at step {self.position()}; use a lower rate or set `clip`, "
                             "with another --workdir.")

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


class _Best:
    """Which validation so far was the best: `config.best` names the metric, with a minus where less is better."""

    def __init__(self, config):
        self.sign = -1.0 if config.best.startswith("-") else 1.0
        self.name, self.min_delta, self.patience = config.best.lstrip("-"), config.min_delta, config.patience

    def improves(self, found, facts):
        if not isinstance(found.get(self.name), float):
            known = ", ".join(name for name, value in found.items() if isinstance(value, float))
            raise ValueError(f"`best` is {self.name!r} but the evaluation gives {known}; name one of them, with a "
                             "minus where less is better.")
        if np.isnan(found[self.name]):
            return False
        return "best" not in facts or self.sign * (found[self.name] - facts["best"]) > self.min_delta

    def note(self, found, step, better, facts):
        if better:
            facts.update(best=found[self.name], best_step=step, waited=0)
        else:
            facts["waited"] = facts.get("waited", 0) + 1
            if self.patience and facts["waited"] >= self.patience:
                facts["stopped"] = "patience"


def _require_one_value(paths):
    """Refuses variables that have another value on each replica: what is saved of them is not what was there."""
    for path, variable in paths.items():
        if getattr(variable, "synchronization", None) == tf.VariableSynchronization.ON_READ:
            raise ValueError(f"`{path}` has another value on each replica, so that neither results nor restarts would "
                             "be exact; make it with aggregation=ONLY_FIRST_REPLICA (for batch norm: "
                             "keras_apps/layers/batch_norm.py), or use --strategy=one.")
