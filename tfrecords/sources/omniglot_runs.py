"""Omniglot's official one-shot runs."""

import functools
import posixpath

from tfrecords import schema
from tfrecords.files import Files

_LABELS = "class_labels.txt"


class OmniglotRunsSource:
    """The 20-way one-shot tasks: run01 ... run20, each with 20 training and 20 test images.

    The columns: split "oneshot", case = the run, role "gallery" (training) or "query" (test), and the
    identity "<run>/<training file's stem>", which a test image shares with the training image it belongs to.

    Args:    location: all_runs.zip or the directory it unpacks to.
    Raises:  FileNotFoundError or ValueError where no run lies there or a list names a file that is missing.
    Source:  Lake, Salakhutdinov and Tenenbaum, Science 350, 2015.
    """

    def __init__(self, location):
        self._files = Files(location)
        self.description = {"source": "omniglot_runs", "location": self._files.name}
        self._rows = []                                     # (path, run, role, identity)
        lists = [path for path in self._files.paths if posixpath.basename(path) == _LABELS]
        if not lists:
            raise ValueError(f"`{location}` holds no {_LABELS}; give all_runs.zip or the directory with "
                             "run01 ... run20.")
        for path in lists:
            self._rows += self._run(path)

    def _run(self, path):
        folder = posixpath.dirname(path)
        run, root = posixpath.basename(folder), posixpath.dirname(folder)
        queries, folders = {}, set()
        for number, line in enumerate(self._files.read(path).decode("utf-8", "replace").split("\n"), 1):
            fields = line.split()
            if not fields:
                continue
            named = [posixpath.join(root, field) for field in fields]
            absent = [name for name in named if name not in self._files]
            if len(named) != 2 or absent:
                raise ValueError(f"line {number} of `{path}` is {line.strip()[:80]!r} but must name a test "
                                 "file and the training file it belongs to, both present.")
            identity = _identity(run, named[1])
            queries[named[0]] = identity
            folders.add(posixpath.dirname(named[1]))
        # A training image that no test image belongs to is a wrong answer to choose from all the same.
        galleries = [path for path in self._files.paths if posixpath.dirname(path) in folders
                     and path.lower().endswith(".png") and path not in queries]
        return ([(path, run, "gallery", _identity(run, path)) for path in galleries]
                + [(path, run, "query", identity) for path, identity in sorted(queries.items())])

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        for path, run, role, identity in self._rows:
            columns = {"split": "oneshot", "case": run, "role": role, "identity": identity}
            yield schema.Item(path, functools.partial(self._files.read, path), columns)


def _identity(run, path):
    return f"{run}/{posixpath.splitext(posixpath.basename(path))[0]}"
