"""What `python -m demo` refuses, empties and asks for; the whole way itself is `make demo`."""

import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from demo import __main__ as demo

ROOT = pathlib.Path(__file__).parents[2]


class Stopped(Exception):
    """Stands for the first command, behind which nothing of this file lies."""


@pytest.fixture
def start(monkeypatch):
    """Runs the demo up to its commands; returns what they would have been."""
    asked = []

    def command(module, *words):
        asked.append((module, *map(str, words)))
        if module == "keras_apps.train":
            raise Stopped
    monkeypatch.setattr(demo, "command", command)

    def started(out, images=None, pattern=None):
        asked.clear()
        monkeypatch.setattr(demo, "FLAGS", types.SimpleNamespace(out=str(out), images=images, pattern=pattern))
        with pytest.raises(Stopped):
            demo.main(None)
        return list(asked)
    return started


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_of_something_else_is_refused_and_left_alone(start, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="error: `out` is .*thesis and holds something else than a demo; name an"):
        start(tmp_path / "thesis")
    assert files(tmp_path) == ["thesis", "thesis/chapter.txt"]


def test_a_file_is_refused_and_left_alone(start, tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(SystemExit, match="error: `out` is .*thesis and a file; name an empty or new folder"):
        start(tmp_path / "thesis")
    assert (tmp_path / "thesis").read_text() == "years of work"


def test_a_new_or_empty_folder_is_taken(start, tmp_path):
    start(tmp_path / "some" / "where")
    assert files(tmp_path / "some" / "where") == [demo.MARK]
    (tmp_path / "empty").mkdir()
    start(tmp_path / "empty")
    assert files(tmp_path / "empty") == [demo.MARK]


def test_a_former_demo_is_emptied_but_not_what_its_links_lead_to(start, tmp_path):
    start(tmp_path / "demo")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_text("an image")
    (tmp_path / "demo" / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "demo" / "run" / "config.json").write_text("{}")
    (tmp_path / "demo" / "photos").symlink_to(tmp_path / "photos")
    start(tmp_path / "demo")
    assert files(tmp_path) == ["demo", f"demo/{demo.MARK}", "photos", "photos/1.png"]


def test_a_link_to_a_folder_on_another_disk_stays_one(start, tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "demo").symlink_to(tmp_path / "large")
    for _ in range(2):
        start(tmp_path / "demo")
        (tmp_path / "large" / "report.html").write_text("old")
    start(tmp_path / "demo")
    assert (tmp_path / "demo").is_symlink() and files(tmp_path / "large") == [demo.MARK]


def test_a_demo_killed_while_it_empties_its_folder_is_still_known_as_one(start, tmp_path, monkeypatch):
    start(tmp_path / "demo")
    for name in "abc":
        (tmp_path / "demo" / name).mkdir()

    def killed(path, **words):
        path.rmdir()
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(demo.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "demo")
    assert len(files(tmp_path / "demo")) == 3
    start(tmp_path / "demo")
    assert files(tmp_path / "demo") == [demo.MARK]


def test_the_digits_or_the_readers_own_images_are_written_and_trained(start, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    written, trained = start("build/demo")
    out = tmp_path / "build" / "demo"
    assert written == ("tfrecords.write", "--digits", f"--out={out / 'data'}")
    assert trained == ("keras_apps.train", "--config=keras_apps/configs/verification/digits.py",
                       f"--data={out / 'data'}", f"--workdir={out / 'run'}", f"--models={out / 'models'}")
    # Images are meant from where the command is typed, as the step itself runs in the suite's folder.
    written, trained = start(tmp_path / "other", images="my photos")
    assert written[1] == f"--images={os.path.abspath('my photos')}"
    assert trained[1] == "--config=keras_apps/configs/verification/folder.py"
    written, _ = start(tmp_path / "third", images="photos", pattern=r"(?P<identity>\d+)")
    assert written[2:] == (r"--pattern=(?P<identity>\d+)", f"--out={tmp_path / 'third' / 'data'}")


def test_a_step_that_fails_ends_the_demo(capfd):
    with pytest.raises(SystemExit, match="error: the step above stopped with code 1; the demo ends here"):
        demo.command("tools.no_such_module", "--flag=a b")
    assert "$ python -m tools.no_such_module --flag=a b" in capfd.readouterr().out


def test_a_folder_given_without_its_flag_is_not_passed_over(tmp_path):
    done = subprocess.run([sys.executable, "-m", "demo", "photos", f"--out={tmp_path / 'demo'}"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: `photos` is not a flag; ")
    assert not (tmp_path / "demo").exists()


def test_a_server_that_does_not_start_is_told_with_its_log(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no port is free\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(SystemExit, match="error: the server did not start; see .*server.log"):
        with demo.server(tmp_path / "models", tmp_path):
            pytest.fail("there is no server")
    assert (tmp_path / "server.log").read_text() == "no port is free\n"
    assert f'base_path: "{tmp_path}/models/gallery"' in (tmp_path / "models.config").read_text()


class FakeRun:
    """Held-out images of identities with 1, 2, 5 and 30 images; row i's bytes end in i."""

    def __init__(self):
        identities = np.repeat([0, 1, 2, 3], [1, 2, 5, 30])
        rows = np.random.default_rng(1).permutation(100)[:len(identities)]
        self.splits = {"test": types.SimpleNamespace(rows=rows, identities=identities, names=["a", "b", "c/d", "e"])}
        self.records = types.SimpleNamespace(
            images=lambda rows: [(b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM")[row % 4] + bytes([row]) for row in rows])


def test_the_dealt_images_are_enrolled_or_asked_never_both(tmp_path):
    run = FakeRun()
    demo.deal(run, tmp_path)
    test = run.splits["test"]
    found = {}
    for folder in ("gallery", "queries"):
        for path in (tmp_path / folder).glob("*/*"):
            row = path.read_bytes()[-1]
            identity = test.names[test.identities[list(test.rows).index(row)]]
            assert (path.stem, path.parent.name) == (str(row), identity.replace("/", "_"))
            assert path.suffix == (".png", ".jpg", ".gif", ".bmp")[row % 4]
            found.setdefault(folder, {}).setdefault(path.parent.name, set()).add(row)
    assert {name: len(rows) for name, rows in found["gallery"].items()} == {"a": 1, "b": 1, "c_d": 2, "e": 5}
    assert {name: len(rows) for name, rows in found["queries"].items()} == {"b": 1, "c_d": 3, "e": 25}
    assert not any(found["gallery"][name] & rows for name, rows in found["queries"].items())


def test_bytes_of_another_kind_have_an_ending_too():
    assert demo.ending(b"RIFF") == ".img"
