"""Changes by several at once: one after the other, each from what was written last, and a damaged one is told."""

import fcntl
import os
import shutil
import threading

import pytest

from saved_models import changes, gallery


@pytest.fixture(scope="module")
def kept(tmp_path_factory, version, png):
    models = tmp_path_factory.mktemp("changes")
    gallery.build(version, [("ann", "ann/0", png(1))], str(models), k=2, check=False)
    gallery.enrol(str(models / "gallery" / "1"), [("bob", "bob/0", png(2))], check=False)
    return models / "gallery"


@pytest.fixture
def folder(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "gallery")
    return tmp_path / "gallery"


def test_it_begins_at_the_newest_or_the_one_that_is_named(folder):
    before = sorted(os.listdir(folder))
    with changes.change(str(folder) + "/") as start:
        assert start == str(folder / "2")
    with changes.change(str(folder / "1")) as start:
        assert start == str(folder / "1")
    assert sorted(os.listdir(folder)) == before, "nothing lies there because of the lock"
    with pytest.raises(FileNotFoundError, match="holds no version"), changes.change(str(folder / "none")):
        pass


def test_the_second_waits_for_the_first_and_begins_where_it_ended(folder, png):
    inside, starts = threading.Event(), []

    def second():
        inside.wait(20)
        with changes.change(str(folder)) as start:
            starts.append(start)
            gallery.enrol(start, [("eve", "eve/0", png(4))], check=False)
    thread = threading.Thread(target=second)
    thread.start()
    with changes.change(str(folder / "2")) as start:        # the lock is that of the folder, whatever was named
        inside.set()
        gallery.enrol(start, [("dan", "dan/0", png(3))], check=False)
        assert not starts
    thread.join(20)
    assert starts == [str(folder / "3")]
    assert gallery.load_entries(str(folder / "4"))[1] == ["ann", "bob", "dan", "eve"]


def test_who_waits_too_long_or_has_gone_is_told(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError, match="is still being changed by another command or server after 0.1 s; try"):
        with changes.change(str(folder), 0.1):
            pass
    with pytest.raises(changes.Gone, match="has gone; nothing has changed"):
        with changes.change(str(folder), gone=lambda: True):
            pass
    os.close(descriptor)
    with changes.change(str(folder), 0.0):
        pass


def test_a_file_system_without_such_locks_is_told_and_written_to(folder, monkeypatch):
    told = []
    monkeypatch.setattr(changes.logging, "warning", lambda text, *words: told.append(text % words))

    def refuse(*_):
        raise OSError(9, "Bad file descriptor")
    monkeypatch.setattr(changes.fcntl, "flock", refuse)
    with changes.change(str(folder)) as start:
        assert start == str(folder / "2") and "cannot be locked ([Errno 9] Bad file descriptor): change it" in told[0]


@pytest.mark.parametrize("file, damage", [
    ("variables/variables.data-00000-of-00001", b""), ("variables/variables.index", b"x"), ("saved_model.pb", b"x"),
    ("assets/gallery.json", b"{"), ("assets/gallery.json", b"{}"),
])
def test_a_damaged_newest_version_is_told_and_not_passed_over(folder, png, file, damage):
    (folder / "2" / file).write_bytes(damage)
    with pytest.raises(gallery.Damaged, match="Version 2, where a change begins, is damaged: bring its folder back or"):
        with changes.change(str(folder)) as start:
            gallery.enrol(start, [("eve", "eve/0", png(4))], check=False)
    assert sorted(os.listdir(folder)) == ["1", "2"]
    shutil.rmtree(folder / "2")
    with changes.change(str(folder)) as start:
        assert gallery.enrol(start, [("eve", "eve/0", png(4))], check=False) == str(folder / "2")
