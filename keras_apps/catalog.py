"""Lists every method there is, as it is written in a config.

    python -m keras_apps.catalog [--folder=losses/metric]
"""

import inspect

from absl import app, flags
from rich.console import Console
from rich.table import Table

from keras_apps.build import ROOT, method_class, methods

FACTS = ("schedule", "seed")     # defaulted arguments that the caller passes, not the config


def folders():
    """Every folder of methods, found by walking: those in which each file defines one public class with a docstring."""
    found = []
    for top in ("keras_apps", "tfrecords"):
        for path in sorted((ROOT / top).rglob("__init__.py")):
            parts = path.parent.relative_to(ROOT / top).parts
            if parts and parts[0] not in ("configs", "claims", "metrics", "deploy") and _has_methods(path.parent):
                found.append("/".join(parts if top == "keras_apps" else (top, *parts)))
    return found


def entries(folder):
    """(call with its defaults, first line of the docstring) of each method of a folder."""
    for name in methods(folder):
        found = method_class(folder, name)
        own = inspect.signature(found.__init__).parameters if "__init__" in vars(found) else {}
        words = [f"{key}={value.default!r}" for key, value in own.items()
                 if value.default is not inspect.Parameter.empty and key not in FACTS]
        yield f"{name}({', '.join(words)})", inspect.getdoc(found).splitlines()[0]


def _has_methods(path):
    return any(not file.stem.startswith("_") for file in path.glob("*.py"))


def main(_):
    chosen = [FLAGS.folder] if FLAGS.folder else folders()
    for folder in chosen:
        table = Table(title=folder, title_justify="left", show_header=False, box=None, padding=(0, 2))
        for call, line in entries(folder):
            table.add_row(call, line)
        Console(width=140).print(table)
        print()


if __name__ == "__main__":
    FLAGS = flags.FLAGS
    flags.DEFINE_string("folder", None, "one folder only, such as losses/metric")
    app.run(main)
