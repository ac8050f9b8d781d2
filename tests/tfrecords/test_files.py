import os
import zipfile

import pytest

from tfrecords import files
from tfrecords.files import Files

NAMES = ("b/2.png", "b/10.png", "a.png", "c d/ü.txt")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "things"
    for name in (*NAMES, ".hidden/x.png", "b/._2.png", "b/Thumbs.db", "__MACOSX/a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def zipped(folder, prefix=""):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


def test_folder_and_zip_are_the_same(folder):
    for place in (folder, zipped(folder)):
        found = Files(place)
        assert found.paths == sorted(NAMES)
        assert [found.read(path).decode() for path in found.paths] == sorted(NAMES)
        assert "a.png" in found and "b" not in found
    assert Files(folder).name == "things" and Files(folder.with_suffix(".zip")).name == "things.zip"


def test_names_in_a_zip_are_only_text(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("../../evil.png", b"1")
        archive.writestr("a\\b.png", b"2")
    assert Files(tmp_path / "z.zip").paths == ["a/b.png"]
    assert sorted(os.listdir(tmp_path)) == ["z.zip"]


def test_a_link_in_a_circle_ends(folder):
    (folder / "b" / "again").symlink_to(folder)
    assert Files(folder).paths == sorted(NAMES)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_too_large_is_not_read(folder, kind, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 6)
    found = Files(folder if kind == "folder" else zipped(folder))
    assert found.read("a.png") == b"a.png"
    with pytest.raises(OSError, match="8 bytes, more than the 6"):
        found.read("b/10.png")


def test_a_damaged_zip_entry_is_an_os_error(folder):
    path = zipped(folder)
    data = bytearray(path.read_bytes())
    data[data.index(b"b/2.png") + 7] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="zip entry cannot be read"):
        Files(path).read("b/2.png")


def test_refuses_what_is_not_there_or_no_zip(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Files(tmp_path / "none")
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="neither a directory nor a zip"):
        Files(tmp_path / "x.zip")
