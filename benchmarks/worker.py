"""One side of a row in a process of its own, so that its tools, threads and memory are its own too.

    python -m benchmarks.worker ROW_FILE SIDE        started by `benchmarks.run`; questions on stdin, answers on stdout

A frame is 8 bytes of length, then the bytes of an .npz without pickled objects.
"""

import ctypes
import gc
import io
import os
import pathlib
import struct
import subprocess
import sys
import time

import numpy as np

from benchmarks.row import load

ROOT = pathlib.Path(__file__).resolve().parents[1]
OURS = "ours"
CLOSING_SECONDS = 20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS")


class Worker:
    """A side, started; used as a context, at whose end the process is gone.

    Args:    python: interpreter that has the side's tools.  path: of the row's file.
             side: "ours" or the name of a peer.  inputs: {name: array}.  threads: it may use.
             frees: memory is given back as soon as it is not needed, for `memory`; TensorFlow keeps it otherwise,
             which is faster.
    Raises:  ChildProcessError, here and from every question, where the process ended instead of answering.
    """

    def __init__(self, python, path, side, inputs, threads=1, frees=False):
        self.path, self.side = pathlib.Path(path), side
        environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3",
                       "PYTHONWARNINGS": "ignore", "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": str(int(frees))}
        self._process = subprocess.Popen([python, "-m", "benchmarks.worker", str(path), side], cwd=ROOT,
                                         env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._ask("start", inputs)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self._process.stdin.close()     # it ends what it has started, and itself
        except BrokenPipeError:             # a question it died of is still in the buffer
            pass
        try:
            self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def result(self):
        return self._ask("result")

    def timed(self, what="call"):
        """One `call` or `bound`: {"items", "cpu", "wall"}, seconds."""
        return {name: float(value) for name, value in self._ask(what).items()}

    def memory(self):
        """How much resident memory grows at most during one call, MB; None where the system does not tell."""
        grown = float(self._ask("memory")["mb"])
        return None if np.isnan(grown) else grown

    def _ask(self, action, arrays=None):
        try:
            _send(self._process.stdin, {"action": np.array(action), **{f"_{k}": v for k, v in (arrays or {}).items()}})
            return _receive(self._process.stdout)
        except (EOFError, BrokenPipeError):
            code = self._process.wait()
            raise ChildProcessError(f"`{self.side}` of {self.path.name} ended with code {code} in `{action}`; what it "
                                    "said stands above.") from None


def _send(stream, arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    stream.write(struct.pack(">Q", buffer.tell()))
    stream.write(buffer.getbuffer())
    stream.flush()


def _receive(stream):
    """Raises:  EOFError where the other end is closed."""
    header = stream.read(8)
    data = stream.read(struct.unpack(">Q", header)[0]) if len(header) == 8 else b""
    if not data:
        raise EOFError
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    items = call()
    seconds = time.perf_counter() - wall
    if isinstance(items, tuple):
        items, seconds = items
    return {"items": items, "cpu": time.process_time() - cpu, "wall": seconds}


def _memory(call):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)        # what earlier calls freed would hide what this one takes
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")       # the peak begins anew
        before = _status("VmRSS")
    except OSError:
        return {"mb": np.nan}
    call()
    return {"mb": (_status("VmHWM") - before) / 1e6}


def _status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main(path, name):
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)                           # what a library prints is no answer
    row = load(path).row()
    side = None
    while True:
        try:
            asked = _receive(sys.stdin.buffer)
        except EOFError:
            return
        action = str(asked.pop("action"))
        if action == "start":
            kind = row.ours if name == OURS else row.peers[name].side
            side, answer = kind({key[1:]: value for key, value in asked.items()}), {}
        elif action == "result":
            answer = side.result()
        elif action == "memory":
            answer = _memory(side.call)
        else:
            answer = _timed(side.call if action == "call" else side.bound)
        _send(answers, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
