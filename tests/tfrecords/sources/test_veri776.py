import zipfile

import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.veri776 import Veri776Source

NAMES = ["image_train/0001_c001_00016450_0.jpg", "image_query/0002_c002_00030600_0.jpg",
         "image_test/0002_c002_00030600_0.jpg", "image_test/0002_c003_00000020_1.jpg", "image_test/x.jpg",
         "name_train.txt", "train_label.xml"]


@pytest.mark.parametrize("around", ["", "VeRi/"])
def test_columns_come_from_names_and_folders(tmp_path, around):
    source = Veri776Source(made(tmp_path, [around + name for name in NAMES]))
    found = {item.path.removeprefix(around): item.columns for item in check(source)}
    seen = {"identity": "0002", "camera": "002", "frame": "00030600", "split": "test"}
    assert found == {
        NAMES[0]: {"identity": "0001", "camera": "001", "frame": "00016450", "split": "train", "role": "train"},
        NAMES[1]: {**seen, "role": "query"},
        NAMES[2]: {**seen, "role": "gallery"},
        NAMES[3]: {**seen, "camera": "003", "frame": "00000020", "role": "gallery"},
    }
    assert source.ignored == 1


def test_missing_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no `image_train`; give the folder or zip of VeRi-776"):
        Veri776Source(made(tmp_path / "a", NAMES[1:]))
    with pytest.raises(ValueError, match="`image_query` in .* holds no image"):
        Veri776Source(made(tmp_path / "b", NAMES[:1] + NAMES[2:]))


TRACKS = """0002_c002_00030600_0.jpg 0002_c002_00030600_0.jpg 0002_c002_00030605_0.jpg

the_third 0002_c003_00000020_1.jpg ../../etc/passwd
0009_c001_00000001_0.jpg
"""
TEST = [*NAMES, "image_test/0002_c002_00030605_0.jpg", "image_test/0002_c002_00040000_0.jpg"]


def veri(root, **lists):
    return made(root, dict.fromkeys(TEST) | {f"{name}.txt": text for name, text in lists.items()})


@pytest.mark.parametrize("around", ["", "VeRi/"])
def test_a_line_of_a_list_is_a_track_of_which_its_query_is_one(tmp_path, around):
    veri(tmp_path / around, test_track=TRACKS, train_track="0001_c001_00016450_0.jpg 0002_c003_00000020_1.jpg")
    found = {item.path.removeprefix(around): item.columns.get("track") for item in check(Veri776Source(tmp_path))}
    assert found == {NAMES[0]: "train_1", NAMES[1]: "test_1", NAMES[2]: "test_1", TEST[-2]: "test_1",
                     NAMES[3]: "test_3", TEST[-1]: None}


def test_a_zip_is_read_alike_and_images_of_no_list_are_of_no_track(tmp_path):
    veri(tmp_path / "folder", test_track=TRACKS)
    with zipfile.ZipFile(tmp_path / "veri.zip", "w") as archive:
        for file in (tmp_path / "folder").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "folder"))
    one, two = ([(item.path, item.columns) for item in Veri776Source(tmp_path / place)]
                for place in ("folder", "veri.zip"))
    assert one == two and [columns.get("track") for path, columns in one if "train" in path] == [None]


@pytest.mark.parametrize("lists, said", [
    ({"test_track": f"{TRACKS}\n0002_c003_00000020_1.jpg"},
     "line 6 of `test_track.txt` names `0002_c003_00000020_1.jpg`, which is in line 3 already, but an image is of one"),
    ({"test_track": "0002_c002_00030600_0.jpg 0002_c003_00000020_1.jpg"},
     "line 1 of `test_track.txt` names `0002_c003_00000020_1.jpg` beside `0002_c002_00030600_0.jpg` but a track is of"),
    ({"test_track": "one\ntwo"}, "`test_track.txt` in .* names none of the 4 images, such as 0002_c002_00030600_0.j"),
    ({"train_track": ""}, "`train_track.txt` in .* names none of the 1 images, such as 0001_c001_00016450_0.jpg;"),
    ({"test_track": "\0\udcff " * 3}, "names none of"),
])
def test_faulty_lists_are_one_sentence(tmp_path, lists, said):
    root = veri(tmp_path)
    for name, text in lists.items():
        (root / f"{name}.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=said) as raised:
        Veri776Source(root)
    assert "\n" not in str(raised.value)


def test_a_list_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    root = veri(tmp_path, test_track=TRACKS)
    monkeypatch.setattr("tfrecords.files.MAX_BYTES", len(TRACKS) - 1)
    with pytest.raises(OSError, match="`test_track.txt` in .* cannot be used: "):
        Veri776Source(root)
