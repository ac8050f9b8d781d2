import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.lfw import LfwSource

IMAGES = [f"{person}/{person}_000{i}.jpg" for person, count in (("Ann_Lee", 3), ("Bo", 2), ("Cy_de_Vries", 1))
          for i in range(1, count + 1)]
PAIRS = "2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t2\tCy_de_Vries\t1\nBo\t1\t2\nBo\t2\tAnn_Lee\t1\n"


@pytest.mark.parametrize("around", ["", "lfw/"])
def test_persons_and_folds_of_pairs(tmp_path, around):
    made(tmp_path, {around + name: None for name in IMAGES} | {"pairs.txt": PAIRS, around + "Bo/other.jpg": ""})
    source = LfwSource(tmp_path)
    items = check(source)
    assert {item.path: item.columns for item in items} == {
        around + name: {"identity": name.split("/")[0]} for name in IMAGES}
    one, two, three, bo, bo2, cy = (around + name for name in IMAGES)
    assert source.pairs == [(one, three, 1, 0), (two, cy, 0, 0), (bo, bo2, 1, 1), (bo2, one, 0, 1)]
    assert source.ignored == 1


def test_the_list_may_lie_elsewhere(tmp_path):
    made(tmp_path, {f"images/{name}": None for name in IMAGES} | {"p.txt": PAIRS})
    assert len(LfwSource(tmp_path / "images", str(tmp_path / "p.txt")).pairs) == 4
    with pytest.raises(ValueError, match="holds no `pairs.txt`; give the folder or zip of LFW"):
        LfwSource(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match="none.txt` is no file; give the pairs.txt"):
        LfwSource(tmp_path / "images", str(tmp_path / "none.txt"))


@pytest.mark.parametrize("text, said", [
    ("", "line 1 of .* is '' but must hold the number of folds"),
    ("500\n", "line 1 of .* is '500' but must hold the number of folds"),
    ("2 1\n" + "Bo 1 2\n" * 3, "has 3 pairs but its first line says 2 x 2 x 1"),
    ("1 1\nBo 1 2\nBo 1 Di 1\n", "line 3 of .* names an image of Di that is not there"),
    ("1 1\nBo 1 9\nBo 1 Ann_Lee 1\n", "line 2 of .* names an image of Bo that is not there"),
    ("1 1\nBo 1\nBo 1 Ann_Lee 1\n", "line 2 of .* is 'Bo 1' but must be"),
    ("1 1\nBo 1 x\nBo 1 Ann_Lee 1\n", "line 2 of .* but must be"),
    (f"1 1\nBo 1 {'9' * 5000}\n", "line 2 of .* but must be"),
])
def test_faulty_lists_are_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        LfwSource(made(tmp_path, dict.fromkeys(IMAGES) | {"pairs.txt": text}))


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image <person>/<person>_0001.jpg"):
        LfwSource(made(tmp_path, {"a/1.jpg": None, "pairs.txt": PAIRS}))
