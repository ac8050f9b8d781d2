import io
import multiprocessing
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from tfrecords import files
from tfrecords.files import Files
from tfrecords.write import sources_of, write

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


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_pickle_holds_no_handle_and_reads_the_same(folder, kind):
    place = folder if kind == "folder" else zipped(folder)
    found = Files(place)
    found.read("a.png")
    pickled = pickle.dumps(found)
    assert len(pickled) < 500                               # the location, whatever lies there
    again = pickle.loads(pickled)
    assert again.read("b/2.png") == b"b/2.png" and again.name == found.name
    assert (again.paths, [again.stamp(path) for path in NAMES]) == (found.paths, [found.stamp(path) for path in NAMES])
    assert "b/10.png" in pickle.loads(pickled) and pickle.loads(pickled).find("b/10.png") == "b/10.png"
    place.rename(place.with_name("gone"))
    lost = pickle.loads(pickled)
    assert kind == "zip" or lost.stamp("a.png") == ""
    with pytest.raises(OSError):
        lost.read("a.png")


def test_another_process_reads_a_zip_too(folder):
    found = Files(zipped(folder))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(found.read, ("b/2.png",)) == b"b/2.png"


def test_an_entry_that_is_gone_from_the_zip_is_an_os_error(folder):
    found = Files(zipped(folder))
    (folder / "a.png").unlink()
    zipped(folder)
    with pytest.raises(OSError, match="no entry of that name any more"):
        pickle.loads(pickle.dumps(found)).read("a.png")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_names_from_lists_are_found_inside_only(folder, kind):
    (folder.parent / "secret.png").write_bytes(b"not for you")
    found = Files(folder if kind == "folder" else zipped(folder))
    for name in ("b/2.png", "./b/2.png", "b//2.png", "b\\2.png", "b/./2.png"):
        assert found.find(name) == "b/2.png"
    for name, said in (("../secret.png", r"has a part `\.\.`"), ("b/../../secret.png", r"has a part `\.\.`"),
                       ("b\\..\\a.png", r"has a part `\.\.`"), (str(folder / "a.png"), "is an absolute path"),
                       ("C:\\a.png", "is an absolute path"), ("", "is an absolute path or empty"), ("b", "is not in"),
                       ("none.png", "is not in"), (".", "is not in"), (".hidden/x.png", "is not in"),
                       ("a.png\0", "is not in"), ("x" * 9000, r"`x{100}\.\.\.` is not in")):
        with pytest.raises(ValueError, match=said):
            found.find(name)


def test_a_link_out_is_listed_but_not_found_for_a_list(folder):
    (folder.parent / "secret.png").write_bytes(b"a")
    (folder / "out.png").symlink_to("../secret.png")
    (folder / "in.png").symlink_to("b/2.png")
    (folder / "beside").symlink_to(folder.with_name("things2"))         # begins like the folder's own name
    folder.with_name("things2").mkdir()
    (folder.with_name("things2") / "1.png").write_bytes(b"1")
    found = Files(folder)
    assert {"out.png", "in.png", "beside/1.png"} <= set(found.paths) and found.find("in.png") == "in.png"
    for name in ("out.png", "beside/1.png"):
        with pytest.raises(ValueError, match=f"`{name}` is a link out of"):
            found.find(name)
    (folder.parent / "alias").symlink_to(folder)                        # the location itself may be one
    assert Files(folder.parent / "alias").find("b/2.png") == "b/2.png"


def test_the_folder_above_a_marker_is_the_outermost(folder):
    for name in ("y/set/list.txt", "x/set/list.txt", "x/deep/set/list.txt", "mylist.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    for found in (Files(folder), Files(zipped(folder))):
        assert found.above("set/list.txt", "it") == "x/" and found.above("list.txt", "it") == "x/set/"
        assert found.above("b", "it") == "" and found.above("a.png", "it") == ""
        with pytest.raises(ValueError, match="holds no `ist.txt`; give the folder or zip of Things"):
            found.above("ist.txt", "Things")


def test_lines_of_a_text():
    data = "\ufeff one \r\n\r\n \ntw\u2028o\x0b \nlast".encode()
    assert list(files.lines(data)) == [(1, "one"), (4, "tw\u2028o"), (5, "last")]
    assert list(files.lines(b"\xff.png")) == [(1, os.fsdecode(b"\xff.png"))] and list(files.lines(b"")) == []


def test_refuses_what_is_not_there_or_no_zip(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Files(tmp_path / "none")
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="neither a directory nor a zip"):
        Files(tmp_path / "x.zip")


def test_a_text_that_begins_like_a_zip_or_not_is_told_apart(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\3\4 but no more")
    with pytest.raises(ValueError, match="x.zip` is a damaged zip file: its end .* is missing; copy or download it "):
        Files(tmp_path / "x.zip")


def png(number):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (9, 9), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def photos(place, count=24, method=zipfile.ZIP_DEFLATED):
    """A zip of images in two sub-folders."""
    with zipfile.ZipFile(place, "w", method) as archive:
        for number in range(count):
            archive.writestr(f"{'ab'[number % 2]}/{number:02d}.png", png(number))
    return place


def change_entry(place, path, **facts):
    """Rewrites facts of one entry in the list of entries, not in front of its data."""
    with zipfile.ZipFile(place, "a") as archive:
        for name, value in facts.items():
            setattr(archive.getinfo(path), name, value)
        archive._didModify = True


def change_bytes(place, old, new, last=False):
    data = place.read_bytes()
    at = data.rindex(old) if last else data.index(old)
    place.write_bytes(data[:at] + new + data[at + len(old):])


# Kinds of a damaged list of entries: what is done to the file.
LISTS = {
    "cut": lambda place: place.write_bytes(place.read_bytes()[:-300]),
    "cut in its last 9 bytes": lambda place: place.write_bytes(place.read_bytes()[:-9]),
    "no magic": lambda place: change_bytes(place, b"PK\1\2", b"PK\1\7"),
    "an entry of a later version": lambda place: change_bytes(place, b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xfe"),
    "a name that is no text": lambda place: (change_entry(place, "a/00.png", flag_bits=0x800),
                                             change_bytes(place, b"a/00", b"\xff/00", last=True)),
}


def error_of(place, out):
    """What `tfrecords.write --images=place` ends with; nothing is written."""
    with pytest.raises((ValueError, OSError)) as caught:
        write(sources_of(images=[str(place)]), out)
    assert not out.exists()
    return str(caught.value)


@pytest.mark.parametrize("kind", LISTS)
def test_a_zip_with_a_damaged_list_is_refused_in_one_sentence(tmp_path, kind):
    place = photos(tmp_path / "photos.zip")
    LISTS[kind](place)
    said = error_of(place, tmp_path / "out")
    assert re.fullmatch(r"`.*/photos\.zip` is a damaged zip file: [^\n]{9,120}; copy or download it again, or repair "
                        r"it and give the unpacked directory\.", said), said


def test_the_command_ends_with_that_sentence(tmp_path):
    place = photos(tmp_path / "photos.zip")
    LISTS["no magic"](place)
    done = subprocess.run([sys.executable, "-m", "tfrecords.write", f"--images={place}", f"--out={tmp_path / 'out'}"],
                          cwd=pathlib.Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: `{place}` is a damaged zip file: ") and last.endswith("directory.")
    assert [path.name for path in tmp_path.iterdir()] == ["photos.zip"]


# Kinds of a damaged entry: what is done to `a/02.png`, what is said of it, and what else is lost.
ENTRIES = {
    "wrong CRC": ({"CRC": 1}, "cannot be read: Bad CRC-32", []),
    "encrypted": ({"flag_bits": 1}, "is encrypted; unpack the zip with its password and give the directory", []),
    "unusual method": ({"compress_type": 14}, "is packed by an unusual method; unpack the zip and give", []),
    "claims a terabyte": ({"file_size": 2 ** 40}, "1,099,511,627,776 bytes, more than the 268,435,456", []),
    "claims less than it is": ({"file_size": 20}, "cannot be read: Bad CRC-32", []),
    "is shorter than its data": ({"compress_size": 30}, "cannot be read: Bad CRC-32", []),
    "is longer than its place": ({"compress_size": 5000}, "overlaps another one", []),
    "begins inside another": ({"header_offset": 17}, "cannot be read: Bad magic", ["a/00.png"]),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_damaged_entry_is_skipped_counted_and_listed(tmp_path, kind):
    place, (facts, reason, others) = photos(tmp_path / "photos.zip", count=60), ENTRIES[kind]
    change_entry(place, "a/02.png", **facts)
    manifest = write(sources_of(images=[str(place)]), tmp_path / "out", shards=1)
    listed = {entry["path"]: entry["reason"] for entry in manifest["skipped"]["unreadable"]}
    assert sorted(listed) == sorted(["a/02.png", *others]) and reason in listed["a/02.png"], listed
    assert manifest["skipped"]["count"] == len(listed) and manifest["count"] == 60 - len(listed)
    with pytest.raises(OSError, match="zip entry|more than"):
        Files(place).read("a/02.png")
    assert Files(place).read("a/04.png") == png(4)


def test_a_zip_that_is_encrypted_throughout_says_what_to_do(tmp_path):
    place = photos(tmp_path / "photos.zip", count=4)
    for path in Files(place).paths:
        change_entry(place, path, flag_bits=1)
    said = error_of(place, tmp_path / "out")
    assert "(a/00.png: the zip entry is encrypted; unpack the zip with its password" in said


def peak_while_reading(place, path):
    """Bytes allocated at most while the entry is read, and what reading gave."""
    found = Files(place)
    tracemalloc.start()
    try:
        try:
            data = found.read(path)
        except OSError as error:
            data = error
        return tracemalloc.get_traced_memory()[1], data
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_that_unpacks_to_more_than_it_claims_takes_no_memory(tmp_path, method):
    place = tmp_path / "bomb.zip"
    with zipfile.ZipFile(place, "w", method) as archive:
        archive.writestr("a/1.png", bytes(48 * 2 ** 20))
    assert place.stat().st_size < 100_000
    # The claim is consistent, so that only the bounds protect.
    change_entry(place, "a/1.png", file_size=1000, CRC=zlib.crc32(bytes(1000)))
    peak, data = peak_while_reading(place, "a/1.png")
    assert peak < 2 ** 20
    assert data == bytes(1000) if method == zipfile.ZIP_DEFLATED else "unusual method" in str(data)


def test_an_empty_entry_that_hides_more_is_damaged(tmp_path):
    place = photos(tmp_path / "photos.zip", count=2)
    change_entry(place, "a/00.png", file_size=0)
    with pytest.raises(OSError, match="cannot be read"):
        Files(place).read("a/00.png")


def test_entries_that_share_their_bytes_are_not_unpacked_once_each(tmp_path):
    """A small zip whose entries all stand for the same bytes would unpack to any size."""
    place = photos(tmp_path / "photos.zip", count=40)
    with zipfile.ZipFile(place, "a") as archive:
        first, *others = archive.infolist()
        for entry in others:
            entry.header_offset = first.header_offset
        archive._didModify = True
    found = Files(place)
    for path in found.paths:
        with pytest.raises(OSError, match="overlaps another one"):
            found.read(path)


def test_whatever_the_damage_only_the_documented_errors_come(tmp_path):
    place = tmp_path / "photos.zip"
    made = [photos(place, 3, method).read_bytes() for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    generator, refused, unread = random.Random(0), 0, 0
    for number in range(600):
        data = bytearray(made[number % 2])
        for _ in range(generator.choice([1, 2, 5])):
            data[generator.randrange(len(data))] = generator.choice([0, 255, generator.randrange(256)])
        place.write_bytes(data[:generator.choice([len(data), generator.randrange(len(data))])])
        try:
            found = Files(place)
        except ValueError as error:
            refused += 1
            assert "zip file" in str(error) and "\n" not in str(error)
            continue
        for path in found.paths:
            try:
                found.read(path)
            except OSError as error:
                unread += 1
                assert not str(error).rstrip().endswith(":")
    assert refused > 100 and unread > 100
