import csv
import zipfile

import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources import _table
from tfrecords.sources.csv import CsvSource

IMAGES = ["a/1.png", "a/2 x.png", "b/1.png", "m/1.png"]


def table(tmp_path, text, **others):
    made(tmp_path / "images", IMAGES)
    place = tmp_path / "images" / "table.csv"
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CsvSource(place, **others)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_columns_come_from_the_header_in_the_tables_order(tmp_path, delimiter, mark):
    text = "path|label|target|bbox|role\r\nb/1.png| rose |1.5|1 2 3 4|query\r\n\r\n./a\\2 x.png||||none\r\n"
    source = table(tmp_path, mark + text.replace("|", delimiter).encode())
    items = check(source)
    assert [item.path for item in items] == ["b/1.png", "a/2 x.png"]
    assert items[0].columns == {"label": "rose", "target": "1.5", "bbox": "1 2 3 4", "role": "query"}
    assert items[1].columns == {"role": "none"} and items[1].read() == b"a/2 x.png"
    assert source.description == {"source": "csv", "location": "table.csv"}


def test_quoted_fields_masks_and_images_elsewhere(tmp_path):
    made(tmp_path / "images", IMAGES)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in IMAGES:
            archive.writestr(f"in/{name}", name)
    (tmp_path / "t.csv").write_text('mask,path,landmarks,label\n'
                                    'in/m/1.png,in/a/1.png,"1,2,3,4,5,6,7,8,9,10","x ""y"""\n'
                                    ",in/b/1.png,,a|b\n")
    source = CsvSource(tmp_path / "t.csv", tmp_path / "z.zip")
    one, two = check(source)
    assert (one.read(), one.mask(), two.mask) == (b"a/1.png", b"m/1.png", None)
    assert one.columns == {"landmarks": "1,2,3,4,5,6,7,8,9,10", "label": 'x "y"'} and two.columns == {"label": "a|b"}
    assert source.description == {"source": "csv", "location": "t.csv", "images": "z.zip"}


def test_an_image_comes_again_with_another_box(tmp_path):
    source = table(tmp_path, "path,bbox\na/1.png,0 0 1 1\nb/1.png,\na/1.png,1 1 2 2\n./a/1.png,2 2 1 1")
    assert [item.path for item in check(source)] == ["a/1.png", "b/1.png", "a/1.png#2", "a/1.png#3"]
    assert [item.read() for item in source][3] == b"a/1.png"


@pytest.mark.parametrize("text, said", [
    ("", "header of .* must have `path`"),
    ("path,label\n", "a header but no row"),
    ("label\nx\n", r"the header of `.*table.csv` is 'label' but must have `path`"),
    ("path,identitty\na/1.png,2\n", "`identitty` in the header .* columns are path, label, .*did you mean `identity`"),
    ("path,qqqq\na/1.png,2\n", "`qqqq` in the header .* leave it out or rename"),
    ("path,label,label\na/1.png,2,3\n", "has `label` twice"),
    ("path,label\na/1.png,2\na/1.png,3\n", "line 3 of .*: `a/1.png` comes in line 2 too"),
    ("path,bbox\na/1.png,0 0 1 1\na/1.png,0;0;1;1\n", "line 3 of .*: `a/1.png` comes in line 2 too"),
    ("path,label\na/1.png\n", "line 2 of .* has 1 fields but the header 2"),
    ('path,label\n"a/1.png,2\n', "line 2 of .* cannot be read"),
    ("path,role\na/1.png,test\n", "line 2 of .*: `role` is 'test' but must be one of"),
    ("path,target\n\na/1.png,warm\n", "line 3 of .*: `target` is 'warm'"),
    ("path,frame\na/1.png,-1\n", "line 2 of .*: `frame` is '-1'"),
    ("path\na/9.png\n", "line 2 of .*: `a/9.png` is not in"),
    ("path,mask\na/1.png,a/9.png\n", "line 2 of .*: `a/9.png` is not in"),
    ("path\n../secret.png\n", r"line 2 of .*: `../secret.png` has a part `\.\.`"),
    ("path\na/../../secret.png\n", r"has a part `\.\.`"),
    ("path\n/etc/hostname\n", "is an absolute path"),
    ("path\nC:\\x.png\n", "is an absolute path"),
    ("path,label\n,x\n", "is an absolute path or empty"),
    ("path\na\n", "`a` is not in"),                           # a folder
    ("path\na/1\0.png\n", "is not in"),
    (f"path\n{'x/' * 3000}1.png\n", r"`[x/]{100}\.\.\.` is not in"),
    (f"path,label\na/1.png,{'x' * 200_000}\n", "line 2 of .* field larger"),
    (b"path\n\xe4.png\n", "not text in UTF-8"),
    ("path\na/1.png\n".encode("utf-16"), "not text in UTF-8"),
])
def test_mistakes_name_file_and_line(tmp_path, text, said):
    (tmp_path / "secret.png").write_bytes(b"not for you")
    with pytest.raises(ValueError, match=said) as caught:
        table(tmp_path, text)
    assert "table.csv" in str(caught.value) and len(str(caught.value)) < 700


def test_links_out_are_refused_and_links_inside_are_not(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"not for you")
    made(tmp_path / "images", IMAGES)
    (tmp_path / "images" / "inside.png").symlink_to("a/1.png")
    assert len(table(tmp_path, "path\ninside.png\n")) == 1
    (tmp_path / "images" / "file.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "images" / "folder").symlink_to(tmp_path)
    for name in ("file.png", "folder/secret.png"):
        with pytest.raises(ValueError, match=f"`{name}` is a link out of"):
            table(tmp_path, f"path\n{name}\n")


def test_other_places_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no file"):
        CsvSource(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        table(tmp_path, "path\na/1.png", images=str(tmp_path / "none"))


def test_too_large_a_table_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrecords.files.MAX_BYTES", 10)
    with pytest.raises(OSError, match="table.csv` cannot be used: .* more than the 10 .*; split the table"):
        table(tmp_path, "path,label\na/1.png,x\n")


def test_the_module_does_not_stand_in_the_way_of_pythons_own():
    assert csv is _table.csv and csv.__name__ == "csv" and CsvSource.__module__ == "tfrecords.sources.csv"
