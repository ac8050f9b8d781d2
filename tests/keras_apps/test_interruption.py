"""Real trainings in processes of their own: several workers, killed, ended, lost; the same bits again."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.launch import Cluster, free_ports
from tests.keras_apps.runs import write_data
from tfrecords.sources.folder import FolderSource
from tfrecords.write import write

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 240.0        # seconds for a run on a busy machine
CONFIG = '''
from tests.keras_apps.runs import small_config


def get_config():
    return small_config(steps=12, checkpoint_every=2, keep=20, log_every=1)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("interruption")
    write_data(made)
    (made / "config.py").write_text(CONFIG)
    return made


@pytest.fixture(scope="module")
def words(folder):
    """(workdir) -> the flags of a short training."""
    return lambda workdir: [f"--config={folder / 'config.py'}", f"--data={folder / 'data'}", f"--workdir={workdir}",
                            "--models="]


@pytest.fixture(scope="module")
def train():
    """(flags, count) -> processes that train together; none outlives these tests."""
    running = []

    def start(flags, count=2):
        places = [f"localhost:{port}" for port in free_ports(count)]
        for index in range(count):
            task = {"cluster": {"worker": places}, "task": {"type": "worker", "index": index}}
            env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **({"TF_CONFIG": json.dumps(task)} if count > 1 else {})}
            more = ["--strategy=multi_worker"] if count > 1 else []
            command = [sys.executable, "-m", "keras_apps.train", *flags, *more]
            running.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True))
        return running[-count:]
    yield start
    for process in running:
        process.kill()
        process.communicate()


def ended(processes):
    """[(exit code, stderr)]."""
    found = [(process, process.communicate(timeout=PATIENCE)[1]) for process in processes]
    return [(process.returncode, said) for process, said in found]


def finish(processes):
    for code, said in ended(processes):
        assert code == 0, said[-2000:]


def steps_of(workdir):
    return sorted(int(path.stem[5:]) for path in (workdir / "checkpoints").glob("ckpt-*.index"))


def values(workdir, step):
    """{name: array} of a checkpoint's variables."""
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{step}"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in name}


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(folder, words, train):
    """The workdir of two workers whom nobody disturbed."""
    finish(train(words(folder / "undisturbed")))
    return folder / "undisturbed"


def require_equal(workdir, other, step):
    found, expected = values(workdir, step), values(other, step)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)


# ---- as one

def orl(folder):
    """ORL's shards, of the sets that `make data` has written or can write."""
    written = ROOT / "build" / "data" / "orl_faces"
    archive = pathlib.Path(os.environ.get("SUITE_DATA", "nowhere")) / "orl_faces" / "orl_faces.zip"
    if (written / "manifest.json").exists():
        return written
    if not archive.exists():
        pytest.skip("neither build/data/orl_faces nor SUITE_DATA/orl_faces is there")
    write([FolderSource(archive, patterns=[r"s(?P<identity>\d+)/\d+\.png"])], folder / "orl", shards=2)
    return folder / "orl"


@pytest.mark.parametrize("which", ["small", "orl"])
def test_two_workers_train_to_the_weights_of_one_process(which, folder, words, train, tmp_path):
    plain = ["--config.steps=20", "--config.checkpoint_every=19", "--config.keep=3", "--config.dropout=0.0",
             "--config.data.augment=()", "--config.schedule=constant()", "--config.ema=0.0",
             "--config.optimizers.network=sgd(rate=1e-4, momentum=0.0)"]
    if which == "orl":
        def words(workdir):
            return ["--config=keras_apps/configs/verification/orl.py", f"--data={orl(folder)}", f"--workdir={workdir}",
                    "--models="]
    for name, count in (("one", 1), ("two", 2)):
        finish(train([*words(tmp_path / name), *plain], count))
    first = train([*words(tmp_path / "first"), *plain, "--config.steps=1"], 1)
    finish(first)
    one, two, before = values(tmp_path / "one", 20), values(tmp_path / "two", 20), values(tmp_path / "first", 1)
    learned = [name for name in one if name.startswith("app/") and "moving_" not in name]
    assert len(learned) > 10
    gaps = {name: np.abs(one[name] - two[name]).max() for name in learned}
    assert max(gaps.values()) <= 1e-5, max(gaps, key=gaps.get)
    assert max(np.abs(one[name] - before[name]).max() for name in learned) > 1e-4, "else they were equal anyway"
    for name in set(one) - set(learned):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)


# ---- killed

@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_worker_ends_the_other_and_the_same_command_gives_the_same_weights(
        index, words, train, undisturbed, tmp_path):
    chance = random.Random(time.time_ns())
    processes = train(words(tmp_path))
    after = chance.choice([2, 4, 6, 8])
    wait_for(lambda: after in steps_of(tmp_path) or any(process.poll() is not None for process in processes))
    time.sleep(chance.uniform(0, 0.1))
    processes[index].kill()
    start = time.monotonic()
    (code, said), = ended([processes[1 - index]])
    assert time.monotonic() - start < 60
    if steps_of(tmp_path)[-1] < 12:
        assert code == 1, said[-2000:]
        sentence = said.strip().splitlines()[-1]
        assert sentence.startswith(f"error: worker {1 - index} (localhost:") and "Traceback" not in said
        assert f"has lost contact to worker {index} (localhost:" in sentence
        assert "start all again with the same command" in sentence
    finish(train(words(tmp_path)))
    require_equal(tmp_path, undisturbed, 12)


def test_sigterm_to_one_worker_saves_and_ends_all_at_the_same_step(words, train, undisturbed, tmp_path):
    flags = [*words(tmp_path), "--config.checkpoint_every=1000", "--config.steps=400"]
    processes = train(flags)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists() or any(each.poll() is not None for each in processes))
    processes[1].send_signal(signal.SIGTERM)
    (first, said), (second, _) = ended(processes)
    assert (first, second) == (143, 143), said[-2000:]
    step, = steps_of(tmp_path)
    assert f"stopped by a signal to another worker: step {step} of 400 is saved; the same command goes on" in said
    assert 0 < step < 400


# ---- the same bits

def test_deterministic_runs_are_the_same_to_the_last_bit(words, tmp_path, train):
    flags = ["--deterministic", "--strategy=mirrored", "--replicas=2", "--config.steps=6", "--config.dropout=0.2",
             "--config.data.augment=('flip()', 'affine(rotate=0.2)')"]
    for name in ("a", "b"):
        finish(train([*words(tmp_path / name), *flags], 1))
    require_equal(tmp_path / "a", tmp_path / "b", 6)
    first, last = values(tmp_path / "a", 2), values(tmp_path / "a", 6)
    assert max(np.abs(last[name] - first[name]).max() for name in last if name.startswith("app/")) > 1e-3


# ---- parameter servers

CHIEF = '''
import json, sys

from keras_apps.paths import paths_of
from keras_apps.local import parts_of
from keras_apps.run import Run
from keras_apps.strategy import make_strategy
from tests.keras_apps.runs import small_config

data, workdir, _ = sys.argv[1:]
run = Run(small_config(steps=200, checkpoint_every=20, log_every=20, embedding=4096, keep=50), data,
          make_strategy("parameter_server"))
places = {path: sorted({part.device for part in parts_of([v])}) for path, v in paths_of(run.app).items()}
with open(f"{workdir}/places.json", "w") as file:
    json.dump(places, file)
losses = []
loop = run.loop(workdir, [lambda loop, logs: losses.append((loop.position(), logs["train/loss"]))])
assert loop.run() == "finished"
with open(f"{workdir}/losses.json", "w") as file:
    json.dump(losses, file)
'''


def test_parameter_servers_share_the_variables_and_survive_a_killed_worker(folder, tmp_path, monkeypatch, capfd):
    (tmp_path / "chief_of_servers.py").write_text(CHIEF)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    killed = []
    cluster = Cluster(2, 2, [str(folder / "data"), str(tmp_path)], module="chief_of_servers")
    whole = cluster.start

    def start(name):
        whole(name)
        if name == ("worker", 0) and not killed:
            killed.append(cluster.processes[name])
    cluster.start = start

    def kill():
        wait_for(lambda: steps_of(tmp_path))
        killed[0].kill()
        killed.append(steps_of(tmp_path)[-1])
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        code = cluster.wait(1)
    finally:
        for process in cluster.processes.values():
            process.kill()
        killer.join()
    said = capfd.readouterr().err
    assert code == 0, said[-3000:]
    assert "worker 0 ended with exit code -9; started anew" in said and killed[1] < 200
    assert steps_of(tmp_path)[-1] == 200
    places = json.loads((tmp_path / "places.json").read_text())
    servers = {f"/job:ps/replica:0/task:{i}/device:CPU:0" for i in range(2)}
    assert set().union(*places.values()) == servers
    assert any(len(on) == 2 for path, on in places.items() if path.endswith("kernel")), "the largest lies on both"
    losses = [loss for _, loss in json.loads((tmp_path / "losses.json").read_text())]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
