"""Figures of repeated splits together: the held-out answers of several runs as one set."""

import csv
import os

import numpy as np

from keras_apps.diagnosis_report import intervals
from keras_apps.metrics import diagnosis

SHOWN = {"AUC": "auc", "accuracy": "accuracy", "precision": "precision", "recall": "recall",
         "specificity": "specificity", "F": "f", "QWK": "qwk", "ECE": "ece"}
FILE, CHANCE = "predictions.csv", "p_"
DRAWS = 1000


def pooled(runs):
    """Figures of the held-out images of several runs, each image as often as it was held out.

    Args:    runs: [(workdir, result)] with `predictions.csv` of the same classes.
    Returns: [{"cohort", "images", figure: value, figure_low, figure_high}]: all images first ("all"), then each cohort.
             Intervals are bootstraps over whole cases, of an image without a case over the image: what was held out by
             several runs is one unit.  [] where a run has no such file, or its classes differ.
    """
    tables = [_read(workdir) for workdir, _ in runs]
    names = {table[0] for table in tables if table}
    if len(names) != 1 or not all(tables):
        return []
    names, = names
    positive = runs[0][1].get("positive") or None
    rows = [row for _, table in tables for row in table]
    found = []
    for cohort in ("all", *sorted({row["cohort"] for row in rows} - {""})):
        own = [row for row in rows if cohort in ("all", row["cohort"])]
        found.append({"cohort": cohort, "images": len(own), **_figures(own, names, positive)})
    return found


def lines(rows):
    """The rows as (header, cells of text): value and interval."""
    def text(row, name):
        return f"{row[name]:.3f} ({row[f'{name}_low']:.3f}-{row[f'{name}_high']:.3f})"
    return ["held-out images", "", *SHOWN], [[row["cohort"], f"{row['images']:,}", *(text(row, name) for name in
                                                                                    SHOWN.values())] for row in rows]


def _read(workdir):
    """(names of the classes, rows of the test split) of a run; None where it has none."""
    path = os.path.join(workdir, FILE)
    if not os.path.exists(path):
        return None
    with open(path, newline="") as file:
        table = csv.DictReader(file)
        names = tuple(name[len(CHANCE):] for name in table.fieldnames if name.startswith(CHANCE))
        return names, [row for row in table if row["split"] == "test"]


def _figures(rows, names, positive):
    answers = np.array([[float(row[CHANCE + name]) for name in names] for row in rows])
    truth = np.array([names.index(row["label"]) for row in rows])
    units = np.array([f"case {row['case']}" if row["case"] else f"path {row['path']}" for row in rows])
    place = names.index(positive) if positive in names and len(names) == 2 else None

    answers /= answers.sum(axis=1, keepdims=True)       # six digits each
    own = diagnosis.figures(answers, truth, place)
    return {**{name: own[name] for name in SHOWN.values()}, **intervals(answers, truth, place, units, DRAWS)}
