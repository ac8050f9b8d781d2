"""Evaluates a trained run on data, writes `<workdir>/evaluation.json`, pictures and TensorBoard.

    python -m keras_apps.evaluate --workdir=DIR --data=DIR
"""

import json
import os
import sys

from absl import flags
from rich.console import Console
from rich.table import Table

from keras_apps import charts
from keras_apps.actions import WriteHistory, WriteTensorBoard
from keras_apps.card import cautions
from keras_apps.config import explain
from keras_apps.run import Run, claim, commit, stored_config
from keras_apps.strategy import make_strategy
from tfrecords import command
from tfrecords.shards import write_file

FLAGS = flags.FLAGS


def evaluate(run, loop, workdir, history, trained=None, reason="finished"):
    """Metrics of the averaged weights at the loop's step; written to the workdir. Of several workers all must call.

    Args:    trained: the step that training has reached, where the best one is evaluated.  reason: why it ended there.
    Returns: the flat dictionary of evaluation.json.
    """
    with loop.averaged():
        metrics = run.app.evaluate(run.splits)
    if not loop.workers.chief:
        return metrics
    minutes, wall = history.spent()
    result = {**metrics, "step": loop.position(), "seed": run.config.seed, "minutes": round(minutes, 3),
              "minutes_wall": round(wall, 3), "ended": reason,
              "trained": loop.position() if trained is None else trained, "commit": commit(),
              "data_sha256": run.records.manifest["data_sha256"],
              "synthetic": run.records.synthetic, "damaged": len(run.images.damaged)}
    write_file(os.path.join(workdir, "evaluation.json"), json.dumps(result, indent=1, sort_keys=True))
    pictures = run.app.pictures(run.splits)
    board = WriteTensorBoard(workdir)
    board.evaluation(loop.position(), metrics, pictures, run.app.projection(run.splits), run.app.scored(run.splits))
    os.makedirs(os.path.join(workdir, "pictures"), exist_ok=True)
    for tag, pixels in pictures.items():
        write_file(os.path.join(workdir, "pictures", f"{tag}.png"), charts.png(pixels))
    return result


def show(result):
    """A table of the metrics with their floors, and what they warn of, on stdout."""
    table = Table("metric", "value", "floor")
    for name, value in result.items():
        if isinstance(value, float) and not name.startswith(("floor_", "minutes", "unseen")):
            floor = result.get(f"floor_{name}")
            table.add_row(name, f"{value:.4f}", "" if floor is None else f"{floor:.4f}")
    Console().print(table)
    for caution in cautions(result):
        print(f"warning: {caution}")


def define_flags():
    flags.DEFINE_string("workdir", None, "folder of a `keras_apps.train` run", required=True)
    flags.DEFINE_string("data", None, "folder written by `tfrecords.write`", required=True)


def main(_):
    workdir = FLAGS.workdir
    config = stored_config(workdir)
    run = Run(config, FLAGS.data, make_strategy("one"))
    claim(workdir, run)
    loop = run.loop(workdir)
    trained = loop.restore(training=False)
    if not trained:
        raise ValueError(f"{workdir} holds no checkpoint to evaluate; train first.")
    reason = loop.ended()
    loop.restore_best()
    print(f"checkpoint of step {loop.step.numpy()} of {loop.steps}", file=sys.stderr)
    show(evaluate(run, loop, workdir, WriteHistory(workdir), trained, reason))


if __name__ == "__main__":
    command.run(main, define_flags, explain=explain)
