"""Starts the processes of a cluster on this machine, to try out a training on several workers.

    python -m keras_apps.launch --workers=2 -- --config=... --data=DIR --workdir=DIR            multi_worker
    python -m keras_apps.launch --workers=2 --ps=1 -- --config=... --data=DIR --workdir=DIR     parameter_server

What stands after `--` goes to `keras_apps.train`; the strategy follows from --ps. The first process (the chief) writes
to this terminal, the others' lines bear their names. Where a worker fails the others end as well, and so does this
command, with its exit code; a worker of parameter servers is started anew instead, up to --restarts times. SIGTERM is
handed on.
On several machines each starts `keras_apps.train` itself: see keras_apps/deploy/.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from absl import flags

from tfrecords import command

FLAGS = flags.FLAGS
GRACE = 60.0        # seconds that the others have to notice that one has failed
LAST_WORDS = 10.0   # seconds for the lines of ended processes; a child of theirs may hold the pipe open for ever
# What a process does first: ask to be killed with its parent (PR_SET_PDEATHSIG is 1), since one that outlives a killed
# launcher would go on writing to the workdir; then it becomes what it is to be. Between fork and exec of a process with
# threads, as `preexec_fn` does it, this is not safe.
BOUND = ("import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
         "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])")


class Cluster:
    """The processes of one training, by (job, index).

    Args:    workers, servers: how many of each; with servers there is a chief beside them.
             words: of `keras_apps.train`.
             module: what is started, "keras_apps.train".
    """

    def __init__(self, workers, servers, words, module="keras_apps.train"):
        jobs = {"chief": 1, "worker": workers, "ps": servers} if servers else {"worker": workers}
        ports = iter(free_ports(sum(jobs.values())))
        self.addresses = {job: [f"localhost:{next(ports)}" for _ in range(count)] for job, count in jobs.items()}
        self.names = [(job, index) for job, count in jobs.items() for index in range(count)]
        self.trainers = [name for name in self.names if name[0] == "chief"] if servers else self.names
        strategy = "parameter_server" if servers else "multi_worker"
        self.words = [sys.executable, "-c", BOUND, "-m", module, *words, f"--strategy={strategy}"]
        self.processes, self.repeaters, self.ending = {}, [], False

    def start(self, name):
        job, index = name
        task = {"cluster": self.addresses, "task": {"type": job, "index": index}}
        first = name == self.names[0]
        process = subprocess.Popen(
            self.words, env={**os.environ, "TF_CONFIG": json.dumps(task)}, text=not first, errors=None if first else
            "replace", stdin=subprocess.DEVNULL, stdout=None if first else subprocess.PIPE,
            stderr=None if first else subprocess.STDOUT)
        if not first:
            self.repeaters.append(
                threading.Thread(target=_repeat, args=(process.stdout, f"{job} {index}: "), daemon=True))
            self.repeaters[-1].start()
        self.processes[name] = process

    def wait(self, restarts):
        """Starts all and waits for their end; returns the exit code."""
        for name in self.names:
            self.start(name)
        while True:
            codes = {name: process.poll() for name, process in self.processes.items()}
            ended = [codes[name] for name in self.trainers]
            if any(ended):
                name = next(name for name in self.trainers if codes[name])
                _tell(f"{name[0]} {name[1]} ended with exit code {codes[name]}")
                return self._end(codes[name])
            if None not in ended:
                return self._end(0)
            for name, code in codes.items():
                if code is not None and name not in self.trainers and not self.ending:
                    if name[0] != "worker" or restarts < 1:
                        _tell(f"{name[0]} {name[1]} ended with exit code {code}")
                        return self._end(1, grace=0.0)
                    restarts -= 1
                    _tell(f"{name[0]} {name[1]} ended with exit code {code}; started anew ({restarts} restarts left)")
                    self.start(name)
            time.sleep(0.1)

    def _end(self, code, grace=GRACE):
        """Waits for the other trainers, then ends whatever is left."""
        until = time.monotonic() + grace
        for name in self.trainers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes[name].wait(max(0.0, until - time.monotonic()))
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        until = time.monotonic() + LAST_WORDS
        for repeater in self.repeaters:
            repeater.join(max(0.0, until - time.monotonic()))
        return code if code >= 0 else 128 - code

    def terminate(self, *_):
        """Hands SIGTERM on to those that train; servers and their workers stay until those have saved."""
        self.ending = True
        for name in self.trainers:
            if name in self.processes:
                self.processes[name].send_signal(signal.SIGTERM)


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for listening in sockets:
        listening.bind(("", 0))
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _repeat(stream, prefix):
    for line in stream:
        _tell(prefix + line.rstrip("\n"))


def _tell(text):
    print(text, file=sys.stderr, flush=True)


def define_flags():
    flags.DEFINE_integer("workers", 2, "processes that train", lower_bound=1)
    flags.DEFINE_integer("ps", 0, "parameter servers; 0 = workers that share every step", lower_bound=0)
    flags.DEFINE_integer("restarts", 3, "how often a dead worker of parameter servers is started anew", lower_bound=0)


def main(argv):
    words = argv[1:]
    if not words:
        raise ValueError("nothing stands after `--`; give the flags of `keras_apps.train`, such as `-- --config=... "
                         "--data=DIR --workdir=DIR`.")
    if any(word.startswith("--strategy") for word in words):
        raise ValueError("`--strategy` stands after `--` but follows from --ps here; leave it out.")
    cluster = Cluster(FLAGS.workers, FLAGS.ps, words)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cluster.terminate)
    sys.exit(cluster.wait(FLAGS.restarts))


if __name__ == "__main__":
    command.run(main, define_flags, words=True)
