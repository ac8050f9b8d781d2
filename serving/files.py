"""Files that a command leaves: whole or not at all, and in one sentence why not."""

import os


def require_place(flag, path):
    """Whether a file can be made at `path`, asked before the work.   Raises: OSError that names the flag."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"`--{flag}` is {path} but there is no folder `{folder}`; make it first or give another --{flag}."
        )
    if os.path.isdir(path):
        raise IsADirectoryError(f"`--{flag}` is {path} but that is a folder; give the file's own name as well.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"`--{flag}` is {path} but nothing may be written to `{folder}`; give another --{flag}."
        )


def write_whole(flag, path, write):
    """`path` appears with everything in it, or stays as it was: whoever waits for it never reads half.

    Args:    flag: whose value `path` is.  write: called with an open binary file.
    Raises:  OSError that names flag and path.
    """
    require_place(flag, path)
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "wb") as stream:
            write(stream)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            f"`--{flag}` is {path} but cannot be written: {error.strerror or error}; make room or "
            f"give another --{flag}."
        ) from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
