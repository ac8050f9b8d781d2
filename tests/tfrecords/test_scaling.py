"""Bounds of pixel values: parts add up to the whole, quantiles agree with NumPy's."""

import numpy as np
import pytest

from tfrecords.scaling import HIGH, LOW, Values

RANDOM = np.random.default_rng(0)
DEEP = RANDOM.integers(300, 4096, (40, 30, 2)).astype(np.uint16)
REAL = (RANDOM.normal(-3.0, 20.0, (200, 150, 2)) ** 3).astype(np.float32)


def measured(images, method, parts=1):
    """Over images that are dealt to some parts, which are added."""
    whole = Values(images[0].shape[-1], images[0].dtype.name, method)
    for number in range(parts):
        part = Values(images[0].shape[-1], images[0].dtype.name, method)
        for image in images[number::parts]:
            part.take(image)
        whole.add(part.arrays())
    return whole.bounds(images[0].shape[-1])


def test_the_full_range_is_that_of_the_type():
    assert measured([DEEP], "full") == ([0.0, 0.0], [65535.0, 65535.0])


@pytest.mark.parametrize("image", [DEEP, REAL], ids=["uint16", "float32"])
def test_the_range_is_least_and_most_of_each_band(image):
    low, high = measured([image], "range")
    assert low == image.min(axis=(0, 1)).tolist() and high == image.max(axis=(0, 1)).tolist()


@pytest.mark.parametrize("method", ["range", "quantile"])
@pytest.mark.parametrize("image", [DEEP, REAL], ids=["uint16", "float32"])
def test_parts_add_up_to_the_whole(image, method):
    images = list(image.reshape(10, -1, 10, 2))
    assert measured(images, method, parts=3) == measured(images, method) == measured([image], method)


def test_quantiles_of_whole_numbers_are_exact():
    low, high = measured([DEEP], "quantile")
    flat = DEEP.reshape(-1, 2)
    for band in range(2):
        assert (flat[:, band] < low[band]).mean() <= LOW < (flat[:, band] <= low[band]).mean()
        assert (flat[:, band] < high[band]).mean() <= HIGH < (flat[:, band] <= high[band]).mean()


def test_quantiles_of_real_numbers_are_right_to_a_bin():
    low, high = measured([REAL], "quantile")
    for band in range(2):
        ordered = np.sort(REAL[..., band].ravel())
        wanted = ordered[[int(LOW * ordered.size), int(HIGH * ordered.size)]]
        np.testing.assert_allclose([low[band], high[band]], wanted, rtol=2 ** -7)
        assert ((low[band] <= REAL[..., band]) & (REAL[..., band] <= high[band])).mean() > 0.997


def test_one_hot_pixel_moves_the_range_but_not_the_quantiles():
    image = DEEP.copy()
    image[0, 0] = 65535
    assert measured([image], "range")[1] == [65535.0] * 2 and max(measured([image], "quantile")[1]) < 4096


@pytest.mark.parametrize("method", ["range", "quantile"])
@pytest.mark.parametrize("value", [0, 7, -7.5, 3e38, -3e38])
def test_a_band_of_one_value_still_has_a_width(method, value):
    dtype = np.uint16 if value in (0, 7) else np.float32
    (low,), (high,) = measured([np.full((3, 3, 1), value, dtype)], method)
    assert low <= np.float32(value) < high < np.inf


def test_a_range_beyond_32_bits_is_refused():
    with pytest.raises(ValueError, match="too far for numbers of 32 bits, from -3e.38 to 3e.38; use --scaling"):
        measured([np.float32([[[-3e38], [3e38]]])], "range")


def test_a_grey_image_counts_for_every_band():
    values = Values(3, "uint16", "range")
    values.take(np.full((2, 2, 1), 5, np.uint16))
    values.take(np.array([[[1, 2, 9]]], np.uint16))
    assert values.bounds(3) == ([1.0, 2.0, 5.0], [5.0, 5.0, 9.0])
