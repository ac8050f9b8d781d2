import os
import subprocess
import sys
from pathlib import Path

import pytest

from saved_models import versions


@pytest.fixture
def models(tmp_path):
    for name in ("1", "3", "00000012"):
        (tmp_path / "task" / name).mkdir(parents=True)
        (tmp_path / "task" / name / "saved_model.pb").write_bytes(b"")
    return tmp_path


def test_only_numeric_folders_with_a_saved_model_count(models):
    for name in ("old", ".exporting-4-1", "-5", "6.5", "٧", "99999999999999999999"):
        (models / "task" / name).mkdir()
        (models / "task" / name / "saved_model.pb").write_bytes(b"")
    (models / "task" / "20").mkdir()
    (models / "task" / "21").write_text("a file")
    assert versions.list_versions(str(models), "task") == [1, 3, 12]
    assert versions.latest(str(models), "task") == str(models / "task" / "00000012")


def test_names_that_are_version_numbers():
    names = ["7", "007", "0", str(2**63 - 1), str(2**63), "9" * 5000, "٧", "-1", "1.5", "v7", ".7", "7 ", ""]
    assert dict(versions.numbered(names)) == {7: "7", 0: "0", 2**63 - 1: str(2**63 - 1)}
    assert dict(versions.numbered(["7", "0000007"])) == {7: "7"}


def test_no_version_is_an_error_that_says_where(tmp_path):
    assert versions.list_versions(str(tmp_path), "task") == []
    with pytest.raises(FileNotFoundError, match="holds no version of `task`"):
        versions.latest(str(tmp_path), "task")


def test_keep_removes_the_oldest_and_never_the_newest(models):
    assert versions.keep(str(models), "task", 2) == [1]
    assert versions.keep(str(models), "task", 5) == []
    assert versions.keep(str(models), "task", 1) == [3]
    assert sorted(os.listdir(models / "task")) == ["00000012"]


def test_keep_spares_what_is_named(models):
    assert versions.keep(str(models), "task", 1, spared=[1, 2]) == [3]
    assert versions.list_versions(str(models), "task") == [1, 12]


def test_keep_takes_the_number_away_before_it_deletes(models, monkeypatch):
    monkeypatch.setattr(versions.shutil, "rmtree", lambda path, ignore_errors: None)    # as if killed here
    assert versions.keep(str(models), "task", 1) == [1, 3]
    assert versions.list_versions(str(models), "task") == [12]
    monkeypatch.undo()
    assert versions.keep(str(models), "task", 1) == []
    assert sorted(os.listdir(models / "task")) == ["00000012"]


def test_keep_passes_over_a_version_that_another_process_removed(models, monkeypatch):
    rename = os.rename

    def raced(source, target):
        if source.endswith("1"):
            raise FileNotFoundError(source)
        rename(source, target)
    monkeypatch.setattr(versions.os, "rename", raced)
    assert versions.keep(str(models), "task", 1) == [3]


def test_keep_removes_the_link_where_a_version_is_one(models, tmp_path):
    (models / "task" / "3").rename(tmp_path / "elsewhere")
    (models / "task" / "3").symlink_to(tmp_path / "elsewhere")
    assert versions.keep(str(models), "task", 1) == [1, 3]
    assert os.listdir(models / "task") == ["00000012"] and (tmp_path / "elsewhere" / "saved_model.pb").exists()


@pytest.mark.parametrize("n", [0, -1, True, 1.5, None])
def test_keep_refuses_anything_below_one(models, n):
    with pytest.raises(ValueError, match="`keep` is .* but must be an integer of at least 1"):
        versions.keep(str(models), "task", n)
    assert versions.list_versions(str(models), "task") == [1, 3, 12]


def run(*arguments):
    root = Path(versions.__file__).parents[1]
    return subprocess.run([sys.executable, "-m", "saved_models.versions", *arguments], cwd=root, text=True,
                          capture_output=True, timeout=120)


def test_command_prints_versions_with_signatures_and_headline(version):
    models, task, _ = version.rsplit(os.sep, 2)
    done = run(f"--models={models}", f"--task={task}", "--keep=3")
    assert done.returncode == 0, done.stderr
    assert "removed versions: none" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "embed_tensor" in line)
    assert "Tiny | AUC 0.9" in row and "serving_default" in row and " 1 " in row


def test_command_answers_a_mistake_with_one_sentence(tmp_path):
    done = run(f"--models={tmp_path}", "--task=nothing")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "`nothing`" in done.stderr
