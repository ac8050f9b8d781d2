import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.pairs import PairsSource

IMAGES = ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]


def table(tmp_path, text):
    made(tmp_path / "images", IMAGES)
    (tmp_path / "p.csv").write_text(text)
    return PairsSource(tmp_path / "p.csv", tmp_path / "images")


def test_each_image_once_in_sorted_order_and_the_pairs_in_theirs(tmp_path):
    source = table(tmp_path, "path1;path2;same;fold\nb/1.png;a/1.png;0;3\na/1.png;a/2.png;TRUE;\n"
                             "./b/1.png;a/2.png;different;0\n")
    items = check(source)
    assert [(item.path, item.columns) for item in items] == [("a/1.png", {}), ("a/2.png", {}), ("b/1.png", {})]
    assert items[2].read() == b"b/1.png"
    assert source.pairs == [("b/1.png", "a/1.png", 0, 3), ("a/1.png", "a/2.png", 1, -1), ("b/1.png", "a/2.png", 0, 0)]
    assert source.description == {"source": "pairs", "location": "p.csv", "images": "images"}


def test_the_split_of_the_pairs_is_the_images(tmp_path):
    source = table(tmp_path, "path_1,path_2,same,split\na/1.png,a/2.png,1,train\nb/1.png,b/2.png,same,test\n")
    assert [item.columns for item in check(source)] == [{"split": "train"}] * 2 + [{"split": "test"}] * 2
    assert source.pairs == [("a/1.png", "a/2.png", 1, -1), ("b/1.png", "b/2.png", 1, -1)]


@pytest.mark.parametrize("text, said", [
    ("path1,path2,same\n", "a header but no pair"),
    ("a/1.png,a/2.png,1\n", "the header of .* must have `path1` and `path2` and `same`"),
    ("path1,path2,same,label\n", "`label` in the header"),
    ("path1,path2,same\na/1.png,a/2.png,2\n", "line 2 of .*: `same` is '2' but must be 1 or 0"),
    ("path1,path2,same\na/1.png,a/2.png,\n", "line 2 of .*: `same` is ''"),
    ("path1,path2,same\na/1.png,a/9.png,1\n", "line 2 of .*: `a/9.png` is not in"),
    ("path1,path2,same\na/1.png,../p.csv,1\n", r"line 2 of .*: `../p.csv` has a part"),
    ("path1,path2,same\na/1.png,a/1.png,1\n", "paired with itself"),
    ("path1,path2,same\na/1.png,a/2.png,1\na/2.png,a/1.png,0\n", "line 3 of .* is in line 2 too"),
    ("path1,path2,same,fold\na/1.png,a/2.png,1,x\n", "line 2 of .*: `fold` is 'x' but must be a whole number"),
    ("path1,path2,same,fold\na/1.png,a/2.png,1,-1\n", "`fold` is '-1'"),
    ("path1,path2,same,split\na/1.png,a/2.png,1,train\na/1.png,b/2.png,0,test\n",
     "line 3 of .*: `a/1.png` is in the splits 'train' and 'test'"),
])
def test_mistakes_name_file_and_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        table(tmp_path, text)
