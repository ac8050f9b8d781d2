"""How a command starts: whatever its user got wrong is one sentence on stderr, exit 1."""

import difflib
import gc
import sys

from absl import app, flags


def run(main, define_flags, words=False, errors=(), explain=None):
    """`absl.app.run` with flag errors and user errors as one sentence `error: ...`, exit 1, no traceback.

    Args:    main: called with [program, word, ...] once the flags are parsed.
             define_flags: called without arguments before.
             words: whether the command takes anything but flags, which may then stand after the words as well.
             errors: classes of exceptions that are the user's, beside ValueError and OSError.
             explain: (error, words typed) -> a better sentence for an exception of any class, raised while the flags
             are parsed or in `main`; None where there is none.
    """
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)
    typed = []

    def parse(argv):
        typed[:] = argv
        try:
            return flags.FLAGS(argv)
        except Exception as error:
            user = isinstance(error, (flags.Error, ValueError, OSError))
            said = _sentence_of(error, explain and explain(error, typed), user and _sentence(error))
        return sys.exit(f"error: {said}")

    def guarded(argv):
        # A name that is no valid text in the terminal's encoding must not end the command.
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        if argv[1:] and not words:
            sys.exit(f"error: `{argv[1]}` is not a flag; every setting is written --name=value, see --help.")
        try:
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted.", file=sys.stderr)
            sys.exit(130)       # as shells count: 128 + the signal's number
        except Exception as error:
            user = isinstance(error, (ValueError, OSError, *errors))
            said = _sentence_of(error, explain and explain(error, typed), user and str(error))
        # What the error still held, such as a data pipeline, ends here: its threads may call Python, which at exit no
        # longer answers them, and the exit would wait for them for ever.
        gc.collect()
        return sys.exit(f"error: {said}")
    app.run(guarded, flags_parser=parse)


def _sentence_of(error, *sentences):
    """The first sentence there is, as one line; an error that has none is a defect and keeps its traceback."""
    for sentence in filter(None, sentences):
        return " ".join(sentence.splitlines())
    raise error


def _sentence(error):
    """absl's flag errors as name, value, rule, remedy; others as absl words them."""
    text = str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=3)
        remedy = f"did you mean --{' or --'.join(near)}?" if near else "--help lists those it has."
        return f"`--{error.flagname}` is not a flag of this command; {remedy}"
    if text.startswith("Missing value for flag "):
        name = text.rpartition(" ")[2].lstrip("-")
        return f"`--{name}` has no value; write --{name}=VALUE."
    # absl joins the complaints about several flags, each `flag --name=value: reason`.
    pairs = [line.removeprefix("flag --").partition("=")[::2] for line in text.splitlines() if "flag --" in line]
    missing = [name for name, rest in pairs if rest.startswith("None: Flag --")]
    if missing:
        return (f"`--{'` and `--'.join(missing)}` {'are' if missing[1:] else 'is'} missing; "
                f"give {' '.join(f'--{name}=VALUE' for name in missing)}.")
    if pairs and pairs[0][0] in flags.FLAGS and error.__context__ is not None:
        (name, rest), = pairs[:1]
        flag = flags.FLAGS[name]
        rule = "true or false" if flag.boolean else flag.parser.syntactic_help
        if rule:
            return f"`--{name}` is `{rest.removesuffix(f': {error.__context__}')}` but must be {rule}."
    return text.removeprefix("ERROR:: ")
