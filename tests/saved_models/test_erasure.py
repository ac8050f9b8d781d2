"""Erasing: gone from every file, however old or half removed, found where it is not, gone on with where it ended."""

import os
import shutil

import numpy as np
import pytest

from saved_models import erasure, gallery, versions


@pytest.fixture(scope="module")
def kept(tmp_path_factory, version, png):
    """A gallery of three versions: ann and bob, then eve as well, then without bob."""
    models = tmp_path_factory.mktemp("erasure")
    entries = [("ann", "ann/0", png(1)), ("bob", "bob/0", png(2))]
    gallery.build(version, entries, str(models), k=2, check=False)
    gallery.enrol(str(models / "gallery" / "1"), [("eve", "eve/0", png(3))], check=False)
    gallery.remove(str(models / "gallery" / "2"), ["bob"], check=False)
    return models


@pytest.fixture
def models(kept, tmp_path):
    shutil.copytree(kept / "gallery", tmp_path / "gallery")
    return tmp_path


def newest(models):
    return versions.latest(str(models), "gallery")


def vector_of(models, name, version=2):
    vectors, identities, _ = gallery.load_entries(str(models / "gallery" / str(version)))
    return vectors[identities.index(name)].tobytes()


def folders(models):
    return sorted(path.name for path in (models / "gallery").iterdir())


def test_the_vectors_of_all_versions_are_gone(models):
    path, proof = erasure.erase(newest(models), ["ann"], check=False)
    assert proof["vectors"] == 1, "the same in all versions"
    assert proof["found"] == [] and proof["versions"] == [4] and proof["files"] > 3
    assert gallery.load_entries(path)[1:] == (["eve"], ["eve/0"]) and folders(models) == ["4"]


def test_names_that_only_older_versions_hold_are_erased_without_a_new_one(models):
    path, proof = erasure.erase(newest(models), ["bob"], check=False)
    assert path == str(models / "gallery" / "3") and folders(models) == ["3"]
    assert proof["vectors"] == 1 and proof["found"] == [] and proof["versions"] == [3]


@pytest.mark.parametrize("ended", ["before the others are removed", "while they are removed", "after one is removed"])
def test_an_erasure_that_a_kill_ended_goes_on(models, ended, monkeypatch):
    planned = erasure.plan(newest(models), ["ann"], ["bob/0"])
    planned.write(check=False)
    if ended == "while they are removed":
        monkeypatch.setattr(versions.shutil, "rmtree", lambda *args, **kwargs: None)
        versions.keep(str(models), "gallery", 1)
        assert len(folders(models)) == 4 and folders(models)[-1] == "4"
        monkeypatch.undo()
    elif ended == "after one is removed":
        shutil.rmtree(models / "gallery" / "1")
    path, proof = erasure.erase(newest(models), ["ann"], ["bob/0"], check=False)
    assert path.endswith("/4") and proof["vectors"] == 2 and proof["found"] == [] and folders(models) == ["4"]
    with pytest.raises(ValueError, match="`ann` is not enrolled in any version of `gallery`, so nothing of it is left"):
        erasure.erase(newest(models), ["ann"], check=False)
    assert folders(models) == ["4"]


def test_the_last_one_can_be_erased(models, png):
    path, proof = erasure.erase(newest(models), ["ann", "eve"], check=False)
    assert proof["vectors"] == 2 and proof["found"] == [] and gallery.read_facts(path)["count"] == 0
    again = gallery.enrol(path, [("new", "new/0", png(5))], check=False)
    assert gallery.load_entries(again)[1] == ["new"]


@pytest.mark.parametrize("names, told", [
    ((["anne"],), "Identity `anne` is not enrolled in any version of `gallery`, .* did you mean ann?"),
    ((["ann", "zzzzz"],), "Identity `zzzzz` is not enrolled in any version of `gallery`, .* leave it away."),
    (((), ["bob/1"]), "Entry `bob/1` is not enrolled in any version"),
    (((), ()), "both empty"), (("ann",), "not one string"),
])
def test_what_cannot_be_erased_changes_nothing(models, names, told):
    with pytest.raises(ValueError, match=told):
        erasure.erase(newest(models), *names, check=False)
    assert folders(models) == ["1", "2", "3"]


def test_what_would_be_left_is_told_before_anything_is_written(models, png):
    gallery.enrol(newest(models), [("twin", "twin/0", png(2))], check=False)
    with pytest.raises(ValueError, match="Entry `twin/0` of `twin` has a vector that is to be erased"):
        erasure.erase(newest(models), ["bob"], check=False)
    (models / "gallery" / "backup.tar").write_bytes(b"123" + vector_of(models, "ann") + b"4")
    with pytest.raises(ValueError, match=r"1 files of .* belong to no version .*\(backup.tar\); remove them first"):
        erasure.erase(newest(models), ["ann"], check=False)
    with pytest.raises(ValueError, match="is not the newest version of `gallery`"):
        erasure.erase(str(models / "gallery" / "2"), ["ann"], check=False)
    (models / "gallery" / "2" / "variables" / "variables.index").unlink()
    with pytest.raises(ValueError, match="What version 2 of `gallery` holds cannot be read.* move its folder away"):
        erasure.erase(newest(models), ["ann"], check=False)
    assert folders(models) == ["1", "2", "3", "4", "backup.tar"]


@pytest.mark.parametrize("link", [
    "2", "3", ".removing-1-9", "backup", "2/variables", "2/variables/variables.data-00000-of-00001"])
def test_what_lies_behind_a_link_is_not_passed_over(models, tmp_path, link):
    path, target = models / "gallery" / link, tmp_path / "elsewhere"
    if path.exists():
        path.rename(target)
    else:
        shutil.copytree(models / "gallery" / "1", target)
    path.symlink_to(target)
    with pytest.raises(ValueError, match=f"/{link}` is a symbolic link, and what it leads to would neither be searche"):
        erasure.erase(newest(models), ["bob"], check=False)
    assert versions.list_versions(str(models), "gallery") == [1, 2, 3]
    with pytest.raises(ValueError, match=f"/{link}` is a symbolic link"):
        erasure.proof(str(models), "gallery", [b"12345678"])


def test_a_folder_that_cannot_be_listed_is_not_passed_over(models, monkeypatch):
    listed = os.scandir

    def refused(path):
        if str(path).endswith("2/assets"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ValueError, match=r"2/assets` cannot be listed \(Permission denied\), .* make it readable"):
        erasure.erase(newest(models), ["ann"], check=False)
    assert folders(models) == ["1", "2", "3"]


def test_what_is_left_is_found_wherever_it_lies(models, monkeypatch):
    vector = vector_of(models, "ann")
    hidden = models / "gallery" / ".removing-9-9"
    hidden.mkdir()
    noise = np.random.default_rng(0).bytes(100)
    (hidden / "part").write_bytes(noise + vector + noise)
    (hidden / "other").write_bytes(noise + vector[:-1])
    for block in (100, 2**20):      # a vector may lie across two blocks
        monkeypatch.setattr(erasure, "BLOCK", block)
        found = erasure.proof(str(models), "gallery", [vector])["found"]
        assert ".removing-9-9/part" in found and ".removing-9-9/other" not in found
        assert {path.split("/")[0] for path in found} == {"1", "2", "3", ".removing-9-9"}
    assert erasure.proof(str(models), "gallery", [])["found"] == []


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 64, 512])
def test_a_search_agrees_with_a_plain_one(tmp_path, dimension, monkeypatch):
    monkeypatch.setattr(erasure, "BLOCK", 3 * 4 * dimension + 5)
    draw = np.random.default_rng(dimension)
    vectors = draw.normal(size=(9, dimension)).astype(np.float32)
    vectors[0] = 0.0
    vectors[0, -1] = 1.0        # hardly anything to know it by
    vectors[1:5] *= draw.random((4, dimension)) < 0.5
    needles = [vector.tobytes() for vector in vectors]
    (tmp_path / "g").mkdir()
    for trial in range(60):
        before, after = (draw.bytes(int(draw.integers(0, 60 * dimension))) for _ in range(2))
        zeros = bytes(int(draw.integers(0, 300)))
        held = needles[trial % 9][: None if trial % 2 else -1]
        data = zeros + before + held + after + zeros
        (tmp_path / "g" / "file").write_bytes(data)
        expected = ["file"] if any(needle in data for needle in needles) else []
        assert erasure.proof(str(tmp_path), "g", needles)["found"] == expected, trial
