import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.tfrecords.sources.contract import check
from tfrecords.sources.npz import NpzSource

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def saved(tmp_path, save=np.savez, **arrays):
    save(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def test_splits_come_in_their_usual_order(tmp_path):
    items = check(NpzSource(saved(
        tmp_path,
        test_images=IMAGES[:1], test_labels=[7],
        extra_images=IMAGES[:1],
        val_images=IMAGES[1:2, ..., 0], val_labels=[[4]],
        train_images=IMAGES[2:], train_labels=np.array([1, 2, 3], np.uint8))))
    assert [item.columns for item in items] == [
        {"split": "train", "label": 1}, {"split": "train", "label": 2}, {"split": "train", "label": 3},
        {"split": "val", "label": 4}, {"split": "test", "label": 7}, {"split": "extra"},
    ]
    assert items[1].path == "set/train/1.png"
    np.testing.assert_array_equal(items[1].read(), IMAGES[3])
    np.testing.assert_array_equal(items[3].read(), IMAGES[1, ..., 0])


def test_without_splits_and_labels(tmp_path):
    items = check(NpzSource(saved(tmp_path, images=IMAGES)))
    assert [item.columns for item in items] == [{}] * 5 and items[4].path == "set/4.png"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<f4", ">f4"])
@pytest.mark.parametrize("channels", [(), (1,), (4,), (9,)])
def test_every_dtype_and_number_of_channels(tmp_path, save, dtype, channels):
    images = (np.random.default_rng(1).random((7, 3, 2, *channels)) * 200).astype(dtype)
    items = list(NpzSource(saved(tmp_path, save, images=images)))
    for i in (3, 0, 6):
        image = items[i].read()
        assert image.dtype == np.dtype(dtype).newbyteorder("=") and image.dtype.isnative
        np.testing.assert_array_equal(image, images[i])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_is_never_in_memory_as_a_whole_and_read_in_any_order(tmp_path, save):
    images = np.zeros((40, 512, 1024), np.uint8)            # 20 MiB, an image half a block
    images[:, 0, 0] = np.arange(40)
    items = list(NpzSource(saved(tmp_path, save, images=images)))
    del images
    tracemalloc.start()
    try:
        assert [int(items[i].read()[0, 0]) for i in (*range(40), 5, 39, 38)] == [*range(40), 5, 39, 38]
        assert tracemalloc.get_traced_memory()[1] < 10 * 2 ** 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("arrays, text", [
    ({"pixels": IMAGES}, "has the arrays pixels but must have"),
    ({"images": IMAGES / 255}, r"float64 .* must be uint8, uint16 or float32 .* convert it"),
    ({"images": IMAGES.astype(int)}, "int64 .* must be uint8, uint16 or float32"),
    ({"images": IMAGES[0, 0]}, "must be uint8"),
    ({"images": IMAGES[:, :0]}, "must be uint8"),
    ({"images": np.asfortranarray(IMAGES)}, "Fortran order.*np.ascontiguousarray"),
    ({"images": IMAGES, "labels": np.zeros((5, 2), int)}, r"must be whole numbers \[5\]"),
    ({"images": IMAGES, "labels": np.zeros(4, int)}, r"must be whole numbers \[5\]"),
    ({"images": IMAGES, "labels": np.zeros(5)}, "must be whole numbers"),
    ({"images": np.array([{}], object)}, "must be uint8"),
])
def test_other_arrays_are_refused(tmp_path, arrays, text):
    with pytest.raises(ValueError, match=text):
        NpzSource(saved(tmp_path, **arrays))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        NpzSource(tmp_path / "none.npz")
    (tmp_path / "x.npz").write_bytes(b"text")
    with pytest.raises(ValueError, match="not an .npz file"):
        NpzSource(tmp_path / "x.npz")


@pytest.mark.parametrize("shape, text", [
    ((10 ** 12, 1, 1), "more than the file can hold"),
    ((1, 10 ** 5, 10 ** 5), "an image of `images` .* has 10,000,000,000 bytes"),
    ((-1, 8, 8), "must be uint8"),
])
def test_a_header_that_claims_too_much_is_refused(tmp_path, shape, text):
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive, archive.open("images.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "|u1"})
        stream.write(bytes(64))
    with pytest.raises(ValueError, match=text):
        NpzSource(tmp_path / "set.npz")


def test_an_array_that_is_cut_off_or_damaged_is_an_os_error(tmp_path):
    images = np.random.default_rng(2).integers(0, 255, (9, 80, 80), np.uint8)
    place = saved(tmp_path, np.savez_compressed, images=images)
    data = bytearray(place.read_bytes())
    data[len(data) // 2: len(data) // 2 + 50] = bytes(50)
    place.write_bytes(data)
    with pytest.raises(OSError, match="the array cannot be read"):
        [item.read() for item in NpzSource(place)]
    with zipfile.ZipFile(place, "w") as archive, archive.open("images.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"shape": (9, 8, 8), "fortran_order": False, "descr": "|u1"})
        stream.write(bytes(100))
    with pytest.raises(OSError, match="cut off"):
        next(iter(NpzSource(place))).read()
