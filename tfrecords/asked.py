"""The images of a server's request log as files to look at and to label.

    python -m tfrecords.asked --log=FILES_OR_FOLDER --out=build/asked

In `out` lie the images below images/, each once; labels.csv with `path` and an empty `label` to fill in; and
answers.csv, which says of every path when the server was asked, which version of which model, and what it answered. The
labelled images are then written by

    python -m tfrecords.write --csv=build/asked/labels.csv --out=build/data/asked

Answers are no labels: a model that learns from its own only grows more sure of them.
"""

import csv
import os
import shutil
import time

import numpy as np
import tensorflow as tf
from absl import flags

from tfrecords import command
from tfrecords.sources.prediction_log import PredictionLogSource

LABELS, ANSWERS, IMAGES = "labels.csv", "answers.csv", "images"
MOST_NUMBERS = 10 ** 6          # of an output that is looked at; a few bytes may declare a huge tensor
_FACTS = ("path", "time", "model", "version", "signature")
_MAGIC = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"RIFF", ".webp"),
          (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"P5", ".pgm"), (b"P6", ".ppm"))


def unpack(source, out):
    """Writes the folder, which appears whole or not at all.

    Args:    source: a `PredictionLogSource`.  out: folder to make.
    Returns: (images written, those left out because they begin as no image does).
    Raises:  FileExistsError for an `out` that is there; OSError.
    """
    out = os.path.abspath(os.path.expanduser(str(out)))
    if os.path.lexists(out):
        raise FileExistsError(f"`--out` is {out} but that is there already; name a new folder.")
    temporary = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.{os.getpid()}")
    images, (rows, columns) = iter(source), _answers(source)
    try:
        os.makedirs(temporary)
        kept = []
        for item, row in zip(images, rows):
            data = item.read()
            ending = next((ending for magic, ending in _MAGIC if data.startswith(magic)), "")
            if not ending:
                continue
            row["path"] = f"{IMAGES}/{item.path}{ending}"
            place = os.path.join(temporary, row["path"])
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as stream:
                stream.write(data)
            kept.append(row)
        _write(os.path.join(temporary, LABELS), ("path", "label"), kept)
        _write(os.path.join(temporary, ANSWERS), (*_FACTS, *sorted(columns)), kept)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(kept), len(rows) - len(kept)


def _write(file, columns, rows):
    with open(file, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        table = csv.writer(stream)
        table.writerow([column.removeprefix("answer ") for column in columns])
        table.writerows([row.get(column, "") for column in columns] for row in rows)


def _answers(source):
    """A dict of facts and answers an image, in the order of the source; and the names of all answers."""
    rows, columns = [], set()
    for log, count, kept in source.requests():
        spec = log.log_metadata.model_spec
        facts = {"time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(max(log.log_metadata.timestamp_secs, 0),
                                                                            2 ** 33))),
                 "model": spec.name, "version": spec.version.value, "signature": spec.signature_name}
        answers = _of_predict(log, count) if log.WhichOneof("log_type") == "predict_log" else _of_classify(log)
        for _, place in kept:
            own = {f"answer {name}": values[place % count] for name, values in answers.items() if len(values) == count}
            columns.update(own)
            rows.append({**facts, **own})
    return rows, columns


def _of_predict(log, count):
    """{output: [count] values}; of probabilities the largest."""
    found = {}
    for name, proto in log.predict_log.response.outputs.items():
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if not shape or shape[0] != count or min(shape) < 1 or np.prod(shape, dtype=object) > MOST_NUMBERS:
            continue
        if len(shape) == 1 or len(shape) == 2 and name == "probabilities":
            try:
                values = tf.make_ndarray(proto)
            except (TypeError, ValueError):
                continue
            if values.ndim == 2:
                name, values = "confidence", values.max(axis=1)
            found[name] = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                           for value in values.tolist()]
    return found


def _of_classify(log):
    """{"label": [n], "confidence": [n]} of a Classify."""
    best = [max(row.classes, key=lambda one: one.score) for row in log.classify_log.response.result.classifications
            if row.classes]
    return {"label": [one.label for one in best], "confidence": [one.score for one in best]} if best else {}


def define_flags():
    flags.DEFINE_string("log", None, "Files of a server's request log: a folder, a file, a pattern, or several with "
                        "commas between.", required=True)
    flags.DEFINE_string("out", None, "Folder to make.", required=True)


def main(_):
    values = flags.FLAGS
    source = PredictionLogSource(values.log)
    written, left_out = unpack(source, values.out)
    more = f", {left_out:,} of another form left out" if left_out else ""
    print(f"{written:,} images of {source.description['requests']:,} requests at {values.out} "
          f"({source.description['repeated']:,} came before{more})\nnext: fill in {os.path.join(values.out, LABELS)}, "
          f"beside {ANSWERS}, and write the images by\n  python -m tfrecords.write "
          f"--csv={os.path.join(values.out, LABELS)} --out=build/data/asked")


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
