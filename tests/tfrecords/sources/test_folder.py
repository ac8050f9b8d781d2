import zipfile

import pytest

from tests.tfrecords.sources.contract import check, facts, made
from tfrecords.sources.folder import FolderSource


def columns(source):
    return {item.path: item.columns for item in check(source)}


def masks(source):
    return {item.path: item.mask and item.mask().decode() for item in check(source)}


def zipped(folder):
    place = folder.with_suffix(".zip")
    with zipfile.ZipFile(place, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
    return place


def test_the_first_folder_is_the_label(tmp_path):
    source = FolderSource(made(tmp_path, ["rose/1.jpg", "rose/deep/2.PNG", "lily/1.npy", "top.png", "notes.txt"]))
    assert columns(source) == {
        "lily/1.npy": {"label": "lily"},
        "rose/1.jpg": {"label": "rose"},
        "rose/deep/2.PNG": {"label": "rose"},
        "top.png": {},
    }
    assert len(source) == 4 and [item.read() for item in source][0] == b"lily/1.npy"
    assert source.description == {"source": "folder", "location": tmp_path.name} and source.ignored == 0


@pytest.mark.parametrize("names, labels", [
    (["all/rose/1.jpg", "all/lily/1.jpg"], {"rose", "lily"}),
    (["all/rose/1.jpg", "all/2.jpg"], {"rose", None}),
    (["rose/1.jpg", "rose/2.jpg"], {"rose"}),
    (["1.jpg", "2.jpg"], {None}),
])
def test_one_folder_around_everything_is_passed_over(tmp_path, names, labels):
    assert {item.columns.get("label") for item in FolderSource(made(tmp_path, names))} == labels


def test_a_pattern_names_the_columns(tmp_path):
    source = FolderSource(made(tmp_path, ["x/s1/1_c2.png", "x/s10/1.png", "x/readme.png"]),
                          r"s(?P<identity>\d+)/(?P<frame>\d+)(_c(?P<camera>\d))?\.png", "train")
    assert columns(source) == {
        "x/s1/1_c2.png": {"identity": "1", "frame": "1", "camera": "2", "split": "train"},
        "x/s10/1.png": {"identity": "10", "frame": "1", "split": "train"},
    }
    assert source.ignored == 1


def test_folder_and_zip_give_the_same(tmp_path):
    folder = made(tmp_path / "f", ["a/s1/1.png", "a/s1/1_mask.png", "a/s1/2.png", "a/s2/1.png", "a/train.txt"])
    (folder / "a/train.txt").write_text("s1/1\ns1/2.png\n")
    one, two = (FolderSource(place, masks="_mask", lists={"train": "train.txt"}) for place in (folder, zipped(folder)))
    assert [fact[:2] + fact[3:] for fact in facts(check(one))] == [fact[:2] + fact[3:] for fact in facts(check(two))]
    assert [item.read() for item in one] == [item.read() for item in two] == [b"a/s1/1.png", b"a/s1/2.png"]


def test_the_stamp_tells_a_changed_image_or_mask(tmp_path):
    folder = made(tmp_path / "f", ["a/1.png", "a/1_mask.png"])
    for kind, place in (("d", lambda: folder), ("z", lambda: zipped(folder))):
        stamps = set()
        for name, content in (("a/1.png", "1"), ("a/1.png", "22"), ("a/1_mask.png", "333")):
            (folder / name).write_text(kind + content)
            stamps.add(next(iter(FolderSource(place(), masks="_mask"))).stamp)
        assert len(stamps) == 3


@pytest.mark.parametrize("pattern, text", [
    ("(?P<person>.*)/", "unknown group `person`.* one of label, true_label, identity, camera"),
    ("(.*)/", "no named group"),
    ("(?P<label>", "not a regular expression"),
    (r"(?P<label>\d+)/x", r"matches none of the 4 images .* such as a/1.png, b/1.png, c/1.png; change"),
])
def test_bad_patterns_are_refused(tmp_path, pattern, text):
    with pytest.raises(ValueError, match=text):
        FolderSource(made(tmp_path, ["a/1.png", "b/1.png", "c/1.png", "d/1.png"]), pattern)


def test_two_splits_are_refused(tmp_path):
    made(tmp_path, ["train/1.png"])
    with pytest.raises(ValueError, match="'train' is given .* group `split` too; keep one"):
        FolderSource(tmp_path, "(?P<split>[^/]+)/", "train")
    with pytest.raises(ValueError, match="lists of splits are given .* group `split` too; keep one"):
        FolderSource(tmp_path, "(?P<split>[^/]+)/", lists={"train": "x.txt"})
    with pytest.raises(ValueError, match="'train' is given .* lists too; keep one"):
        FolderSource(tmp_path, split="train", lists={"train": "x.txt"})


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        FolderSource(made(tmp_path, ["notes.txt"]))


# Layouts of masks: (files, `masks`, {image: its mask}).
LAYOUTS = {
    "a suffix": (["x/b.jpg", "x/b_mask.gif", "x/c.png", "x/c_MASK.png", "x/d.png", "x/orphan_mask.png"], "_mask",
                 {"x/b.jpg": "x/b_mask.gif", "x/c.png": "x/c_MASK.png", "x/d.png": None}),
    "an extension": (["x/b.jpg", "x/b.PNG", "x/c.jpg", "x/orphan.png"], ".png",
                     {"x/b.jpg": "x/b.PNG", "x/c.jpg": None}),
    "a suffix with extension": (["b.png", "b-gt.png", "c.png", "d-gt.jpg"], "-gt.png",
                                {"b.png": "b-gt.png", "c.png": None, "d-gt.jpg": None}),
    "a mirror of the tree": (["x/b.jpg", "y/b.jpg", "masks/x/b.png", "masks/y/b.png"], "masks",
                             {"x/b.jpg": "masks/x/b.png", "y/b.jpg": "masks/y/b.png"}),
    "folders side by side": (["train/images/b.jpg", "train/masks/b.png", "test/images/b.jpg", "test/masks/b_mask.png"],
                             "masks/", {"train/images/b.jpg": "train/masks/b.png",
                                        "test/images/b.jpg": "test/masks/b_mask.png"}),
    "the nearest directory counts": (["a/i/b.jpg", "a/masks/b.png", "masks/a/i/b.png"], "masks",
                                     {"a/i/b.jpg": "a/masks/b.png"}),
    "as in MVTec AD": (["nut/train/good/0.png", "nut/test/good/0.png", "nut/test/cut/0.png",
                        "nut/ground_truth/cut/0_mask.png"], "ground_truth",
                       {"nut/train/good/0.png": None, "nut/test/good/0.png": None,
                        "nut/test/cut/0.png": "nut/ground_truth/cut/0_mask.png"}),
    "two levels": (["a/images/b.jpg", "a/made/by hand/b.png"], "made/by hand",
                   {"a/images/b.jpg": "a/made/by hand/b.png"}),
    "a name that ends in _mask": (["i/b.jpg", "i/b_mask.jpg", "m/b.png", "m/b_mask.png"], "m",
                                  {"i/b.jpg": "m/b.png", "i/b_mask.jpg": "m/b_mask.png"}),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_masks_are_found_and_are_no_images(tmp_path, kind):
    names, given, expected = LAYOUTS[kind]
    source = FolderSource(made(tmp_path / "f", names), masks=given)
    assert masks(source) == expected
    assert source.description["masks"] == given and source.ignored == 0
    assert source.description["without_mask"] == list(expected.values()).count(None)
    assert masks(FolderSource(zipped(tmp_path / "f"), masks=given)) == expected


def test_masks_leave_pattern_and_label_alone(tmp_path):
    made(tmp_path, ["images/rose/1.jpg", "images/lily/1.jpg", "masks/rose/1.png", "masks/lily/2.png"])
    assert {item.columns["label"] for item in FolderSource(tmp_path, masks="masks")} == {"rose", "lily"}
    source = FolderSource(tmp_path, "(?P<label>rose)", masks="masks")
    assert masks(source) == {"images/rose/1.jpg": "masks/rose/1.png"} and source.ignored == 1


@pytest.mark.parametrize("names, given, text", [
    (["a/b.jpg"], "_mask", "no file lies in a directory of that name or ends so"),
    (["a/b.jpg"], "/", "no file lies in a directory"),
    (["a/b.jpg", "a/c_mask.png"], "_mask", "none of the 1 masks, such as `a/c_mask.png`, fits one of the 1 images"),
    (["a/b.png", "a/c.png"], ".png", "fits each of the 2 images"),
    (["a/b.jpg", "a/b_mask.png", "a/b_mask.gif"], "_mask", "are both masks of one name"),
    (["a/1.jpg", "b/1.jpg", "masks/1.png"], "masks", "`masks/1.png` fits both `a/1.jpg` and `b/1.jpg`"),
    (["a/b.jpg", "x.png"], "../..", "no file lies in a directory"),
])
def test_masks_that_fit_nothing_are_refused(tmp_path, names, given, text):
    with pytest.raises(ValueError, match=text):
        FolderSource(made(tmp_path, names), masks=given)


NAMES = ["all/a/1.jpg", "all/a/2.jpg", "all/b/2.jpg", "all/b/with blank.png", "all/b/3.jpg.png", "all/b/3.jpg"]


@pytest.mark.parametrize("line, path", [
    ("all/a/1.jpg", "all/a/1.jpg"),             # full path
    ("a/1.jpg", "all/a/1.jpg"),                 # its end
    ("1.jpg", "all/a/1.jpg"),                   # its last part
    ("1", "all/a/1.jpg"),                       # without extension
    ("a/2", "all/a/2.jpg"),
    ("./a/2.jpg", "all/a/2.jpg"),
    ("b\\2.jpg", "all/b/2.jpg"),
    ("set/all/b/2.jpg", "all/b/2.jpg"),         # longer than the path
    ("with blank.png", "all/b/with blank.png"),
    ("with blank", "all/b/with blank.png"),
    ("1.jpg 17 x", "all/a/1.jpg"),              # more fields
    ("1\t-1", "all/a/1.jpg"),
    ("3.jpg", "all/b/3.jpg"),                   # a name with its extension comes before one without
])
def test_a_list_names_images_in_many_ways(tmp_path, line, path):
    made(tmp_path / "f", NAMES)
    (tmp_path / "l.txt").write_bytes(b"\xef\xbb\xbf# a comment\r\n\r\n" + line.encode() + b"\r\n")
    source = FolderSource(tmp_path / "f", lists={"held": str(tmp_path / "l.txt")})
    assert columns(source) == {path: {"label": path.split("/")[1], "split": "held"}}
    assert source.ignored == 5 and source.description["lists"] == {"held": "l.txt"}


@pytest.mark.parametrize("text, said", [
    ("2.jpg", r"line 1 of `.*l.txt`, '2.jpg', may be all/a/2.jpg or all/b/2.jpg; write more"),
    ("1\n9.jpg 3", r"line 2 of `.*l.txt`, '9.jpg 3', is none of the images of .*, such as all/a/1.jpg"),
    ("../f/all/a/1.jpg", "is none of the images"),
    ("/etc/passwd", "is none of the images"),
    ("c/1.jpg", "is none of the images"),       # an image of that name lies in another folder
    ("# nothing\n\n", "names no image"),
    ("x" * 5000, "'x{100}...', is none of the images"),
])
def test_faulty_lists_are_refused(tmp_path, text, said):
    made(tmp_path / "f", NAMES)
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(ValueError, match=said):
        FolderSource(tmp_path / "f", lists={"train": str(tmp_path / "l.txt")})


def test_an_image_in_two_lists_is_refused_and_twice_in_one_is_not(tmp_path):
    made(tmp_path / "f", {**dict.fromkeys(NAMES), "one.txt": "1.jpg\na/1\n", "two.txt": "a/2\n1\n"})
    assert len(FolderSource(tmp_path / "f", lists={"train": "one.txt"})) == 1
    with pytest.raises(ValueError, match="line 2 of `two.txt`, '1', is in the split 'val' but also in line 1 of "
                                         "`one.txt`, the split 'train'; take it out"):
        FolderSource(tmp_path / "f", lists={"train": "one.txt", "val": "two.txt"})


def test_the_pattern_still_applies_to_listed_images(tmp_path):
    made(tmp_path / "f", {**dict.fromkeys(NAMES), "lists/train.txt": "a/1\nb/2\n", "lists/b.txt": "b/2"})
    source = FolderSource(tmp_path / "f", "/(?P<label>a)/", lists={"train": "lists/train.txt"})
    assert columns(source) == {"all/a/1.jpg": {"label": "a", "split": "train"}} and source.ignored == 5
    with pytest.raises(ValueError, match="matches none of these"):
        FolderSource(tmp_path / "f", "/(?P<label>a)/", lists={"train": "lists/b.txt"})


def test_where_a_list_lies(tmp_path, monkeypatch):
    made(tmp_path / "f", {**dict.fromkeys(NAMES), "x/train.txt": "1", "y/train.txt": "1"})
    for name, said in (("train.txt", "stands for x/train.txt, y/train.txt, neither beside you nor"),
                       ("none.txt", "is no file, neither beside you nor in")):
        with pytest.raises(ValueError, match=said):
            FolderSource(tmp_path / "f", lists={"train": name})
    assert len(FolderSource(tmp_path / "f", lists={"train": "x/train.txt"})) == 1
    monkeypatch.chdir(made(tmp_path / "here", {"train.txt": "a/2\na/1"}))
    assert len(FolderSource(tmp_path / "f", lists={"train": "train.txt"})) == 2
    with pytest.raises(ValueError, match="has no split; write train:"):
        FolderSource(tmp_path / "f", lists={"": "train.txt"})


def test_train_and_test_above_the_classes_are_splits(tmp_path):
    source = FolderSource(made(tmp_path / "a", ["x/train/rose/1.jpg", "x/test/lily/2.jpg"]))
    assert columns(source) == {"x/train/rose/1.jpg": {"split": "train", "label": "rose"},
                               "x/test/lily/2.jpg": {"split": "test", "label": "lily"}}
    source = FolderSource(made(tmp_path / "b", ["train/rose/1.jpg", "extra/2.jpg"]))
    assert columns(source) == {"train/rose/1.jpg": {"label": "train"}, "extra/2.jpg": {"label": "extra"}}
