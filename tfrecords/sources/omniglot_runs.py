"""Omniglot's official one-shot runs."""

import posixpath

from tfrecords.files import Files, lines
from tfrecords.sources._rows import Rows

_LABELS = "class_labels.txt"


class OmniglotRunsSource(Rows):
    """The 20-way one-shot tasks: run01 ... run20, each with 20 training and 20 test images.

    The columns: split "oneshot", case = the run, role "gallery" (training) or "query" (test), and the
    identity "<run>/<training file's stem>", which a test image shares with the training image it belongs to.

    Args:    location: all_runs.zip or the directory it unpacks to.
    Raises:  FileNotFoundError or ValueError where no run lies there or a list names a file that is missing.
    Source:  Lake, Salakhutdinov and Tenenbaum, Science 350, 2015.
    """

    def __init__(self, location):
        files = Files(location)
        lists = [path for path in files.paths if posixpath.basename(path) == _LABELS]
        if not lists:
            raise ValueError(f"`{location}` holds no {_LABELS}; give all_runs.zip or the directory with "
                             "run01 ... run20.")
        super().__init__("omniglot_runs", files, ("split", "case", "role", "identity"),
                         [row for path in lists for row in _run(files, path)])


def _run(files, path):
    folder = posixpath.dirname(path)
    run, root = posixpath.basename(folder), posixpath.dirname(folder)
    queries, folders = {}, set()
    for number, line in lines(files.document(path)):
        named = [posixpath.join(root, field) for field in line.split()]
        if len(named) != 2 or not all(name in files for name in named):
            raise ValueError(f"line {number} of `{path}` is {line[:80]!r} but must name a test file and the training "
                             "file it belongs to, both present.")
        queries[named[0]] = _identity(run, named[1])
        folders.add(posixpath.dirname(named[1]))
    # A training image that no test image belongs to is a wrong answer to choose from all the same.
    galleries = [path for path in files.paths if posixpath.dirname(path) in folders
                 and path.lower().endswith(".png") and path not in queries]
    return ([(path, "oneshot", run, "gallery", _identity(run, path)) for path in galleries]
            + [(path, "oneshot", run, "query", identity) for path, identity in sorted(queries.items())])


def _identity(run, path):
    return f"{run}/{posixpath.splitext(posixpath.basename(path))[0]}"
