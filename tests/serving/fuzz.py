"""Sends the embedded server what no client should, and sees to it that it lives, answers rightly and stays small.

    python -m tests.serving.fuzz [--inputs=100000] [--seed=0] [--out=docs/serving_fuzz.md]

Inputs are requests that something is wrong with, see tests/serving/hostile.py. They go to every call of every gRPC
service, to REST and to the web page. After every 500 the server must give the right answers to sound requests. Where a
name, label, version or path is a trick (`../toy`), each answer must be a refusal. At the end no file may lie where none
was, the log must hold no traceback, and the least memory of the last tenth must not lie more than 100 MB above that
behind the first tenth: before, its buffers grow to their size, and models come and go. Every input can be made again
from the seed and its number.
"""

import collections
import dataclasses
import http.client
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

import grpc
import numpy as np
from absl import flags
from tensorflow_serving.apis import model_management_pb2, predict_pb2, regression_pb2

from saved_models import gallery
from serving.config import config_message
from serving.files import require_place, write_whole
from serving.values import from_proto, to_proto
from tests.serving.conformance.models import HalfPlusTwo
from tests.serving.hostile import GREEN, PREDICT, RED, REGRESSED, RELOAD, Inputs, config_text
from tests.serving.toys import ROOT, Encoder, Toy, start, stop
from tests.serving.wire import asking, examples, free_port
from tfrecords import command

SECONDS = 20.0          # for an answer; the sound requests must be answered in it
RELOAD_SECONDS = 0.3    # a config may name a folder without a version, which is waited for
GROWTH_MB = 100
EVERY = 500
PAGES = {400, 404, 431}
REFUSED = {"grpc": {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}, "http": PAGES, "page": PAGES}


class Sender:
    """Sends inputs to the ports of a server and counts what comes back.

    Args:    address: of gRPC.  rest_port, page_port: of REST and of the web page.
             folder: that of the models, as of Inputs: a config that was taken is taken back.
    """

    def __init__(self, address, rest_port, page_port, folder):
        self._address, self._ports = address, {"http": rest_port, "page": page_port}
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._reload = model_management_pb2.ReloadConfigRequest(config=config_message(config_text(folder)))
        self._connections = {}
        self.answers = collections.Counter()

    def send(self, one):
        """Raises: RuntimeError for a trick that is answered, or refused by another code than such ones have."""
        answer = getattr(self, f"_{one.to}")(one.what)
        self.answers[f"{one.to} {answer}"] += 1
        if one.trick and answer not in REFUSED[one.to]:
            raise RuntimeError(f"a name, label, version or path that is a trick is answered with {answer}")
        if one.to == "grpc" and one.what[0] == RELOAD and answer in ("OK", "DEADLINE_EXCEEDED"):
            self._call(RELOAD, self._reload)

    def require_sound(self):
        """Raises: RuntimeError where a sound request is not answered rightly, on any port."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "toy"
        request.inputs["x"].CopyFrom(to_proto("x", np.float32([2, 5])))
        answer = predict_pb2.PredictResponse.FromString(self._call(PREDICT, request))
        found = [list(answer.outputs["y"].float_val)]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "gallery"
        request.inputs["image_bytes"].CopyFrom(to_proto("image_bytes", [RED, GREEN]))
        answer = predict_pb2.PredictResponse.FromString(self._call(PREDICT, request))
        found.append(from_proto("identities", answer.outputs["identities"]).tolist())
        request = regression_pb2.RegressionRequest(input=examples(2.0, 4.0))
        request.model_spec.name, request.model_spec.signature_name = "half", "regress_x"
        answer = regression_pb2.RegressionResponse.FromString(self._call(REGRESSED, request))
        found.append([one.value for one in answer.result.regressions])
        for port in self._ports.values():
            found.append(asking(f"127.0.0.1:{port}")("POST", "/v1/models/toy:predict", {"instances": [2.0, 5.0]}))
        rest = 200, {"predictions": [3.0, 4.5]}
        if found != [[3.0, 4.5], [[b"red"], [b"green"]], [3.0, 4.0], rest, rest]:
            raise RuntimeError(f"sound requests are answered wrongly: {found}")

    def close(self):
        self._channel.close()
        for connection in self._connections.values():
            connection.close()

    def _call(self, method, message):
        try:
            return self._channel.unary_unary(method)(message.SerializeToString(deterministic=True), timeout=SECONDS)
        except grpc.RpcError as error:
            raise RuntimeError(f"a sound request is refused: {error.code().name} {error.details()}") from None

    def _grpc(self, what):
        method, data = what
        try:
            self._channel.unary_unary(method)(data, timeout=RELOAD_SECONDS if method == RELOAD else SECONDS)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def _http(self, what, name="http"):
        verb, path, body = what
        for attempt in (0, 1):
            try:
                if name not in self._connections:
                    self._connections[name] = http.client.HTTPConnection("127.0.0.1", self._ports[name],
                                                                         timeout=SECONDS)
                connection = self._connections[name]
                connection.putrequest(verb, path, skip_accept_encoding=True)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
                answer = connection.getresponse()
                answer.read()
                return answer.status
            except (http.client.HTTPException, OSError) as error:
                self._connections.pop(name).close()
                if attempt:
                    return type(error).__name__
        return None

    def _page(self, what):
        return self._http(what, "page")

    def _tcp(self, data):
        port = self._ports["http"] if data[:1] in (b"G", b"P") and data[:3] != b"PRI" else self._address.split(":")[1]
        try:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS) as connection:
                connection.settimeout(0.05)
                connection.sendall(data)
                connection.recv(1000)
            return "closed"
        except OSError as error:
            return type(error).__name__


def fuzz(sender, inputs, numbers, alive=lambda: True, look=lambda number: None):
    """Sends the inputs of these numbers and calls `look` after each 500.

    Raises: RuntimeError with the number, or those among which it lies.
    """
    sender.require_sound()
    for number in numbers:
        try:
            sender.send(inputs.make(number))
            if number % EVERY == EVERY - 1 or number == numbers[-1]:
                sender.require_sound()
                look(number + 1)
        except RuntimeError as error:
            died = "" if alive() else "the server died: "
            raise RuntimeError(f"at input {number}, or one of the {EVERY} before it: {died}{error}") from None


@dataclasses.dataclass
class Found:
    """What came of it: Counter of the answers, tracebacks of the server's log, files that came up, memory each 500."""

    answers: collections.Counter
    tracebacks: list
    files: list
    seconds: float
    mb: list

    def memory(self):
        """(MB behind the first tenth, the least of the last tenth)."""
        tenth = len(self.mb) // 10
        return self.mb[tenth], min(self.mb[-max(1, tenth):])

    def faults(self):
        """[sentence] of each point on which it fails."""
        before, after = self.memory()
        grown = after - before
        return ([f"the log holds {len(self.tracebacks)} tracebacks"] if self.tracebacks else []) + (
            [f"files were written: {', '.join(self.files)}"] if self.files else []) + (
            [f"memory grew by {grown:.0f} MB but at most {GROWTH_MB} MB are allowed"] if grown > GROWTH_MB else [])


def run(folder, inputs, seed, tell=lambda text: None):
    """Starts a server with its models in `folder` and sends it inputs.   Returns: Found.   Raises: as fuzz."""
    Toy(2.0).save(folder / "toy" / "1")
    HalfPlusTwo().save(folder / "half" / "1")
    Encoder().save(folder / "encoder" / "1", "embed")
    gallery.build(str(folder / "encoder" / "1"), [("red", "red/0", RED), ("green", "green/0", GREEN)], str(folder), k=1,
                  check=False)
    (folder / "models.config").write_text(config_text(folder))
    rest_port, page_port = free_port(), free_port()
    running = start([f"--model_config_file={folder}/models.config", f"--rest_api_port={rest_port}",
                     f"--demo_port={page_port}", "--enable_batching", "--enable_gallery_changes",
                     "--enable_grpc_healthcheck_service", "--max_num_load_retries=0",
                     "--file_system_poll_wait_seconds=0.2"], folder)
    sender = Sender(running.address, rest_port, page_port, folder)
    try:
        began, there, mb = time.monotonic(), _files(folder), []

        def look(number):
            mb.append(_memory_mb(running.process.pid))
            tell(f"{number:,} of {inputs:,}: {mb[-1]:.0f} MB")
        fuzz(sender, Inputs(seed, folder), range(inputs), lambda: running.process.poll() is None, look)
        seconds = time.monotonic() - began
        tracebacks = re.findall(r".*\nTraceback.*\n(?:[ ].*\n)*.*", running.log.read_text())
    finally:
        sender.close()
        stop(running)
    return Found(sender.answers, tracebacks, sorted(_files(folder) - there), seconds, mb)


def _files(folder):
    """Paths below the folder of the models, those of versions of the gallery left out; and its neighbours."""
    return {os.path.relpath(path, folder) for path in (*folder.rglob("*"), *folder.parent.iterdir())
            if not re.match(r"gallery/[0-9]+(/|$)", os.path.relpath(path, folder))}


# ---- Command


def define_flags():
    flags.DEFINE_integer("inputs", 100_000, "How many to send.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Another one makes others.")
    flags.DEFINE_string("out", None, "File that gets what came back, as Markdown.")


def main(argv):
    del argv
    values = flags.FLAGS
    if values.out:
        require_place("out", values.out)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder) / "models"
        folder.mkdir()
        found = run(folder, values.inputs, values.seed, lambda text: print(text, file=sys.stderr))
    faults, (before, after) = found.faults(), found.memory()
    lines = [f"`python -m tests.serving.fuzz --inputs={values.inputs} --seed={values.seed}`, commit "
             f"{_commit() or 'unknown'}: {values.inputs:,} inputs in {found.seconds:.0f} s; the server lives and "
             f"answers rightly, no trick is answered, {len(found.tracebacks)} tracebacks in its log, "
             f"{len(found.files)} files that are not its own. Memory: {before:.0f} MB behind the first tenth, "
             f"{after:.0f} MB in the last "
             f"one (at most {GROWTH_MB} MB more are allowed), at most {max(found.mb):.0f} MB.", "",
             f"Failed: {'; '.join(faults)}." if faults else "Passed.", "",
             "| answer | inputs |", "|---|---|",
             *(f"| {name} | {count:,} |" for name, count in sorted(found.answers.items()))]
    print("\n".join(found.tracebacks), file=sys.stderr)
    text = "# Fuzzing the embedded server\n\n" + "\n".join(lines) + "\n"
    print(text)
    if values.out:
        write_whole("out", values.out, lambda stream: stream.write(text.encode()))
    if faults:
        sys.exit(1)


def _commit():
    """The checkout's commit, "" where there is none."""
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _memory_mb(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    command.run(main, define_flags)
