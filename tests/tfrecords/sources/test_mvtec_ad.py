import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.mvtec_ad import MvtecAdSource

NAMES = ["bottle/train/good/000.png", "bottle/test/good/000.png", "bottle/test/broken_large/000.png",
         "bottle/test/broken_large/001.png", "bottle/ground_truth/broken_large/000_mask.png", "bottle/license.txt",
         "wood/train/good/000.png", "wood/test/hole/000.png", "wood/ground_truth/hole/000_mask.png", "overview.png"]


@pytest.mark.parametrize("around", ["", "mvtec_anomaly_detection/"])
def test_folders_give_category_split_defect_and_mask(tmp_path, around):
    source = MvtecAdSource(made(tmp_path, [around + name for name in NAMES]))
    found = {item.path.removeprefix(around): (*(item.columns[column] for column in ("dataset", "split", "label")),
                                              item.mask and item.mask().decode().removeprefix(around))
             for item in check(source)}
    assert found == {
        NAMES[0]: ("bottle", "train", "good", None),
        NAMES[1]: ("bottle", "test", "good", None),
        NAMES[2]: ("bottle", "test", "broken_large", NAMES[4]),
        NAMES[3]: ("bottle", "test", "broken_large", None),
        NAMES[6]: ("wood", "train", "good", None),
        NAMES[7]: ("wood", "test", "hole", NAMES[8]),
    }
    assert source.ignored == 1 and source.description["without_mask"] == 1


def test_one_category_alone(tmp_path):
    source = MvtecAdSource(made(tmp_path, NAMES[:5]) / "bottle")
    assert {item.columns["dataset"] for item in check(source)} == {"bottle"}
    assert sum(item.mask is not None for item in source) == 1


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[1:3], ["a/b.png"]])
def test_other_folders_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="does not hold both <category>/train/good/ and"):
        MvtecAdSource(made(tmp_path, names))
