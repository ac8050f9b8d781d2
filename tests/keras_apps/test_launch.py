"""Processes of a cluster on this machine: what each is told, how they end together, who is started anew."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from keras_apps import launch
from keras_apps.launch import Cluster, free_ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What is started in place of a training: it notes what it was told, then does what the test says for its place.
TOLD = '''
import json, os, pathlib, signal, sys, time

task = json.loads(os.environ["TF_CONFIG"])["task"]
own = pathlib.Path(f"{task['type']}-{task['index']}")
starts = len(list(pathlib.Path(".").glob(f"{own}-start-*")))
words = {"config": os.environ["TF_CONFIG"], "argv": sys.argv[1:], "pid": os.getpid(), "input": sys.stdin.read()}
part = pathlib.Path(f"{own}-start-{starts}.part")
part.write_text(json.dumps(words))
part.rename(part.with_suffix(".json"))


def until(pattern, count=1):
    """Waits for the others' notes."""
    while len(list(pathlib.Path(".").glob(pattern))) < count:
        time.sleep(0.01)
'''


LAUNCHER = """
import signal
from keras_apps.launch import Cluster
cluster = Cluster({workers}, {servers}, [], module="told")
signal.signal(signal.SIGTERM, cluster.terminate)
raise SystemExit(cluster.wait(0))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder from which what `say` writes is started as a module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(launch, "GRACE", 0.5)
    monkeypatch.setattr(Cluster._end, "__defaults__", (0.5,))
    return tmp_path


def say(place, text):
    (place / "told.py").write_text(TOLD + textwrap.dedent(text))


def started(place, workers=2, servers=0, restarts=0, words=("--config=x.py",)):
    """(exit code, {name of the start: its notes})."""
    cluster = Cluster(workers, servers, list(words), module="told")
    try:
        code = cluster.wait(restarts)
    finally:
        for process in cluster.processes.values():
            process.kill()
    return code, notes(place)


def notes(place):
    return {path.stem: json.loads(path.read_text()) for path in place.glob("*.json")}


def gone(pid):
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def waited(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("workers, servers, expected", [
    (1, 0, {"worker": 1}), (3, 0, {"worker": 3}), (2, 2, {"chief": 1, "worker": 2, "ps": 2})])
def test_each_is_told_the_same_cluster_and_its_own_place(place, workers, servers, expected):
    say(place, f"""
        if {bool(servers)} and task["type"] != "chief":
            time.sleep(100)
        until("*.json", {sum(expected.values())})
    """)
    code, found = started(place, workers, servers)
    assert code == 0 and len(found) == sum(expected.values())
    told = [json.loads(each["config"]) for each in found.values()]
    cluster = told[0]["cluster"]
    assert all(each["cluster"] == cluster for each in told)
    assert {job: len(places) for job, places in cluster.items()} == expected
    places = [address for each in cluster.values() for address in each]
    assert len(set(places)) == len(places), "each listens on a port of its own"
    assert all(address.startswith("localhost:") and 0 < int(address.split(":")[1]) < 65536 for address in places)
    assert sorted((each["task"]["type"], each["task"]["index"]) for each in told) == sorted(
        (job, index) for job, count in expected.items() for index in range(count))
    strategy = "parameter_server" if servers else "multi_worker"
    assert all(each["argv"] == ["--config=x.py", f"--strategy={strategy}"] for each in found.values())
    assert all(each["input"] == "" for each in found.values()), "nobody waits for the terminal"
    assert all(gone(each["pid"]) for each in found.values())


def test_words_go_through_as_they_are(place):
    say(place, "")
    words = ["--config.data.augment=('flip()', \"x\")", "--data=a b", "--models=", "*", "$HOME"]
    code, found = started(place, 1, words=words)
    assert code == 0 and found["worker-0-start-0"]["argv"][:-1] == words


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("end, code", [
    ("sys.exit(1)", 1), ("sys.exit(143)", 143), ("os.kill(os.getpid(), signal.SIGKILL)", 137)])
def test_where_one_fails_the_others_end_as_well(place, capfd, failing, end, code):
    say(place, f"""
        until('*.json', 2)
        if task["index"] == {failing}:
            {end}
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(100)
    """)
    start = time.monotonic()
    ended, found = started(place)
    assert ended == code and time.monotonic() - start < 20
    assert all(gone(each["pid"]) for each in found.values()) and len(found) == 2
    assert f"worker {failing} ended with exit code {-9 if code == 137 else code}" in capfd.readouterr().err


def test_the_others_have_time_to_say_what_they_noticed(place, capfd):
    say(place, """
        until('*.json', 2)
        if task["index"] == 0:
            sys.exit(1)
        time.sleep(0.2)
        print("lost contact", file=sys.stderr)
        sys.exit(1)
    """)
    assert started(place)[0] == 1
    assert "worker 1: lost contact" in capfd.readouterr().err


def test_one_that_ends_well_waits_for_the_others(place):
    say(place, """
        until('*.json', 2)
        if task["index"] == 1:
            time.sleep(0.8)
            pathlib.Path("late").touch()
    """)
    assert started(place)[0] == 0 and (place / "late").exists()


def test_lines_of_all_but_the_first_bear_their_names(place, capfd):
    say(place, """
        print("out of", task["index"])
        print("err", file=sys.stderr)
        sys.stdout.flush()
        os.write(1, bytes([99, 97, 102, 233, 10]))
        os.write(1, b"no newline")
    """)
    code, _ = started(place, 3)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    for index in (1, 2):
        texts = f"out of {index}", "err", "caf\ufffd", "no newline"
        assert {f"worker {index}: {text}" for text in texts} <= set(lines)
    assert code == 0 and "worker 0" not in err and "out of 0" in out


def test_the_last_words_of_those_that_fail_are_not_lost(place):
    """They say why."""
    say(place, """
        if task["index"] == 1:
            sys.stderr.write("".join(f"line {number} of the reason\\n" for number in range(5_000)))
        sys.exit(1)
    """)
    done = subprocess.run([sys.executable, "-c", LAUNCHER.format(workers=2, servers=0)], cwd=place, text=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}:{place}"}, capture_output=True)
    assert done.returncode == 1 and "worker 1: line 4999 of the reason" in done.stderr


# ---- parameter servers

def test_a_dead_worker_of_parameter_servers_is_started_anew(place, capfd):
    say(place, """
        if task["type"] == "worker" and starts < 2:
            until("chief-0-start-0.json")
            os.kill(os.getpid(), signal.SIGKILL)
        if task["type"] == "chief":
            until("worker-0-start-2.json")
            sys.exit(0)
        time.sleep(100)
    """)
    code, found = started(place, 1, 1, restarts=3)
    assert code == 0 and set(found) == {"chief-0-start-0", "ps-0-start-0", *(f"worker-0-start-{i}" for i in range(3))}
    assert len({each["config"] for name, each in found.items() if name.startswith("worker")}) == 1, "at the same place"
    err = capfd.readouterr().err
    assert "worker 0 ended with exit code -9; started anew (2 restarts left)" in err
    assert "worker 0 ended with exit code -9; started anew (1 restarts left)" in err
    assert all(gone(each["pid"]) for each in found.values()), "servers end with the chief"


@pytest.mark.parametrize("restarts", [0, 1])
def test_no_more_often_than_that(place, capfd, restarts):
    say(place, """
        if task["type"] == "worker":
            sys.exit(5)
        time.sleep(100)
    """)
    code, found = started(place, 1, 1, restarts=restarts)
    assert code == 1 and all(gone(each["pid"]) for each in found.values())
    assert len([name for name in found if name.startswith("worker")]) == 1 + restarts
    assert capfd.readouterr().err.rstrip().endswith("worker 0 ended with exit code 5")


def test_a_dead_server_ends_all(place, capfd):
    """What it held is lost."""
    say(place, """
        if task["type"] == "ps" and task["index"] == 1:
            until("*.json", 4)
            sys.exit(3)
        time.sleep(100)
    """)
    code, found = started(place, 1, 2, restarts=3)
    assert code == 1 and len(found) == 4 and all(gone(each["pid"]) for each in found.values())
    assert "ps 1 ended with exit code 3" in capfd.readouterr().err


def test_a_chief_that_fails_ends_all_with_its_code(place):
    say(place, "sys.exit(7) if task['type'] == 'chief' else time.sleep(100)")
    code, found = started(place, 2, 1, restarts=3)
    assert code == 7 and all(gone(each["pid"]) for each in found.values())


# ---- signals

@pytest.fixture
def launcher(place):
    """(workers, servers) -> a launcher in a process of its own."""
    running = []

    def make(workers, servers=0):
        running.append(subprocess.Popen([sys.executable, "-c", LAUNCHER.format(workers=workers, servers=servers)],
                                        cwd=place, env={**os.environ, "PYTHONPATH": f"{ROOT}:{place}"},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert waited(lambda: len(notes(place)) == workers + servers + bool(servers))
        return running[-1]
    yield make
    for process in running:
        process.kill()
        process.wait()


def test_nobody_outlives_a_killed_launcher(place, launcher):
    say(place, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(100)")
    process = launcher(2, 1)
    pids = [each["pid"] for each in notes(place).values()]
    assert not any(map(gone, pids))
    process.kill()
    assert waited(lambda: all(map(gone, pids)))


@pytest.mark.parametrize("servers, asked", [(0, {"worker-0", "worker-1"}), (1, {"chief-0"})])
def test_sigterm_is_handed_to_those_that_train(place, launcher, servers, asked):
    say(place, """
        def note(number, frame):
            pathlib.Path(f"{own}-asked").touch()
            sys.exit(143)
        signal.signal(signal.SIGTERM, note)
        pathlib.Path(f"{own}-ready").touch()
        time.sleep(100)
    """)
    process = launcher(2, servers)
    assert waited(lambda: len(list(place.glob("*-ready"))) == 2 + 2 * servers)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert {path.name.removesuffix("-asked") for path in place.glob("*-asked")} == asked
    assert all(gone(each["pid"]) for each in notes(place).values())


# ---- words

@pytest.mark.parametrize("words, match", [
    ([], "nothing stands after `--`; give the flags of `keras_apps.train`, such as `-- --config=... --data=DIR"),
    (["--config=x", "--strategy=one"], "`--strategy` stands after `--` but follows from --ps here; leave it out"),
    (["--strategy", "multi_worker"], "`--strategy` stands after `--`"),
])
def test_words_that_do_not_fit_are_refused(words, match):
    with pytest.raises(ValueError, match=match):
        launch.main(["launch", *words])


def test_free_ports_differ():
    ports = free_ports(20)
    assert len(set(ports)) == 20 and all(1023 < port < 65536 for port in ports)


def test_the_command_refuses_in_one_sentence(tmp_path):
    done = subprocess.run([sys.executable, "-m", "keras_apps.launch", "--workers=0", "--", "--config=x"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "`--workers`" in done.stderr
