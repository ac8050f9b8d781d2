"""The script that kills writing and reading, with one kill of each."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_nothing_is_lost_by_a_kill(tmp_path):
    words = [sys.executable, "-m", "tools.kills", "--times=1", "--seed=5", f"--log={tmp_path}/log.md"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    log = (tmp_path / "log.md").read_text()
    assert log.startswith("# Killed at random moments") and "| reading | 1 |" in log
    assert log.rstrip().endswith("nothing lost, nothing repeated, nothing half there.")
