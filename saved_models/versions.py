"""The integer version folders of a task: list, newest, keep the last n.

    python -m saved_models.versions --models=DIR --task=NAME [--keep=N]
"""
import contextlib
import datetime
import os
import re
import shutil
import sys

from absl import flags

from tfrecords import command

LARGEST = 2**63 - 1                               # TF Serving's version numbers are int64


def list_versions(models, task):
    """Ascending versions of `<models>/<task>`: numeric folders that hold a saved_model.pb ("007" is 7)."""
    return sorted(_folders(models, task))


def latest(models, task):
    """Path of the newest version; FileNotFoundError where there is none."""
    folders = _folders(models, task)
    if not folders:
        raise FileNotFoundError(f"`{os.path.join(models, task)}` holds no version of `{task}`; "
                                "export one first.")
    return os.path.join(models, task, folders[max(folders)])


def folder(models, task, version):
    """Path of a version that `list_versions` gave."""
    return os.path.join(models, task, _folders(models, task)[version])


def keep(models, task, n, spared=()):
    """Remove all but the newest `n` versions and those of the numbers `spared`; the newest always stays.

    A version loses its numeric name first, so that no server starts to load a folder that is half removed. Of one that
    is a symbolic link, the link is removed.
    Returns: the version numbers removed, ascending.   Raises: ValueError for n < 1.
    """
    require_positive(n)
    folders, root = _folders(models, task), os.path.join(models, task)
    removed = []
    for version in sorted(set(sorted(folders)[:-n]) - set(spared)):
        source = os.path.join(root, folders[version])
        target = os.path.join(root, f".removing-{version}-{os.getpid()}")
        try:
            os.rename(source, target)
        except FileNotFoundError:                 # another process keeps versions here as well
            continue
        removed.append(version)
    for path in half_removed(models, task):       # also what a killed `keep` left
        if os.path.islink(path):                  # which rmtree leaves where it is
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    return removed


def half_removed(models, task):
    """Paths of what `keep` has taken the number from but not deleted."""
    root = os.path.join(models, task)
    names = os.listdir(root) if os.path.isdir(root) else ()
    return [os.path.join(root, name) for name in names if re.fullmatch(r"\.removing-\d+-\d+", name)]


def taken_numbers(folder):
    """Every number already used as a name in `folder`, whether or not a version lies there."""
    return [number for number, _ in numbered(os.listdir(folder))] if os.path.isdir(folder) else []


def numbered(names):
    """[(version, name)] of the names that are version numbers: digits only, as int64. "007" is 7, before "7"."""
    pairs = [(int(name), name) for name in names if re.fullmatch("[0-9]{1,40}", name)]
    return sorted((pair for pair in pairs if pair[0] <= LARGEST), key=lambda pair: -len(pair[1]))


def require_positive(n):
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"`keep` is {n!r} but must be an integer of at least 1: "
                         "the newest version always stays.")


def _folders(models, task):
    root = os.path.join(models, task)
    if not os.path.isdir(root):
        return {}
    return {number: name for number, name in numbered(os.listdir(root))
            if os.path.isfile(os.path.join(root, name, "saved_model.pb"))}


def _size(path):
    return sum(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk(path) for name in names)


def _headline(path):
    """First line of text of the model card, without its heading mark; empty where there is no card."""
    try:
        file = os.path.join(path, "assets", "model_card.md")
        with open(file, encoding="utf-8", errors="replace") as stream:
            lines = stream.read(65536).splitlines()
    except OSError:
        return ""
    return next((line.strip("# \t") for line in lines if line.strip("# \t")), "")


def _print_table(models, task):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Loads TensorFlow, for which a mistake in a flag need not wait.
    from saved_models import verify

    table = Table("version", "MB", "written", "signatures", "model card", title=f"{task} in {models}")
    for version, name in sorted(_folders(models, task).items()):
        path = os.path.join(models, task, name)
        written = datetime.datetime.fromtimestamp(os.path.getmtime(os.path.join(path, "saved_model.pb")))
        signatures = verify.describe(verify.serve_graph(verify.read_saved_model(path)))
        table.add_row(str(version), f"{_size(path) / 1e6:.1f}", f"{written:%Y-%m-%d %H:%M}",
                      ", ".join(signatures), Text(_headline(path)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def define_flags():
    flags.DEFINE_string("models", None, "Folder that holds one folder a task.", required=True)
    flags.DEFINE_string("task", None, "Task, such as verification or gallery.", required=True)
    flags.DEFINE_integer("keep", None, "Remove all but the newest N versions.")


def main(argv):
    models, task = flags.FLAGS.models, flags.FLAGS.task
    latest(models, task)
    if flags.FLAGS.keep is not None:
        removed = keep(models, task, flags.FLAGS.keep)
        print(f"removed versions: {', '.join(map(str, removed)) or 'none'}")
    _print_table(models, task)


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
