"""Ten minutes of load with a new version every half minute: nothing may fail, nothing be wrong, memory stay flat.

    python -m benchmarks.soak [--minutes=10] [--load=0.8] [--change_seconds=30] [--out=docs/serving_soak.md]

The embedded server runs in a process of its own with batching on. What it can do with 32 clients is measured first;
then requests come at random times at `load` of that rate, and every `change_seconds` another version is written, the
newest two of which stay on the disk. Version V answers the network's vectors times V, so that an answer is right only
if it is that of the version it names. Each half minute says how many were answered, how long they took, and what memory
the server has. The exit code is 1 where a request failed, an answer was wrong, fewer versions answered than were
written, or memory grew: a line through its second half rises, beyond two standard errors, by more than 32 bytes an
answer, which is the least that malloc gives out.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time

import numpy as np
from absl import flags

from benchmarks import serving_work as work
from keras_apps import cells
from keras_apps.run import commit
from serving.files import require_place, write_whole
from tfrecords import command

CLOSE = 1e-4    # of a coordinate, times the version
MEASURED_SECONDS, PERIOD_SECONDS = 10.0, 30.0
LEAST_BYTES = 32    # that malloc gives out: a request that leaves anything behind leaves as much


@dataclasses.dataclass
class Period:
    """One line of the log."""

    seconds: float
    version: int
    answers: int
    failed: int
    wrong: int
    p50: float
    p99: float
    mb: float


def export(arrays, folder, version):
    """The network times `version`, as that version of a model; it appears whole."""
    import tensorflow as tf

    module = work.network(arrays)
    module.factor = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec([None, work.SIDE, work.SIDE, 3], tf.uint8, name="image")])
    def embed(image):
        return {"embedding": module.embed(image)["embedding"] * module.factor}

    hidden = folder / f".writing-{version}"
    tf.saved_model.save(module, str(hidden), {"serving_default": embed})
    os.rename(hidden, folder / str(version))


class Checker:
    """Whether an answer is that of its request and of the version that it names."""

    def __init__(self, requests, vectors):
        self._expected = dict(zip(requests, vectors))
        self.versions = set()

    def __call__(self, request, answer):
        from tensorflow_serving.apis import predict_pb2

        response = predict_pb2.PredictResponse.FromString(answer)
        version = response.model_spec.version.value
        self.versions.add(version)
        found = np.frombuffer(response.outputs["embedding"].tensor_content, np.float32)
        return found.shape == (work.DIMENSION,) and bool(
            np.abs(found - version * self._expected[request]).max() <= CLOSE * version)


def memory_mb(pid):
    """Resident memory of a process."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def soak(minutes, share, change_seconds, tell=print):
    """The rate that was measured, the rate that was asked for, [Period], and the versions that answered."""
    from serving.loadtest import load

    arrays = work.inputs(0, 0)
    requests = work.predict_messages(arrays["images"])
    network = work.network(arrays)
    vectors = np.concatenate([network.embed(image[None])["embedding"].numpy() for image in arrays["images"]])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "model").mkdir()
        export(arrays, folder / "model", 1)
        process = work.serve(folder, "--enable_serialization_as_tensor_content")
        try:
            address = f"localhost:{work.port_when_written(folder / 'port', process)}"
            check = Checker(requests, vectors)
            most = load(address, requests, clients=32, seconds=MEASURED_SECONDS, check=check)
            if most.errors:
                raise RuntimeError(f"requests failed before the soak began: {most.errors}")
            rate = share * most.rate
            tell(f"{most.rate:.0f} answers a second by 32 clients; {rate:.0f} a second are asked for now")

            def change(version):
                export(arrays, folder / "model", version)
                shutil.rmtree(folder / "model" / str(version - 2), ignore_errors=True)
            with Changes(change, change_seconds) as changes:
                periods, began = [], time.monotonic()
                while time.monotonic() - began < minutes * 60:
                    found = load(address, requests, rate=rate, seconds=PERIOD_SECONDS, warm_up=0.0, check=check,
                                 seed=len(periods))
                    changes.require_going()
                    wrong = found.errors.pop("WRONG_ANSWER", 0)
                    p50, p99 = np.percentile(found.latencies, (50, 99)) * 1e3 if len(found.latencies) else (np.nan,) * 2
                    periods.append(Period(time.monotonic() - began, changes.version, len(found.latencies),
                                          sum(found.errors.values()) + found.unsent, wrong, p50, p99,
                                          memory_mb(process.pid)))
                    tell(_line(periods[-1]))
            process.send_signal(signal.SIGTERM)
            if process.wait(30):
                raise RuntimeError(f"the server ended with code {process.returncode}")
        finally:
            process.kill()
            process.wait()
    return most.rate, rate, periods, sorted(check.versions)


class Changes:
    """Calls change(2), change(3), ... in a thread, one every `seconds`, from entering to leaving.

    Raises: when it is left, or at `require_going`, what `change` raised.
    """

    def __init__(self, change, seconds):
        self.version = 1
        self._change, self._seconds = change, seconds
        self._stop, self._pool = threading.Event(), concurrent.futures.ThreadPoolExecutor(1)

    def __enter__(self):
        self._going = self._pool.submit(self._run)
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._pool.shutdown()
        if kind is None:
            self._going.result()

    def require_going(self):
        if self._going.done():
            self._going.result()

    def _run(self):
        due = time.monotonic() + self._seconds
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._change(self.version + 1)
            self.version += 1
            due += self._seconds


def growth(periods):
    """(MB by which a line through the second half rises, its standard error, MB it may rise); None of too few."""
    half = periods[len(periods) // 2:]
    if len(half) < 4:
        return None
    seconds, mb = (np.array([getattr(one, key) for one in half]) for key in ("seconds", "mb"))
    slope, start = np.polyfit(seconds, mb, 1)
    beside = seconds - seconds.mean()
    error = np.sqrt(((mb - start - slope * seconds) ** 2).sum() / (len(half) - 2) / (beside ** 2).sum())
    took = seconds[-1] - seconds[0]
    return slope * took, error * took, LEAST_BYTES * sum(one.answers for one in half[1:]) / 2**20


def faults(minutes, change_seconds, periods, versions):
    """[sentence] of each point on which the soak fails."""
    failed, wrong = (sum(getattr(one, key) for one in periods) for key in ("failed", "wrong"))
    found = [f"{count} {told}" for count, told in ((failed, "requests failed"), (wrong, "answers were wrong")) if count]
    wanted = int(minutes * 60 / change_seconds) - 1
    if len(versions) < wanted:
        found.append(f"{len(versions)} versions answered but at least {wanted} were to")
    grown = growth(periods)
    if grown and grown[0] - 2 * grown[1] > grown[2]:
        found.append(f"memory grew by {grown[0]:.1f} MB, at most {grown[2]:.1f} MB are flat")
    return found


def _line(one):
    return (f"| {one.seconds:.0f} | {one.version} | {one.answers:,} | {one.failed} | {one.wrong} | {one.p50:.1f} | "
            f"{one.p99:.1f} | {one.mb:.0f} |")


def document(most, rate, share, periods, versions, found, machine, commit):
    """The log as Markdown.   Args: found: what `faults` says."""
    answers, failed, wrong = (sum(getattr(one, key) for one in periods) for key in ("answers", "failed", "wrong"))
    grown = growth(periods)
    memory = "Too few half minutes to judge memory by." if grown is None else (
        f"A line through the second half of the resident memory rises by {grown[0]:.1f} MB (standard error "
        f"{grown[1]:.1f} MB); flat is, beyond two standard errors, at most {grown[2]:.1f} MB: {LEAST_BYTES} bytes an "
        "answer, the least that malloc gives out.")
    return "\n".join([
        "# Soak of the embedded server",
        "",
        f"`python -m benchmarks.soak`, {periods[-1].seconds / 60:.0f} minutes on {machine}, server and client on the "
        f"same cores, commit {commit or 'unknown'}: one 64 x 64 x 3 image a request, four convolutions, batches of "
        f"{work.BATCH}.",
        "",
        f"32 clients get {most:.0f} answers a second; {share:.0%} of that, {rate:.0f} a second, came at random times. "
        f"{len(versions)} versions answered. **{answers:,} answers, {failed} failed, {wrong} wrong.** {memory}",
        "",
        f"Failed: {'; '.join(found)}." if found else "Passed on every point.",
        "",
        "| second | version | answers | failed | wrong | p50 ms | p99 ms | MB |",
        "|---|---|---|---|---|---|---|---|",
        *map(_line, periods),
        ""])


def define_flags():
    flags.DEFINE_float("minutes", 10.0, "How long.", lower_bound=0.01)
    flags.DEFINE_float("load", 0.8, "Share of the rate that 32 clients get.", lower_bound=0.01, upper_bound=1.0)
    flags.DEFINE_float("change_seconds", 30.0, "Between two versions.", lower_bound=0.1)
    flags.DEFINE_string("out", None, "File that gets the log as Markdown.")


def main(argv):
    del argv
    values = flags.FLAGS
    if values.out:
        require_place("out", values.out)
    most, rate, periods, versions = soak(values.minutes, values.load, values.change_seconds)
    found = faults(values.minutes, values.change_seconds, periods, versions)
    text = document(most, rate, values.load, periods, versions, found, cells.machine(), commit())
    if values.out:
        write_whole("out", values.out, lambda stream: stream.write(text.encode()))
    print(json.dumps({"answers": sum(one.answers for one in periods), "failed": sum(one.failed for one in periods),
                      "wrong": sum(one.wrong for one in periods), "versions": len(versions),
                      "mb": [round(one.mb) for one in periods], "faults": found}))
    if found:
        sys.exit(1)


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
