import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.market1501 import Market1501Source

NAMES = ["bounding_box_train/0002_c1s1_000451_03.jpg", "query/0003_c2s3_000102_00.jpg",
         "bounding_box_test/0003_c1s6_015971_00.jpg", "bounding_box_test/0000_c6s4_002427_04.jpg",
         "bounding_box_test/-1_c3s2_000101_01.jpg", "bounding_box_test/odd.jpg", "bounding_box_test/Thumbs.db",
         "gt_bbox/0003_c1s6_015971_00.jpg", "readme.txt"]


@pytest.mark.parametrize("around", ["", "Market-1501-v15.09.15/"])
def test_columns_come_from_names_and_folders(tmp_path, around):
    source = Market1501Source(made(tmp_path, [around + name for name in NAMES]))
    found = {item.path.removeprefix(around): item.columns for item in check(source)}
    assert found == {
        NAMES[0]: {"identity": "0002", "camera": "1", "track": "0002_c1s1", "frame": "000451", "split": "train",
                   "role": "train"},
        NAMES[1]: {"identity": "0003", "camera": "2", "track": "0003_c2s3", "frame": "000102", "split": "test",
                   "role": "query"},
        NAMES[2]: {"identity": "0003", "camera": "1", "track": "0003_c1s6", "frame": "015971", "split": "test",
                   "role": "gallery"},
        # A false detection is a wrong answer for every query; junk is no answer at all.
        NAMES[3]: {"camera": "6", "frame": "002427", "split": "test", "role": "gallery"},
        NAMES[4]: {"camera": "3", "frame": "000101", "split": "test"},
    }
    assert source.ignored == 1 and source.description["source"] == "market1501"


@pytest.mark.parametrize("names, said", [
    (NAMES[1:3], "holds no `bounding_box_train`; give the folder or zip of Market-1501"),
    (NAMES[:1] + NAMES[2:3], "`query` in .* holds no image that is named as those of Market-1501"),
    (["bounding_box_train/a.jpg", *NAMES[1:3]], "`bounding_box_train` in .* holds no image that is named"),
])
def test_missing_folders_are_refused(tmp_path, names, said):
    with pytest.raises(ValueError, match=said):
        Market1501Source(made(tmp_path, names))
