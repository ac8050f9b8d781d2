import zipfile

import pytest

from tfrecords.sources.folder import FolderSource


def made(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def columns(source):
    return {item.path: item.columns for item in source}


def test_the_first_folder_is_the_label(tmp_path):
    source = FolderSource(
        made(tmp_path, ["rose/1.jpg", "rose/deep/2.PNG", "lily/1.jpg", "top.png", "notes.txt"])
    )
    assert columns(source) == {
        "lily/1.jpg": {"label": "lily"},
        "rose/1.jpg": {"label": "rose"},
        "rose/deep/2.PNG": {"label": "rose"},
        "top.png": {},
    }
    assert len(source) == 4 and [item.read() for item in source][0] == b"lily/1.jpg"
    assert source.description == {"source": "folder", "location": tmp_path.name}


@pytest.mark.parametrize(
    "names, labels",
    [
        (["all/rose/1.jpg", "all/lily/1.jpg"], {"rose", "lily"}),
        (["all/rose/1.jpg", "all/2.jpg"], {"rose", None}),
        (["rose/1.jpg", "rose/2.jpg"], {"rose"}),
        (["1.jpg", "2.jpg"], {None}),
    ],
)
def test_one_folder_around_everything_is_passed_over(tmp_path, names, labels):
    assert {item.columns.get("label") for item in FolderSource(made(tmp_path, names))} == labels


def test_a_pattern_names_the_columns(tmp_path):
    source = FolderSource(
        made(tmp_path, ["x/s1/1_c2.png", "x/s10/1.png", "x/readme.png"]),
        r"s(?P<identity>\d+)/(?P<frame>\d+)(_c(?P<camera>\d))?\.png",
        "train",
    )
    assert columns(source) == {
        "x/s1/1_c2.png": {"identity": "1", "frame": "1", "camera": "2", "split": "train"},
        "x/s10/1.png": {"identity": "10", "frame": "1", "split": "train"},
    }
    assert source.ignored == 1 and len(source) == 2


def test_folder_and_zip_give_the_same(tmp_path):
    names = ["a/s1/1.png", "a/s1/2.png", "a/s2/1.png"]
    folder = made(tmp_path / "f", names)
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for name in reversed(names):
            archive.write(folder / name, name)
    one, two = FolderSource(folder), FolderSource(tmp_path / "f.zip")
    assert [(item.path, item.read(), item.columns) for item in one] == [
        (item.path, item.read(), item.columns) for item in two
    ]


@pytest.mark.parametrize(
    "pattern, text",
    [
        ("(?P<person>.*)/", "unknown group `person`.* one of label, identity, camera, case, track, frame"),
        ("(.*)/", "no named group"),
        ("(?P<label>", "not a regular expression"),
        (r"(?P<label>\d+)/x", r"matches none of the 4 images .* such as a/1.png, b/1.png, c/1.png; change"),
    ],
)
def test_bad_patterns_are_refused(tmp_path, pattern, text):
    with pytest.raises(ValueError, match=text):
        FolderSource(made(tmp_path, ["a/1.png", "b/1.png", "c/1.png", "d/1.png"]), pattern)


def test_two_splits_are_refused(tmp_path):
    with pytest.raises(ValueError, match="group `split` too"):
        FolderSource(made(tmp_path, ["train/1.png"]), "(?P<split>[^/]+)/", "train")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        FolderSource(made(tmp_path, ["notes.txt"]))
