"""Changes of one gallery by several commands and servers: one after the other, each from what was written last."""

import contextlib
import errno
import fcntl
import os
import time

from absl import logging

from saved_models import gallery, verify

SECONDS = 60.0      # to wait for whoever changes the gallery now
POLL_SECONDS = 0.05


class Gone(Exception):
    """Whoever asked for a change has gone before its turn came."""


@contextlib.contextmanager
def change(path, seconds=None, gone=lambda: False):
    """The version to start from, which stays the newest while the context lasts: nobody else changes the gallery.

    It is the newest that is written, whether or not it serves yet. A damaged one is not passed over: what was enrolled
    in it alone would be lost, and nobody told.

    Args:    path: folder of the versions, or one of them to start from that.  seconds: to wait for others, a minute
             where it is None.  gone: () -> whether nobody waits for it any more; asked often while others change it.
    Raises:  TimeoutError where others still change it; Gone; FileNotFoundError where there is no version;
             gallery.Damaged for one that cannot be read, with what to do about it.
    """
    path = os.path.abspath(path)
    is_version = os.path.isfile(os.path.join(path, "saved_model.pb"))
    with exclusive(os.path.dirname(path) if is_version else path, seconds, gone):
        start = verify.newest_version(path)
        try:
            yield start
        except gallery.Damaged as error:
            raise gallery.Damaged(f"Version {os.path.basename(start)}, where a change begins, is damaged: bring its "
                                  "folder back or, where what was enrolled in it alone may be lost, move it away; "
                                  f"{error}") from error


@contextlib.contextmanager
def exclusive(folder, seconds=None, gone=lambda: False):
    """Alone with a folder of versions, among all processes that ask for it so; a folder that is not there is nobody's.

    The folder itself is locked, so that no file has to lie in it. The lock ends with the process that holds it.
    Raises:  TimeoutError where another one has it for longer; Gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if os.path.isdir(folder) else None
    try:
        if descriptor is not None:
            _lock(descriptor, folder, SECONDS if seconds is None else seconds, gone)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor, folder, seconds, gone):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                # Some network file systems lock no folders; export writes there as well.
                logging.warning("`%s` cannot be locked (%s): change it by one command at a time.", folder, error)
                return None
        if gone():
            raise Gone(f"Whoever asked for a change of `{folder}` has gone; nothing has changed.")
        if time.monotonic() >= deadline:
            raise TimeoutError(f"`{folder}` is still being changed by another command or server after {seconds:.1f} s; "
                               "try again when it is done.")
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
