"""How a command starts: whatever its user got wrong is one sentence on stderr, exit 1."""
import difflib
import sys

from absl import app, flags


def run(main, define_flags, words=False, errors=()):
    """`absl.app.run` with flag errors and user errors as one sentence `error: ...`, exit 1, no traceback.

    Args:    main: called with [program, word, ...] once the flags are parsed.
             define_flags: called without arguments before.
             words: whether the command takes anything but flags, which may then stand after the words as well.
             errors: classes of exceptions that are the user's, beside ValueError and OSError.
    """
    define_flags()
    flags.FLAGS.set_gnu_getopt(True)

    def guarded(argv):
        if argv[1:] and not words:
            _refuse(f"`{argv[1]}` is not a flag; every setting is written --name=value, see --help.")
        try:
            return main(argv)
        except (ValueError, OSError, *errors) as error:
            return _refuse(error)
    app.run(guarded, flags_parser=_parse)


def _refuse(reason):
    sys.exit(f"error: {' '.join(str(reason).splitlines())}")


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError) as error:
        return _refuse(_sentence(error))


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
