"""Training with parameter servers: steps are handed to workers, none of which waits for another."""

import tensorflow as tf

from keras_apps.local import LocalVariable

AHEAD = 4       # steps a worker has waiting; more would only hold more batches in memory


class Scheduled:
    """Hands steps to the workers of a `ParameterServerStrategy`; a worker that dies loses no batch.

    The chief draws the batches and sends each with its step, so that every batch is taken once whoever takes it. Steps
    change the weights in the order in which they end: runs are not repeatable, and a batch statistic is one worker's.

    Args:    strategy, step: a `step.Step`.
    """

    def __init__(self, strategy, step):
        self.strategy, self.step = strategy, step
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self.ahead = AHEAD * strategy._extended._num_workers
        self._waiting, self._last = [], None

    @classmethod
    def of(cls, strategy, step, app, groups):
        """One for a strategy with parameter servers, else None.

        Raises:  ValueError for an app that looks across the batch, or has shares of variables on the replicas.
        """
        if not isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
            return None
        if app.across() or any(isinstance(v, LocalVariable) for v in groups.trained):
            raise ValueError(f"`strategy` is parameter_server but `{app.config.app}` has a term that looks across the "
                             "batch, of which a worker sees its own part only; use --strategy=multi_worker.")
        if step.scaled:
            raise ValueError("`precision` is float16 but --strategy=parameter_server has no common loss scale; use "
                             "bfloat16 or float32.")
        if strategy.num_replicas_in_sync > 1:
            raise ValueError(f"`strategy` is parameter_server with {strategy.num_replicas_in_sync} devices a worker "
                             "but each would take the whole batch; start one worker a device (CUDA_VISIBLE_DEVICES).")
        return cls(strategy, step)

    def function(self, stage):
        """(iterator) -> logs: schedules one step; logs are those of the last step that is known to have ended."""
        draws = sum(stage["phases"].values())

        @tf.function(autograph=False)
        def take(*batches):
            return self.step.take(stage, iter(batches).__next__)

        def schedule(iterator):
            batches = [next(iterator) for _ in range(draws)]
            self._waiting.append(self.coordinator.schedule(take, args=tuple(batches)))
            if len(self._waiting) >= self.ahead:
                self.join()
            return _Later(self)
        return schedule

    def join(self):
        """Waits for all steps; returns the logs of the last."""
        self.coordinator.join()
        self._last = self._waiting[-1].fetch() if self._waiting else self._last
        self._waiting = []
        return self._last


class _Later:
    """Logs that are waited for only where somebody reads them."""

    def __init__(self, scheduled):
        self.scheduled = scheduled

    def items(self):
        return self.scheduled.join().items()
