"""Measures ours beside its peers; one JSON line a peer on stdout, progress on stderr.

    python -m benchmarks.run --name=M8 | --all [--threads=1] [--rounds=7]

Both sides get the same inputs and the same number of threads, each in a process of its own. What must agree is compared
first; then the calls alternate, ours, peer, ours, peer, and the medians are told. `ratio` > 1: ours is faster. `limit`
is the figure that nothing could beat. `ours_mb` and `peer_mb` are how much resident memory grew at most in one call,
null where the system does not tell. The first run makes .venv-peers from benchmarks/requirements.txt, and for S1
.venv-peers-serving from requirements-serving.txt.
"""

import json
import math
import statistics
import sys

from absl import flags

from benchmarks import row as rows
from benchmarks.venv import peers_python
from benchmarks.worker import OURS, Worker
from tfrecords.command import run as run_command

FLAGS = flags.FLAGS


def measure(name, path, threads=1, rounds=7):
    """The lines of one row, as dicts, a peer each.

    Args:    name: of the row.  path: of its file.  threads: of each side.  rounds: calls of each side.
    Raises:  OSError where a peer cannot be installed or a side dies; ValueError where results cannot be compared.
    """
    row = rows.load(path).row()
    pythons = {peer: sys.executable if entry.own else peers_python(entry.lock) for peer, entry in row.peers.items()}
    _tell(f"{name}: {row.work}")
    inputs, differing = row.inputs(), []
    ours_mb = _memory(sys.executable, path, OURS, inputs, threads)
    with Worker(sys.executable, path, OURS, inputs, threads) as ours:
        result = ours.result()
        for peer, python in pythons.items():
            peer_mb = _memory(python, path, peer, inputs, threads)
            with Worker(python, path, peer, inputs, threads) as other:
                equal = float(row.equal(inputs, result, other.result()))
                if not math.isfinite(equal):
                    raise ValueError(f"{name} against `{peer}` gives {equal} as the difference of the results; see to "
                                     "it that both are numbers of the same shape.")
                _tell(f"{name} against {peer}: differs by {equal:.3g}; {rounds} rounds")
                figures = _alternating(row, (ours, other), rounds)
                yield {
                    "name": name, "work": row.work, "ours": _short(figures[0]), "peer": _short(figures[1]),
                    "peer_name": peer, "ratio": _short(row.ratio(*figures)), "limit": _short(_limit(row, ours, rounds)),
                    "unit": row.unit, "equal": _short(equal), "ours_mb": _short(ours_mb), "peer_mb": _short(peer_mb),
                    "headline": peer == row.headline,
                }
                if equal > row.peers[peer].tolerance:
                    differing.append(f"from `{peer}` by {equal:.3g} but may by {row.peers[peer].tolerance:g}")
    if differing:
        raise ValueError(f"{name} differs {' and '.join(differing)}; these figures do not count.")


def _alternating(row, sides, rounds):
    """The median figure of each side, after a call of each that does not count."""
    for side in sides:
        side.timed()
    figures = [[row.figure(side.timed()) for side in sides] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*figures)]


def _limit(row, ours, rounds):
    if row.limit is not None:
        return row.limit
    return statistics.median([row.figure(ours.timed("bound")) for _ in range(rounds + 1)][1:])


def _memory(python, path, side, inputs, threads):
    """MB that a call takes once an earlier one has made what stays."""
    with Worker(python, path, side, inputs, threads, frees=True) as worker:
        worker.timed()
        return worker.memory()


def _short(value):
    return None if value is None else float(f"{value:.4g}")


def _tell(text):
    print(text, file=sys.stderr, flush=True)


def define_flags():
    flags.DEFINE_string("name", None, "the row to measure")
    flags.DEFINE_boolean("all", False, "measure every row")
    flags.DEFINE_integer("threads", 1, "threads of each side", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "calls of each side; the median counts", lower_bound=1)


def chosen(name, every):
    """{name: path} of the rows asked for.   Raises: ValueError for a name that is none, or neither, or both."""
    known = rows.files()
    if bool(name) == every:
        raise ValueError(f"give either --name=NAME or --all; the rows are {', '.join(known)}.")
    if name and name not in known:
        raise ValueError(f"`--name` is `{name}` but must be one of the rows {', '.join(known)}.")
    return {name: known[name]} if name else known


def main(argv):
    del argv
    faults = 0
    for name, path in chosen(FLAGS.name, FLAGS.all).items():
        try:
            for line in measure(name, path, FLAGS.threads, FLAGS.rounds):
                print(json.dumps(line), flush=True)
        except (OSError, ValueError) as error:      # one row's trouble does not cost the others
            _tell(f"error: {error}")
            faults += 1
    if faults:
        sys.exit(1)


def start():
    run_command(main, define_flags)


if __name__ == "__main__":
    start()
