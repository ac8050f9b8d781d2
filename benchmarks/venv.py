"""The environment of the peers: made from its lock, again when the lock changed, whole or not at all."""

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def peers_python(lock="requirements.txt", folder=None):
    """The interpreter that has the peers; about a minute and 1.3 GB where it must be made first.

    Args:    lock: file in benchmarks/, or a path.  folder: None = .venv-peers, of requirements-NAME.txt
             .venv-peers-NAME.
    Raises:  OSError where they cannot be installed; nothing is left behind then.
    """
    lock = ROOT / "benchmarks" / lock
    folder = folder or ROOT / f".venv-peers{lock.stem.removeprefix('requirements')}"
    python = folder / "bin" / "python"
    with open(lock, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)        # a second run waits for the first one's environment
        stamp = folder / f"lock-{hashlib.sha256(held.read()).hexdigest()[:16]}"
        if not stamp.exists():
            _make(folder, python, lock, stamp)
    return str(python)


def _make(folder, python, lock, stamp):
    # A lock is whole, and mlserver needs a newer protobuf than TensorFlow asks for, with which that works all the same.
    print(f"making {folder.name} from {lock.name} (about a minute, 1.3 GB)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for words in ([sys.executable, "-m", "venv", str(folder)],
                      [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                       "-r", str(lock)]):
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or [f"code {done.returncode}"]
                reason = next((line for line in said if line.startswith("ERROR:")), said[-1])
                raise OSError(f"the peers cannot be installed into {folder.name} ({reason.removeprefix('ERROR: ')}); "
                              "see to it and run the command again.")
        stamp.touch()
    finally:
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
