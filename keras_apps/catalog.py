"""Lists every method there is, as it is written in a config.

    python -m keras_apps.catalog [--folder=losses/metric]
"""

import ast
import inspect

from absl import flags
from rich.console import Console
from rich.table import Table

from keras_apps.build import ROOT, arguments, method_class, methods, neighbours
from tfrecords import command

FLAGS = flags.FLAGS
FACTS = ("schedule", "seed")     # defaulted arguments that the caller passes, not the config
DATA = ("names", "counts")       # those too, where the default is None


def folders():
    """Every folder of methods: the packages in which each file defines one public class with a docstring.

    The files are read, not imported, so that one that cannot be imported hides nothing.
    """
    found = []
    for top in ("keras_apps", "tfrecords"):
        for path in sorted((ROOT / top).rglob("__init__.py")):
            files = [file for file in path.parent.glob("*.py") if not file.stem.startswith("_")]
            if files and all(_is_method(file) for file in files):
                parts = path.parent.relative_to(ROOT / top).parts
                found.append("/".join(parts if top == "keras_apps" else (top, *parts)))
    return found


def entries(folder):
    """(call with its defaults, first line of the docstring) of each method of a folder."""
    for name in methods(folder):
        found = method_class(folder, name)
        own = arguments(found)
        words = [f"{key}={value.default!r}" for key, value in own.items()
                 if value.default is not inspect.Parameter.empty and key not in FACTS
                 and not (key in DATA and value.default is None)]
        yield f"{name}({', '.join(words)})", inspect.getdoc(found).splitlines()[0]


def _is_method(file):
    classes = [node for node in ast.parse(file.read_bytes()).body
               if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    return len(classes) == 1 and ast.get_docstring(classes[0]) is not None


def define_flags():
    flags.DEFINE_string("folder", None, "one folder only, such as losses/metric")


def main(_):
    known = folders()
    if FLAGS.folder and FLAGS.folder not in known:
        raise ValueError(f"`{FLAGS.folder}` is not a folder of methods, in which each file defines one public "
                         f"class with a docstring; did you mean {', '.join(neighbours(FLAGS.folder, known))}?")
    for folder in [FLAGS.folder] if FLAGS.folder else known:
        table = Table(title=folder, title_justify="left", show_header=False, box=None, padding=(0, 2))
        for call, line in entries(folder):
            table.add_row(call, line)
        Console(width=140).print(table)
        print()


if __name__ == "__main__":
    command.run(main, define_flags)
