"""What the client's commands print for people: in come the rows of an answer, out goes a table on stdout."""

import sys

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from serving import labels, vote

SHOWN = 4  # numbers of an embedding in the table: with a file name they fit into 80 columns
WIDE = 160  # columns where stdout is no terminal
FOLDED = {"image", "first", "second", "identity", "entry", "label", "runner-up"}


def print_table(signature, rows):
    """A table of the rows, and what has to be known to read it."""
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    for part in _PARTS[signature](rows):
        console.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))


def _table(*names):
    # A narrow terminal folds names, of which the end matters most, and never breaks a number.
    return Table(*(Column(name, overflow="fold") if name in FOLDED else Column(name, no_wrap=True) for name in names))


def _vectors(rows):
    size = len(rows[0]["embedding"])
    yield (
        f"{len(rows)} embedding{'s' if len(rows) > 1 else ''} of {size} numbers [{len(rows)}, {size}]; "
        "all of them with --out=FILE.npz or --json."
    )
    table = _table("image", "length", "first numbers")
    for row in rows:
        vector = row["embedding"]
        table.add_row(
            Text(row["image"]),
            f"{np.linalg.norm(vector):.4f}",
            " ".join(f"{number: .3f}" for number in vector[:SHOWN]) + (" ..." if size > SHOWN else ""),
        )
    yield table


def _verified(rows):
    table = _table("first", "second", "score", "threshold", "decision", "probability")
    for row in rows:
        table.add_row(
            Text(row["first"]),
            Text(row["second"]),
            f"{row['score']:.4f}",
            f"{row['threshold']:.4f}",
            _decision_text(row["decision"]),
            f"{row['probability']:.4f}",
        )
    yield table
    yield (
        "`decision` decides: same where score >= threshold. `probability` is that of same at equal odds, were there as "
        "many same as different pairs; a strict threshold may decide against it."
    )


def _decision_text(decision):
    return ("same" if decision else "different") if isinstance(decision, (bool, int)) else str(decision)


def _found(rows):
    voting = vote.telling(row["vote"] for row in rows)
    table = _table("image", "rank", "identity", "score", "entry", "known")
    for row in rows:
        for rank, match in enumerate(row["matches"], 1):
            first = rank == 1
            table.add_row(
                Text(row["image"] if first else ""),
                str(rank),
                Text(match["identity"]),
                f"{match['score']:.4f}",
                Text(match["entry"]),
                ("unknown" if row["unknown"] else "known") if first else "",
            )
        if voting and row["vote"]:
            winner, share, others = vote.in_words(row["vote"])
            table.add_row("", "vote", Text(winner), share, Text(others), "", style="bold")
        if voting:
            table.add_section()
    yield table


def _detected(rows):
    table = _table("image", "score", "threshold", "decision", "probability")
    for row in rows:
        table.add_row(
            Text(row["image"]),
            f"{row['score']:.4f}",
            f"{row['threshold']:.4f}",
            "fake" if row["decision"] else "real",
            f"{row['probability']:.4f}",
        )
    yield table
    yield (
        "`decision` decides: fake where score >= threshold. `probability` is that of fake; the threshold need not lie "
        "where it is 0.5."
    )


def _classified(rows):
    uncertain, unsure = any("uncertainty" in row for row in rows), any(row["abstain"] for row in rows)
    table = _table("image", "label", "probability", "runner-up")
    table.columns[-1].justify = "right"
    if uncertain or unsure:
        table.add_column("uncertainty" if uncertain else "")  # in a narrow one words stand below each other
    for row in rows:
        other = labels.runner_up(row)
        doubt = [f"{row['uncertainty']:.4f}"] if "uncertainty" in row else []
        doubt += [labels.UNSURE] if row["abstain"] else []
        table.add_row(
            Text(row["image"]),
            Text(row["label"]),
            f"{row['probabilities'][row['label']]:.4f}",
            Text(f"{other[0]} {other[1]:.4f}" if other else ""),
            *([Text(" ".join(doubt), "bold" if row["abstain"] else "")] if uncertain or unsure else []),
        )
    yield table
    yield labels.counts(rows)


def _generated(rows):
    table = _table("seed", "bytes", "height x width")
    for row in rows:
        table.add_row(str(row["seed"]), f"{row['bytes']:,}", f"{row['height']} x {row['width']}")
    yield table


_PARTS = {
    "embed": _vectors,
    "ask": _vectors,
    "verify": _verified,
    "search": _found,
    "detect": _detected,
    "classify": _classified,
    "generate": _generated,
}
