"""`make data`: which sets it writes, and what it says of the others."""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def suite(tmp_path):
    """The script in a folder of its own, so that nothing is written to the real one."""
    folder = tmp_path / "a suite"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "data.py", folder / "tools")
    (folder / "tfrecords").symlink_to(ROOT / "tfrecords")
    return folder


def data(suite, sets):
    environment = {name: value for name, value in os.environ.items() if name != "SUITE_DATA"}
    environment |= {} if sets is None else {"SUITE_DATA": str(sets)}
    return subprocess.run([sys.executable, "-m", "tools.data"], cwd=suite, env=environment, capture_output=True,
                          text=True)


def orl(folder):
    """A set of the name and form of ORL with images of our own."""
    (folder / "orl_faces").mkdir(parents=True)
    with zipfile.ZipFile(folder / "orl_faces" / "orl_faces.zip", "w") as archive:
        for person in (1, 2, 10):
            for number in (1, 2):
                stream = io.BytesIO()
                Image.fromarray(np.full((6, 5), 10 * person + number, np.uint8)).save(stream, "PNG")
                archive.writestr(f"s{person}/{number}.png", stream.getvalue())


@pytest.mark.parametrize("sets", ["nowhere", "/no/where", "tools/data.py"])
def test_a_missing_folder_is_skipped_in_one_sentence(suite, sets):
    done = data(suite, sets)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"skipped: no folder {suite / sets}; set SUITE_DATA to where the sets lie.\n"
    assert not (suite / "build").exists()


@pytest.mark.parametrize("sets", [None, ""], ids=["unset", "empty"])
def test_without_a_name_the_sets_lie_beside_the_suite(suite, sets):
    (suite.parent / "shared" / "data" / "new_set").mkdir(parents=True)
    done = data(suite, sets)
    assert (done.returncode, done.stdout) == (0, "new_set: skipped, no source reads this set yet.\n")


def test_known_sets_are_written_once_and_others_skipped(suite):
    sets = suite.parent / "my sets"
    orl(sets)
    (sets / "new_set").mkdir()
    (sets / "README.md").write_text("no set")
    done = data(suite, "../my sets")        # a relative path counts from the suite
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "new_set: skipped, no source reads this set yet." in lines and "README" not in done.stdout
    out = suite / "build" / "data" / "orl_faces"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["count"] == 6 and manifest["names"] == {"identity": ["1", "2", "10"]}
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = data(suite, sets)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines() == ["new_set: skipped, no source reads this set yet.",
                                         "orl_faces: already written to build/data/orl_faces."]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (out / "manifest.json").write_text(json.dumps({**manifest, "version": 1}))      # of an older schema
    assert data(suite, sets).returncode == 0
    assert json.loads((out / "manifest.json").read_text()) == manifest


def test_a_known_set_without_its_files_is_an_error(suite):
    (suite.parent / "sets" / "orl_faces").mkdir(parents=True)
    done = data(suite, suite.parent / "sets")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: `") and "orl_faces.zip` does not exist" in done.stderr
    assert not (suite / "build" / "data" / "orl_faces").exists()
