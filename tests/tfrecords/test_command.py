"""How a command starts, on a toy."""

import os
import pathlib
import subprocess
import sys
import textwrap
import types

import pytest
from absl import flags

from tests.tfrecords.here import run_here
from tfrecords import command

ROOT = pathlib.Path(__file__).parents[2]


def toy(main, **arguments):
    """A module with a command of every kind of flag."""
    def define_flags():
        flags.DEFINE_integer("size", 3, "How many.", lower_bound=1)
        flags.DEFINE_float("share", 0.5, "How much.")
        flags.DEFINE_bool("quick", False, "At once.")
        flags.DEFINE_string("folder", "", "Where.")
    return types.SimpleNamespace(start=lambda: command.run(main, define_flags, **arguments))


def say(argv):
    print(flags.FLAGS.size, flags.FLAGS.quick, *argv[1:])


@pytest.mark.parametrize("arguments, text", [
    (["--sise=1"], "`--sise` is not a flag of this command; did you mean --size?"),
    (["--nosize"], "`--nosize` is not a flag of this command; did you mean --size?"),
    (["--qqqqqq"], "`--qqqqqq` is not a flag of this command; --help lists those it has."),
    (["--size"], "`--size` has no value; write --size=VALUE."),
    (["--size=two: 2"], "`--size` is `two: 2` but must be a positive integer."),
    (["--size=0"], "`--size` is `0` but must be a positive integer."),
    (["--size="], "`--size` is `` but must be a positive integer."),
    (["--share=x=y"], "`--share` is `x=y` but must be a number."),
    (["--quick=often"], "`--quick` is `often` but must be true or false."),
    (["--noquick=1"], "--noquick=1 does not take an argument"),
    (["--flagfile=/nowhere/flags"], "Unable to open flagfile: [Errno 2] No such file or directory: '/nowhere/flags'"),
    (["here", "--size=1"], "`here` is not a flag; every setting is written --name=value, see --help."),
])
def test_a_mistake_in_a_flag_is_one_sentence(capsys, arguments, text):
    assert run_here(toy(say), capsys, *arguments) == (1, "", f"error: {text}\n")


def test_flags_stand_before_and_after_words(capsys):
    assert run_here(toy(say, words=True), capsys, "a", "--size=4", "b", "--quick") == (0, "4 True a b\n", "")


def test_an_interruption_is_one_word_and_the_exit_code_of_shells(capsys):
    def stop(_):
        raise KeyboardInterrupt
    assert run_here(toy(stop), capsys) == (130, "", "interrupted.\n")


@pytest.mark.parametrize("error", [ValueError, OSError, ZeroDivisionError])
def test_errors_of_the_user_are_one_line_and_others_are_not_hidden(capsys, error):
    def fail(_):
        raise error("two\nlines")
    assert run_here(toy(fail, errors=(ZeroDivisionError,)), capsys) == (1, "", "error: two lines\n")
    with pytest.raises(KeyError):
        run_here(toy(lambda _: {}["x"]), capsys)


def test_what_main_returns_is_the_exit_code(capsys):
    assert run_here(toy(lambda _: sys.exit(3)), capsys)[0] == 3


def test_what_an_error_holds_is_freed_while_threads_can_still_call_python(tmp_path):
    """A pipeline's threads that call Python at exit are never answered, and whoever waits for them never ends."""
    (tmp_path / "toy.py").write_text(textwrap.dedent("""
        import sys

        from tfrecords import command


        class Pipeline:
            def __del__(self):
                print("freed late" if sys.is_finalizing() else "freed in time", flush=True)


        def main(_):
            pipeline, error = Pipeline(), None
            try:
                raise ValueError("`x` is 1 but must be 2.")
            except ValueError as found:
                error = found       # a cycle: error, traceback, frame, error
                raise


        command.run(main, lambda: None)
    """))
    done = subprocess.run([sys.executable, str(tmp_path / "toy.py")], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (1, "freed in time\n", "error: `x` is 1 but must be 2.\n")
