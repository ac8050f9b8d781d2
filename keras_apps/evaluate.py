"""Evaluates a trained run on data, or a search by embeddings that any tool has written.

    python -m keras_apps.evaluate --workdir=DIR --data=DIR
    python -m keras_apps.evaluate --query=a.npz --gallery=b.npz --protocol=market1501 [--precision=trapezoid]
        [--reranker="k_reciprocal()"] [--out=scores.json]

The first writes `<workdir>/evaluation.json`, pictures and TensorBoard. The second reads arrays `embeddings` [n, D],
`identities` [n] and, where there are any, `cameras` [n] and `tracks` [n], each numbers or strings; the gallery's tracks
add the figures image_to_track_*, both sides' track_to_track_*. Where both name one file its images are one set, in
which none finds itself. vehicle_id takes one set, so --query alone does.
"""

import json
import math
import os
import sys

import numpy as np
from absl import flags
from rich.console import Console

from keras_apps import charts, figures, report
from keras_apps.actions import WriteHistory, WriteTensorBoard
from keras_apps.build import build
from keras_apps.card import cautions
from keras_apps.config import explain
from keras_apps.metrics import protocols
from keras_apps.run import Run, claim, commit, stored_config
from keras_apps.strategy import make_strategy
from keras_apps.vectors import read_vectors
from tfrecords import command
from tfrecords.shards import write_file
from tfrecords.write import written

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
              "data_sha256": run.records.manifest["data_sha256"], "floor": run.app.floor,
              "synthetic": run.records.synthetic, "damaged": len(run.images.damaged)}
    # What is not defined, such as the AUC of one class, is null: NaN is no JSON.
    result = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in result.items()}
    write_file(os.path.join(workdir, "evaluation.json"), json.dumps(result, indent=1, sort_keys=True))
    with loop.averaged():
        pictures = {**run.app.pictures(run.splits), **followed(workdir)}
        projection, scored = run.app.projection(run.splits), run.app.scored(run.splits)
    board = WriteTensorBoard(workdir)
    numbers = {name: value for name, value in metrics.items() if not isinstance(value, str)}
    board.evaluation(loop.position(), numbers, pictures, projection, scored)
    os.makedirs(os.path.join(workdir, "pictures"), exist_ok=True)
    drawn = {tag: charts.png(pixels) for tag, pixels in pictures.items()}
    for tag, data in drawn.items():
        write_file(os.path.join(workdir, "pictures", f"{tag}.png"), data)
    for name, text in run.app.files(run.splits).items():
        write_file(os.path.join(workdir, name), text)
    report.write(run, result, workdir, drawn)
    return result


def followed(workdir):
    """{"followed": chart} of the figures that the app watched while it trained; {} where there are none."""
    rows = [row for row in WriteHistory.read(workdir) if any(name.startswith("follow/") for name in row)]
    names = sorted({name for row in rows for name in row if name.startswith("follow/")})
    if len(rows) < 2:
        return {}
    series = {name[len("follow/"):]: [row.get(name, np.nan) for row in rows] for name in names}
    return {"followed": charts.curve([row["step"] for row in rows], series, "Watched while training", "figure")}


def show(result, grids=()):
    """The metrics with their floors as tables, and what they warn of, on stdout."""
    figures.show(Console(), result, grids)
    for caution in cautions(result):
        print(f"warning: {caution}")


def define_flags():
    flags.DEFINE_string("workdir", None, "folder of a `keras_apps.train` run")
    flags.DEFINE_string("data", None, "folder written by `tfrecords.write`, or what `keras_apps.train` was given")
    flags.DEFINE_string("query", None, ".npz file of the embeddings that ask")
    flags.DEFINE_string("gallery", None, ".npz file of the embeddings that are searched")
    flags.DEFINE_string("protocol", "", f"rules of the search: {', '.join(protocols.PROTOCOLS)}")
    flags.DEFINE_string("precision", "", "average precision as step (if not given) or trapezoid")
    flags.DEFINE_string("reranker", "", "method of keras_apps/rerankers, such as k_reciprocal(); \"\" = by cosine")
    flags.DEFINE_string("out", "", "file that the figures are written to as JSON")


def main(_):
    workdir = FLAGS.workdir
    config = stored_config(workdir)
    data, said = written(FLAGS.data, os.path.join(workdir, "data"))
    for line in said:
        print(line, file=sys.stderr)
    run = Run(config, data, make_strategy("one"))
    claim(workdir, run)
    loop = run.loop(workdir)
    trained = loop.restore(training=False)
    if not trained:
        raise ValueError(f"{workdir} holds no checkpoint to evaluate; train first.")
    reason = loop.ended()
    loop.restore_best()
    print(f"checkpoint of step {loop.step.numpy()} of {loop.steps}", file=sys.stderr)
    result = evaluate(run, loop, workdir, WriteHistory(workdir), trained, reason)
    show(result, run.app.grids(result))
    print(f"tables and pictures: {os.path.join(workdir, 'report.html')}")


def score(_):
    """The figures of a search by embeddings in files."""
    if FLAGS.out and not os.path.isdir(os.path.dirname(os.path.abspath(FLAGS.out))):
        raise ValueError(f"`--out` is `{FLAGS.out}` but its folder does not exist; make it, or give another.")
    protocols.require(FLAGS.protocol, True)
    precision = FLAGS.precision or "step"
    reranker = build("rerankers", FLAGS.reranker) if FLAGS.reranker else None
    query = read_vectors(FLAGS.query)
    one_set = not FLAGS.gallery or _same_file(FLAGS.query, FLAGS.gallery)
    gallery = query if one_set else read_vectors(FLAGS.gallery)
    sides = (query.embeddings, gallery.embeddings, query.identities, gallery.identities, query.cameras,
             gallery.cameras)
    result = protocols.evaluate(*sides, FLAGS.protocol, precision, reranker=reranker,
                                same_index=np.arange(len(query.embeddings)) if one_set else None)
    if gallery.tracks is not None:
        result.update(protocols.match_tracks(*sides, query.tracks, gallery.tracks, FLAGS.protocol, precision,
                                             one_set=one_set))
    show(result)
    if one_set:
        print("query and gallery are one set: no image finds itself")
    print(f"{result['unmatched']} of {result['queries'] + result['unmatched']} queries have no match in the gallery; "
          "they are left out of the means")
    if FLAGS.out:
        result.update({"protocol": FLAGS.protocol, "precision": precision, "reranker": FLAGS.reranker,
                       "gallery": len(gallery.embeddings), "one_set": one_set})
        write_file(FLAGS.out, json.dumps(result, indent=1, sort_keys=True))


def _same_file(*paths):
    paths = [os.path.expanduser(path) for path in paths]
    return all(map(os.path.exists, paths)) and os.path.samefile(*paths)


def start(argv):
    """One of the two ways to evaluate, by the flags that are given."""
    run, files = ([name for name in names if getattr(FLAGS, name)] for names in (
        ("workdir", "data"), ("query", "gallery", "protocol", "precision", "reranker", "out")))
    if bool(run) == bool(files):
        given = f"`--{run[0]}` and `--{files[0]}` are both given" if run else "nothing to evaluate is given"
        raise ValueError(f"{given}; give either --workdir=DIR and --data=DIR, or --query=FILE, --gallery=FILE and "
                         "--protocol=NAME.")
    needed = ("workdir", "data") if run else ("query",) if FLAGS.protocol == "vehicle_id" else ("query", "gallery")
    missing = [name for name in needed if not getattr(FLAGS, name)]
    if missing:
        raise ValueError(f"`--{missing[0]}` is missing; give --{missing[0]}=VALUE.")
    (main if run else score)(argv)


if __name__ == "__main__":
    command.run(start, define_flags, explain=explain)
