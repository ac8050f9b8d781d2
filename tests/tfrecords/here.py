"""Commands run in the process of the tests, which saves importing TensorFlow."""

import sys
from unittest import mock

from absl import flags


def run_here(module, capsys, *arguments):
    """What `python -m <module>` does with its arguments: (exit code, stdout, stderr)."""
    others, code = set(flags.FLAGS), 0

    def start(main, flags_parser):
        return main(flags_parser(["command", *map(str, arguments)]))

    try:
        with mock.patch("absl.app.run", start):
            module.start()
    except SystemExit as end:
        code = 1 if isinstance(end.code, str) else end.code or 0
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    finally:
        for name in set(flags.FLAGS) - others:
            delattr(flags.FLAGS, name)
    return (code, *capsys.readouterr())
