import numpy as np
import pytest
import tensorflow as tf

from tfrecords.sources.npz import NpzSource

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def test_splits_come_in_their_usual_order(tmp_path):
    source = NpzSource(
        saved(
            tmp_path,
            test_images=IMAGES[:1],
            test_labels=[7],
            extra_images=IMAGES[:1],
            val_images=IMAGES[1:2, ..., 0],
            val_labels=[[4]],
            train_images=IMAGES[2:],
            train_labels=np.array([1, 2, 3], np.uint8),
        )
    )
    items = list(source)
    assert len(source) == len(items) == 6
    assert [item.columns for item in items] == [
        {"split": "train", "label": 1},
        {"split": "train", "label": 2},
        {"split": "train", "label": 3},
        {"split": "val", "label": 4},
        {"split": "test", "label": 7},
        {"split": "extra"},
    ]
    assert items[1].path == "set/train/1.png"
    np.testing.assert_array_equal(tf.io.decode_png(items[1].read()), IMAGES[3])
    np.testing.assert_array_equal(tf.io.decode_png(items[3].read())[..., 0], IMAGES[1, ..., 0])


def test_without_splits_and_labels(tmp_path):
    items = list(NpzSource(saved(tmp_path, images=IMAGES)))
    assert [item.columns for item in items] == [{}] * 5 and items[4].path == "set/4.png"


@pytest.mark.parametrize(
    "arrays, text",
    [
        ({"pixels": IMAGES}, "has the arrays pixels but must have"),
        ({"images": IMAGES / 255}, "float64 .* must be uint8"),
        ({"images": IMAGES[..., :2]}, "must be uint8"),
        ({"images": IMAGES, "labels": np.zeros((5, 2), int)}, r"must be whole numbers \[5\]"),
        ({"images": IMAGES, "labels": np.zeros(4, int)}, r"must be whole numbers \[5\]"),
        ({"images": IMAGES, "labels": np.zeros(5)}, "must be whole numbers"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, text):
    with pytest.raises(ValueError, match=text):
        NpzSource(saved(tmp_path, **arrays))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        NpzSource(tmp_path / "none.npz")
    (tmp_path / "x.npz").write_bytes(b"text")
    with pytest.raises(ValueError, match="not an .npz file"):
        NpzSource(tmp_path / "x.npz")
    np.savez(tmp_path / "o.npz", images=np.array([{}], object))
    with pytest.raises(ValueError, match="must be uint8"):
        NpzSource(tmp_path / "o.npz")
