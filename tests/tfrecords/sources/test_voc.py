import io
import os
import pathlib
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.voc import VocSource

ROOT = pathlib.Path(__file__).resolve().parents[3]
CELLS = pathlib.Path(os.environ.get("SUITE_DATA", ROOT.parent / "shared" / "data")) / "bccd" / "bccd.zip"
PIXELS = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)


def xml(*objects, size=(12, 10)):
    """An annotation of (name, xmin, ymin, xmax, ymax)."""
    sides = "<size><width>{}</width><height>{}</height><depth>3</depth></size>".format(*size) if size else ""
    boxes = "".join(
        f"<object><name>{name}</name><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmax", "ymin", "xmin", "ymax"), (c, b, a, d)))
        + "</bndbox></object>" for name, a, b, c, d in objects)
    return f"<annotation><filename>/etc/passwd</filename>{sides}{boxes}</annotation>"


def voc(root, annotations, folder="Annotations", images="JPEGImages", **others):
    made(root, {f"{folder}/{stem}.xml": text for stem, text in annotations.items()} | others)
    (root / images).mkdir(exist_ok=True)
    for stem in annotations:
        Image.fromarray(PIXELS).save(root / images / f"{stem}.png")
    return root


def test_each_box_is_an_image(tmp_path):
    source = VocSource(voc(tmp_path, {"f2": xml(("dog", 3, 2, 6, 4), ("cat", 1, 1, 12, 10)),
                                      "f1": xml(("dog", 5, 5, 5.6, 7)), "f0": xml()}))
    items = check(source)
    assert [item.path for item in items] == [f"JPEGImages/f{end}" for end in ("1.png#0", "2.png#0", "2.png#1")]
    assert [item.columns for item in items[1:]] == [
        {"label": "dog", "case": "f2", "bbox": (2, 1, 4, 3)}, {"label": "cat", "case": "f2", "bbox": (0, 0, 12, 10)}]
    # Both corners belong to a box, and they are counted from 1.
    np.testing.assert_array_equal(items[1].read(), PIXELS[1:4, 2:6])
    np.testing.assert_array_equal(items[2].read(), PIXELS)
    assert source.ignored == 0 and len({item.stamp for item in items}) == 3


def test_a_field_is_read_once_for_all_its_boxes(tmp_path, monkeypatch):
    source = VocSource(voc(tmp_path, {"f": xml(*[("a", i, i, i + 2, i + 2) for i in range(1, 6)])}))
    read, calls = source._files.read, []
    monkeypatch.setattr(source._files, "read", lambda path: calls.append(path) or read(path))
    assert [item.read().shape for item in source] == [(3, 3, 3)] * 5 and calls == ["JPEGImages/f.png"]


def test_boxes_are_clipped_and_those_without_area_are_left_out(tmp_path):
    source = VocSource(voc(tmp_path, {"f": xml(("a", -5, 0, 3, 30), ("line", 4, 4, 4, 8), ("line", 8, 6, 2, 8),
                                               ("outside", 20, 1, 30, 5), ("b", 2, 3, 4, 5))}))
    a, b = check(source)
    assert source.ignored == 3
    assert (a.path, a.columns["bbox"]) == ("JPEGImages/f.png#0", (0, 0, 3, 10))
    assert (b.path, b.columns["bbox"]) == ("JPEGImages/f.png#4", (1, 2, 3, 3))


@pytest.mark.parametrize("size", [None, (0, 0), (500, 500)])
def test_the_pixels_decide_where_the_size_is_missing_or_wrong(tmp_path, size):
    item, = check(VocSource(voc(tmp_path, {"f": xml(("a", 3, 4, 400, 500), size=size)})))
    np.testing.assert_array_equal(item.read(), PIXELS[3:, 2:])


def test_a_margin_enlarges_within_the_field(tmp_path):
    voc(tmp_path, {"f": xml(("a", 3, 5, 6, 8), ("b", 1, 1, 4, 2))})
    source = VocSource(tmp_path, margin=0.5)
    assert [item.columns["bbox"] for item in check(source)] == [(0, 2, 8, 8), (0, 0, 6, 3)]
    assert source.description["margin"] == 0.5
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`margin` is .* must be a share"):
            VocSource(tmp_path, margin=margin)


def test_lists_name_fields(tmp_path):
    box = xml(("a", 1, 1, 4, 4), ("b", 1, 1, 5, 5))
    voc(tmp_path, {"f1": box, "f2": box, "f3": box}, **{"ImageSets/Main/train.txt": "f1 -1\n", "test.txt": "f3\n"})
    source = VocSource(tmp_path, {"train": "ImageSets/Main/train.txt", "test": "test.txt"})
    assert Counter((item.columns["case"], item.columns["split"]) for item in check(source)) == {
        ("f1", "train"): 2, ("f3", "test"): 2}
    assert source.ignored == 2 and source.description["lists"] == {"train": "train.txt", "test": "test.txt"}
    (tmp_path / "test.txt").write_text("f9")
    with pytest.raises(ValueError, match="line 1 of `test.txt`, 'f9', is none of the images"):
        VocSource(tmp_path, {"test": "test.txt"})


def test_annotations_beside_their_images_in_a_zip(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for folder in ("x", "y"):
            archive.writestr(f"{folder}/f.png", stream.getvalue())
            archive.writestr(f"{folder}/f.xml", xml(("a", 1, 1, 4, 4)))
    assert [(item.path, item.columns["case"]) for item in check(VocSource(tmp_path / "z.zip"))] == [
        ("x/f.png#0", "x/f"), ("y/f.png#0", "y/f")]


BOMB = ('<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
        "<annotation><object><name>&b;</name></object></annotation>")
SECRET = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation><object><name>&a;</name></object></annotation>'


@pytest.mark.parametrize("text, said", [
    (BOMB, "`Annotations/f.xml` has a document type or entities"),
    (SECRET, "has a document type or entities"),
    (SECRET.encode("utf-16"), "is not in UTF-8"),
    ('<?xml version="1.0" encoding="utf-7"?><annotation/>', "`Annotations/f.xml` is not XML"),
    ('<?xml version="1.0" encoding="none"?><annotation/>', "`Annotations/f.xml` is not XML"),
    ("<annotation><object>", "`Annotations/f.xml` is not XML: .*; repair"),
    ("", "is not XML"),
    (xml(("", 1, 1, 2, 2)), "object 0 of `Annotations/f.xml` has no name or no box"),
    (xml(("a", 1, 1, 2, 2), ("a", 1, "x", 2, 2)), "object 1 of `Annotations/f.xml` has no name or no box"),
    (xml(("a", 1, 1, "inf", 2)), "object 0 of .* no box"),
    ("<annotation><object><name>a</name></object></annotation>", "object 0 of .* no box"),
    (xml(), "hold no box that can be used"),
])
def test_faulty_annotations_are_refused(tmp_path, text, said):
    voc(tmp_path, {"f": ""})
    (tmp_path / "Annotations/f.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=said):
        VocSource(tmp_path)


def test_missing_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no XML file"):
        VocSource(made(tmp_path / "a", ["JPEGImages/f.png"]))
    with pytest.raises(ValueError, match="`Annotations/f.xml` has no image `JPEGImages/f.jpg`"):
        VocSource(made(tmp_path / "b", {"Annotations/f.xml": xml(), "JPEGImages/g.png": "", "f.png": ""}))


def test_too_large_an_annotation_is_not_parsed(tmp_path, monkeypatch):
    voc(tmp_path, {"f": xml(("a", 1, 1, 4, 4))})
    monkeypatch.setattr("tfrecords.sources.voc._LARGEST", 20)
    with pytest.raises(ValueError, match="bytes but an annotation may have 20"):
        VocSource(tmp_path)
    monkeypatch.setattr("tfrecords.files.MAX_BYTES", 20)
    with pytest.raises(OSError, match="`Annotations/f.xml` in .* cannot be used"):
        VocSource(tmp_path)


@pytest.mark.skipif(not CELLS.exists(), reason="the blood cells are not in SUITE_DATA")
def test_the_blood_cells():
    source = VocSource(CELLS, {split: f"ImageSets/Main/{split}.txt" for split in ("train", "val", "test")})
    items = list(source)
    # 4,888 boxes as its notice counts them, two of them without area.
    assert Counter(item.columns["label"] for item in items) == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    assert source.ignored == 2
    cases = {split: {item.columns["case"] for item in items if item.columns["split"] == split}
             for split in ("train", "val", "test")}
    assert [len(cases[split]) for split in ("train", "val", "test")] == [205, 87, 72]
    x, y, width, height = items[0].columns["bbox"]
    assert items[0].read().shape == (height, width, 3)
