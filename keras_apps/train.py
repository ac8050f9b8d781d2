"""Trains a config on data, evaluates the last step and exports a SavedModel version.

    python -m keras_apps.train --config=keras_apps/configs/<app>/<choice>.py --data=DIR --workdir=DIR [--models=DIR]

Without --models the version goes to saved_models/models/<task>/<n>/, where running servers pick it up; --models=
exports nothing. On a workdir with checkpoints it resumes; on a finished one it says so and exits 0.
"""

import json
import os
import sys

from absl import flags, logging
from ml_collections import config_flags
from rich.console import Console

from keras_apps import evaluate as evaluation
from keras_apps.actions import ShowProgress, WriteHistory, WriteTensorBoard
from keras_apps.build import ROOT
from keras_apps.card import model_card
from keras_apps.config import explain, to_json
from keras_apps.run import Run, claim, write_file
from keras_apps.strategy import NAMES, make_strategy
from saved_models.export import export
from tfrecords import command

FLAGS = flags.FLAGS


def export_run(run, loop, result, models):
    """One version `<models>/<task>/<n>/` of the averaged weights, verified against the live model."""
    task = run.config.app
    other = run.rows[run.labels[run.rows] != run.labels[run.rows[0]]]
    first, second = run.records.images([run.rows[0], other[0]])
    signatures = run.app.signatures()
    form, stem = ("_tensor", "image_tensor") if run.decoder.raw else ("", "image_bytes")
    if run.decoder.raw:
        first, second = run.decoder.numbers(first).numpy(), run.decoder.numbers(second).numpy()
    requests = {f"{name}{form}": {stem: [first]} if entry["images"] == 1 else
                {f"{stem}_1": [first], f"{stem}_2": [second]} for name, entry in signatures.items()}
    calibration = {**run.app.calibration, "data_sha256": result["data_sha256"]}
    assets = {"classes.json": run.names, "calibration.json": calibration,
              "config.json": json.loads(to_json(run.config)),
              "model_card.md": model_card(task, run, result), "metrics.json": result}
    return export(models, task, signatures, run.decoder, run.app.network.variables, assets, requests)


def define_flags():
    config_flags.DEFINE_config_file("config", None, "file below keras_apps/configs")
    flags.mark_flag_as_required("config")
    flags.DEFINE_string("data", None, "folder written by `tfrecords.write`", required=True)
    flags.DEFINE_string("workdir", None, "checkpoints, logs and evaluation.json go here", required=True)
    flags.DEFINE_string("models", str(ROOT / "saved_models" / "models"),
                        "export a version to <models>/<task>/<n>/ at the end; empty = do not export")
    flags.DEFINE_enum("strategy", "one", NAMES, "where to compute")
    flags.DEFINE_integer("replicas", 0, "replicas of --strategy=mirrored: GPUs, or parts of the CPU; 0 = all GPUs")


def main(_):
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)      # TensorFlow notes every renamed input while exporting
    workdir = FLAGS.workdir
    strategy = make_strategy(FLAGS.strategy, FLAGS.replicas)
    run = Run(FLAGS.config, FLAGS.data, strategy)
    run.check()
    claim(workdir, run)
    history = WriteHistory(workdir)
    loop = run.loop(workdir, [ShowProgress(), history, WriteTensorBoard(workdir)])
    done = os.path.join(workdir, "evaluation.json")
    exported = os.path.join(workdir, "export.json")
    start = loop.restore()
    wanted = FLAGS.models and not os.path.exists(exported)
    if start == loop.steps and os.path.exists(done) and not wanted:
        print(f"{workdir} is finished: step {start} of {loop.steps}, see evaluation.json; use another --workdir to "
              "train anew.")
        return
    print(f"{len(run.rows)} images of {len(run.names)} identities, step {start} of {loop.steps}", file=sys.stderr)
    loop.run()
    notes = Console(stderr=True)
    with notes.status("evaluating"):
        result = evaluation.evaluate(run, loop, workdir, history)
    evaluation.show(result)
    if FLAGS.models:
        with loop.averaged(), notes.status("exporting and verifying"):
            path = export_run(run, loop, result, FLAGS.models)
        write_file(exported, json.dumps({"path": os.path.abspath(path)}))
        print(f"exported {path}; a server of {os.path.dirname(path)} turns to it by itself")


if __name__ == "__main__":
    command.run(main, define_flags, explain=explain)
