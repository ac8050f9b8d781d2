"""Trains a config on data, evaluates the last step and exports a SavedModel version.

    python -m keras_apps.train --config=keras_apps/configs/<app>/<choice>.py --data=DIR --workdir=DIR [--models=DIR]

Without --models the version goes to saved_models/models/<task>/<n>/, where running servers pick it up; --models=
exports nothing. On a workdir with checkpoints it resumes; on a finished one it says so and exits 0. SIGTERM or Ctrl-C
saves after the step and leaves with exit code 143, which cluster managers take as "start again"; --max_minutes saves,
evaluates and exports what there is then; the same command goes on from both. --doctor looks at config and data and
leaves. Several processes, one a machine, train together with --strategy=multi_worker and TF_CONFIG: see
`keras_apps.launch` and keras_apps/deploy/.
"""

import contextlib
import json
import os
import sys
import tempfile

import tensorflow as tf
from absl import flags, logging
from ml_collections import config_flags
from rich.console import Console

from keras_apps import doctor
from keras_apps import evaluate as evaluation
from keras_apps.actions import ShowProgress, WriteHistory, WriteTensorBoard
from keras_apps.build import ROOT
from keras_apps.card import UNFIT, cautions, model_card
from keras_apps.checkpoints import checkpoints_in
from keras_apps.cluster import Workers
from keras_apps.config import explain, to_json
from keras_apps.run import Run, claim, read_json
from keras_apps.stopping import TERMINATED, Stopping
from keras_apps.strategy import NAMES, make_strategy
from keras_apps.watch import Follow, Profile, WatchCollapse
from saved_models import baseline
from saved_models.export import export
from tfrecords import command
from tfrecords.shards import write_file
from tfrecords.write import written

FLAGS = flags.FLAGS
COLLAPSE_EVERY = 200    # steps


def export_run(run, loop, result, models):
    """One version `<models>/<task>/<n>/` of the averaged weights, verified against the live model."""
    task = run.config.app
    signatures = run.app.signatures()
    requests = {**image_requests(run, signatures), **run.app.requests()}
    calibration = {**run.app.calibration, "data_sha256": result["data_sha256"]}
    assets = {"classes.json": run.names, "calibration.json": calibration,
              "config.json": json.loads(to_json(run.config)),
              "model_card.md": model_card(task, run, result), "metrics.json": result}
    monitored = held_out_answers(run, signatures)
    if monitored:
        assets[baseline.FILE] = monitored
    decoder = run.decoder
    if run.app.exact and run.images.unresized:
        decoder = decoder.exactly(run.images.unmixed)
    if run.app.colourless:
        decoder = decoder.without_colour()
    return export(models, task, signatures, decoder, run.app.served(), assets, requests)


def held_out_answers(run, signatures):
    """What held-out images are answered with: the version's monitoring.json; {} of apps without such answers."""
    split = run.splits.get("test")
    if split is None or not any("images" in entry for entry in signatures.values()):
        return {}
    split = split.spread(baseline.MOST_IMAGES)
    return baseline.baseline(signatures, len(split.rows), split.load, split.identities,
                             grouped=run.app.judged_by == "pairs")


def image_requests(run, signatures):
    """{signature: {input: values}}: a request of training images for each signature on images."""
    taking = {name: entry["images"] for name, entry in signatures.items() if "images" in entry}
    if not taking:
        return {}
    other = run.rows[run.labels[run.rows] != run.labels[run.rows[0]]]
    first, second = run.records.images([run.rows[0], other[0]])
    form, stem = ("_tensor", "image_tensor") if run.decoder.raw else ("", "image_bytes")
    if run.decoder.raw:
        first, second = run.decoder.numbers(first).numpy(), run.decoder.numbers(second).numpy()
    return {f"{name}{form}": {stem: [first]} if count == 1 else {f"{stem}_1": [first], f"{stem}_2": [second]}
            for name, count in taking.items()}


def define_flags():
    config_flags.DEFINE_config_file("config", None, "file below keras_apps/configs")
    flags.mark_flag_as_required("config")
    flags.DEFINE_string("data", None, "folder written by `tfrecords.write`; or a folder, zip or .csv of images, whose "
                        "records are then written to <workdir>/data", required=True)
    flags.DEFINE_string("workdir", None, "checkpoints, logs and evaluation.json go here", required=True)
    flags.DEFINE_string("models", str(ROOT / "saved_models" / "models"),
                        "export a version to <models>/<task>/<n>/ at the end; empty = do not export")
    flags.DEFINE_enum("strategy", "one", NAMES, "where to compute")
    flags.DEFINE_integer("replicas", 0, "replicas of --strategy=mirrored: GPUs, or parts of the CPU; 0 = all GPUs")
    flags.DEFINE_string("tpu", "", "name or address of the TPU of --strategy=tpu; empty = this machine's (untested)")
    flags.DEFINE_boolean("deterministic", False, "every run on as many devices gives the same bits; slower")
    flags.DEFINE_float("max_minutes", 0.0, "stop, evaluate and export after so many minutes; 0 = no limit")
    flags.DEFINE_boolean("doctor", False, "say what config, data and machine let expect, and leave")
    flags.DEFINE_string("profile_steps", "", "a,b: profile the steps from a to b for TensorBoard")
    flags.DEFINE_integer("histograms_every", 0, "steps between histograms of the weights in TensorBoard; 0 = none",
                         lower_bound=0)


def actions_of(run, workdir, profile):
    """What watches a run, in order: those that add to the logs come before those that write them."""
    history, board, progress = WriteHistory(workdir), WriteTensorBoard(workdir, FLAGS.histograms_every), ShowProgress()
    every = max(run.config.log_every, 10, min(COLLAPSE_EVERY, run.config.steps // 20))
    watchers = [WatchCollapse(run, every), *([Profile(workdir, *profile)] if profile else ())]
    watchers.append(Follow(run, run.config.follow_every, board))
    return [*watchers, progress, history, board], history, board, progress


def show_batch(run, board):
    """The first batch as the network sees it, in TensorBoard."""
    stage = run.app.stages()[0]
    batch = next(iter(run.batches(stage).dataset(0).take(1).as_numpy_iterator()))
    times = run.app.info.classes // len(run.names)      # a mixing may make several classes of one
    names = [run.names[label // times] if label >= 0 else "no label" for label in batch["label"]]
    board.batch(0, batch["image"], names)


def steps_of(text):
    """(a, b) of "a,b"; None of "".   Raises: ValueError for anything else."""
    if not text:
        return None
    first, _, last = text.partition(",")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
        raise ValueError(f"`--profile_steps` is `{text}` but must be two steps such as 10,12, from 1 on.")
    return int(first), int(last)


def main(_):
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)      # TensorFlow notes every renamed input while exporting
    workdir, profile, stopping = FLAGS.workdir, steps_of(FLAGS.profile_steps), Stopping(FLAGS.max_minutes)
    if FLAGS.deterministic:
        tf.keras.utils.set_random_seed(FLAGS.config.seed)       # demanded before
        tf.config.experimental.enable_op_determinism()
    strategy = make_strategy(FLAGS.strategy, FLAGS.replicas, FLAGS.tpu)
    workers = Workers(strategy)
    if FLAGS.doctor:
        with tempfile.TemporaryDirectory() as folder:       # it leaves nothing behind
            doctor.show(doctor.examine(Run(FLAGS.config, data_of(os.path.join(folder, "data")), strategy)))
        return
    place = os.path.join(workdir, "data")
    data = data_of(place) if workers.chief else None
    workers.ask(0)      # the others read what the first has written
    run = Run(FLAGS.config, data or data_of(place, quiet=True), strategy)
    run.check()
    with workers.named():
        train(run, workers, workdir, profile, stopping)


def data_of(place, quiet=False):
    """The data folder of --data, written to `place` where it is images or a table; what was written is told."""
    # Where nothing was trained yet a table that was mended is written anew.
    trained = checkpoints_in(os.path.join(os.path.dirname(place), "checkpoints"))
    data, said = written(FLAGS.data, place, renew=not trained)
    for line in () if quiet else said:
        print(line, file=sys.stderr)
    return data


def train(run, workers, workdir, profile, stopping):
    """From a checked run to its evaluation and export.

    Args:    run: a `Run`.  workers: of its strategy.  profile: of `steps_of`.  stopping: a `Stopping`.
    """
    if workers.chief:
        claim(workdir, run)
    workers.ask(0)      # the others look at the workdir once it is claimed
    actions, history, board, progress = actions_of(run, workdir, profile) if workers.chief else ((), None, None, None)
    loop = run.loop(workdir, actions, stopping)
    done = os.path.join(workdir, "evaluation.json")
    exported = os.path.join(workdir, "export.json")
    start = loop.restore()
    evaluated = read_json(done) or {}
    if loop.finished() and evaluated.get("trained") == start and not wants_export(exported, start):
        if workers.chief:
            print(f"{workdir} is finished: step {start} of {loop.steps}, see report.html; use another --workdir to "
                  "train anew.")
        return
    if workers.chief:
        parts = ", ".join(f"{stage['name']} {stage['steps']}" for stage in loop.stages)
        print(f"{len(run.rows)} images of {len(run.names)} {run.app.kinds}, step {start} of {loop.steps}"
              + (f" ({parts})" if len(loop.stages) > 1 else ""), file=sys.stderr)
        if not start:
            show_batch(run, board)
            for sentence in run.app.probe(run.splits):
                print(sentence, file=sys.stderr)
    try:
        reason = loop.run()
    finally:
        if progress:
            progress.close()
    if reason == "signal":
        if workers.chief:
            print(f"stopped by {stopping.signal or 'a signal to another worker'}: step {loop.position()} of "
                  f"{loop.steps} is saved; the same command goes on from there.", file=sys.stderr)
        sys.exit(TERMINATED)
    finish(run, loop, history, reason, exported)


def wants_export(exported, step):
    """Whether --models asks for a version that is not there: of this step, below that folder."""
    version = read_json(exported) or {}
    place = version.get("path", "")
    there = os.path.isdir(place) and os.path.dirname(os.path.dirname(place)) == os.path.abspath(FLAGS.models)
    return bool(FLAGS.models) and not (there and version.get("trained") == step)


def finish(run, loop, history, reason, exported):
    """Evaluation, by all workers; tables and export, by the first."""
    notes, trained = Console(stderr=True), loop.position()
    loop.restore_best()
    with notes.status("evaluating") if loop.workers.chief else contextlib.nullcontext():
        result = evaluation.evaluate(run, loop, FLAGS.workdir, history, trained, reason)
    if loop.workers.chief:
        evaluation.show(result, run.app.grids(result))
        if reason == "patience":
            print(f"no better `{run.config.best}` in {run.config.patience} looks: stopped at step {trained} of "
                  f"{loop.steps}.")
        if loop.position() != trained:
            print(f"the figures are those of step {loop.position()}, the best by `{run.config.best}` on validation "
                  "images.")
        if reason == "time":
            print(f"stopped after --max_minutes={FLAGS.max_minutes:g} at step {trained} of {loop.steps}; the same "
                  "command goes on from there.")
        print(f"tables and pictures: {os.path.join(FLAGS.workdir, 'report.html')}")
        if FLAGS.models:
            with loop.averaged(), notes.status("exporting and verifying"):
                path = export_run(run, loop, result, FLAGS.models)
            write_file(exported, json.dumps({"path": os.path.abspath(path), "trained": trained}))
            folder = os.path.dirname(path)
            if any(UNFIT in caution for caution in cautions(result)):
                print(f"exported {path}, which the warnings above say not to serve; delete it before a server of "
                      f"{folder} turns to it")
            else:
                print(f"exported {path}; a server of {folder} turns to it by itself")
    loop.workers.ask(0)     # nobody leaves before the first is done: the others would be missed


if __name__ == "__main__":
    command.run(main, define_flags, explain=explain)
