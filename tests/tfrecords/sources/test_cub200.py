import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.cub200 import Cub200Source

IMAGES = ["001.Albatross/A_0046_18.jpg", "001.Albatross/A_0009_34.jpg", "002.Auklet/B_0001_2.jpg"]
LISTS = {
    "images": "".join(f"{i} {name}\n" for i, name in enumerate(IMAGES, 1)),
    "classes": "1 001.Albatross\n2 002.Auklet\n",
    "image_class_labels": "3 2\n1 1\n2 1\n",
    "train_test_split": "1 0\n2 1\n3 0\n",
    "bounding_boxes": "1 60.0 27.0 325.0 304.0\n2 139.0 30.0 153.0 264.0\n3 14.0 112.0 388.0 186.0\n",
}


def birds(root, **lists):
    return made(root, {f"images/{name}": None for name in IMAGES} | {f"{name}.txt": text
                                                                   for name, text in (LISTS | lists).items()})


@pytest.mark.parametrize("around", ["", "CUB_200_2011/"])
def test_four_lists_say_what_an_image_is(tmp_path, around):
    birds(tmp_path / around)
    found = {item.path.removeprefix(around + "images/"): item.columns for item in check(Cub200Source(tmp_path))}
    assert found == {
        IMAGES[0]: {"label": "001.Albatross", "split": "test", "bbox": "60.0 27.0 325.0 304.0"},
        IMAGES[1]: {"label": "001.Albatross", "split": "train", "bbox": "139.0 30.0 153.0 264.0"},
        IMAGES[2]: {"label": "002.Auklet", "split": "test", "bbox": "14.0 112.0 388.0 186.0"},
    }
    (tmp_path / around / "classes.txt").unlink()
    assert [item.columns["label"] for item in Cub200Source(tmp_path)] == ["1", "1", "2"]


@pytest.mark.parametrize("lists, said", [
    ({"images": "1 001.Albatross/none.jpg\n"}, "line 1 of `images.txt` names `images/001.Albatross/none.jpg`, which"),
    ({"images": "1 ../images.txt\n"}, "line 1 of `images.txt` names"),
    ({"images": f"1 {IMAGES[0]}\n1 {IMAGES[1]}\n"}, "line 2 of `images.txt` says something of number 1 again"),
    ({"train_test_split": "1 0\n2 2\n3 1\n"}, r"line 2 of `train_test_split.txt` says '2' but must say 1 \(train\)"),
    ({"bounding_boxes": "1 1 1 2 2\n"}, "`bounding_boxes.txt` says nothing of image 2"),
    ({"image_class_labels": "1\n"}, "line 1 of `image_class_labels.txt` is '1' but must have 2 fields"),
])
def test_faulty_lists_are_refused(tmp_path, lists, said):
    with pytest.raises(ValueError, match=said):
        Cub200Source(birds(tmp_path, **lists))


def test_a_missing_list_is_refused(tmp_path):
    (birds(tmp_path) / "bounding_boxes.txt").unlink()
    with pytest.raises(ValueError, match="`bounding_boxes.txt` is not in"):
        Cub200Source(tmp_path)
    with pytest.raises(ValueError, match="holds no `images.txt`; give the folder or zip of CUB"):
        Cub200Source(tmp_path / "images")
