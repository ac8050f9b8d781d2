"""The Beam pipeline writes the bytes of `tfrecords.write`; skipped where Beam is not installed."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tfrecords import beam
from tfrecords.read import Records
from tfrecords.sources.npz import NpzSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def npz(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 6)).astype(np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(60) % 7)
    return tmp_path / "set.npz"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_shards_are_byte_identical(npz, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    write([NpzSource(npz)], tmp_path / "one", name="set")
    beam.write([NpzSource(npz)], tmp_path / "two", name="set")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with pytest.raises(FileExistsError, match="holds data already"):
        beam.write([NpzSource(npz)], tmp_path / "two", name="set")


def test_the_command_hands_beams_own_flags_on(npz, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    words = [sys.executable, "-m", "tfrecords.beam", f"--npz={npz}", f"--out={tmp_path}/d", "--shards=3", "--",
             "--runner=DirectRunner", "--direct_num_workers=1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "60 grey images in 3 shards" in done.stdout
    Records(tmp_path / "d").verify()


def test_without_beam_the_remedy_is_told(npz, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError):
        beam.write([NpzSource(npz)], tmp_path / "d")
    assert not (tmp_path / "d").exists() and not (tmp_path / "d.writing").exists()
