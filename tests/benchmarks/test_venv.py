"""The environment of the peers with stand-ins for venv and pip; nothing is installed."""

import subprocess

import pytest

from benchmarks import venv


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """A lock, and what was run; `fails` holds the module that fails and what it says."""
    class Tried:
        folder, lock, runs, fails = tmp_path / ".venv-peers", tmp_path / "requirements.txt", [], {}

        def python(self):
            return venv.peers_python(self.lock, self.folder)

    def run(words, **_):
        module = words[2]
        Tried.runs.append(module)
        if module == "venv":
            (Tried.folder / "bin").mkdir(parents=True)
        code, said = (1, Tried.fails[module]) if module in Tried.fails else (0, "")
        return subprocess.CompletedProcess(words, code, "", said)

    Tried.runs, Tried.fails = [], {}
    Tried.lock.write_text("torch==2.13.0\n")
    monkeypatch.setattr(venv.subprocess, "run", run)
    return Tried()


def test_made_once_and_again_when_the_lock_changes(tried, capsys):
    assert tried.python() == str(tried.folder / "bin" / "python")
    assert tried.runs == ["venv", "pip"]
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("making .venv-peers from requirements.txt")
    (tried.folder / "kept").write_text("")
    tried.python()
    assert tried.runs == ["venv", "pip"] and (tried.folder / "kept").exists()
    tried.lock.write_text("torch==2.13.1\n")
    tried.python()
    assert tried.runs == ["venv", "pip"] * 2 and not (tried.folder / "kept").exists()
    assert len(list(tried.folder.glob("lock-*"))) == 1


@pytest.mark.parametrize("module, said, reason", [
    ("pip", "WARNING: x\nERROR: No matching distribution for torch\nnotice", "No matching distribution for torch"),
    ("venv", "ensurepip is not available", "ensurepip is not available"), ("pip", "", "code 1"),
])
def test_peers_that_cannot_be_installed_leave_nothing(tried, module, said, reason):
    tried.fails[module] = said
    with pytest.raises(OSError) as raised:
        tried.python()
    assert str(raised.value) == (f"the peers cannot be installed into .venv-peers ({reason}); see to it and run the "
                                 "command again.")
    assert not tried.folder.exists()
    tried.fails.clear()
    tried.python()
    assert len(list(tried.folder.glob("lock-*"))) == 1


def test_what_an_interrupted_run_left_is_made_anew(tried):
    tried.folder.mkdir()
    (tried.folder / "half").write_text("")
    tried.python()
    assert tried.runs == ["venv", "pip"] and not (tried.folder / "half").exists()


def test_an_interruption_leaves_nothing(tried, monkeypatch):
    def interrupted(words, **_):
        (tried.folder / "bin").mkdir(parents=True, exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(venv.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tried.python()
    assert not tried.folder.exists()


def test_the_lock_names_full_versions_and_no_index():
    lines = (venv.ROOT / "benchmarks" / "requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in lines} >= {"torch", "torchvision", "lightly", "pytorch-metric-learning"}
    assert all(line.count("==") == 1 and "://" not in line and "+" not in line for line in lines)
