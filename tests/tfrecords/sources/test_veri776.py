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
