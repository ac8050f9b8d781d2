"""What all pictures share; tiles of any content and size are tested with the ranked sheet."""

import io

import numpy as np
import pytest
from PIL import Image

from serving import drawing


def encoded(pixels, kind="PNG"):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize("size, factor", [((28, 28), 4), ((28, 20), 4), ((1, 3), 42), ((64, 128), 1), ((100, 70), 1)])
def test_whole_tiles_are_pixels_repeated(size, factor):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    tile = drawing.read_tile(encoded(pixels), 128, whole=True)
    np.testing.assert_array_equal(np.asarray(tile), pixels.repeat(factor, 0).repeat(factor, 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_larger_images_are_made_smaller(kind):
    data = encoded(np.full((600, 300), 90, np.uint8), kind)
    for whole in (True, False):
        tile = drawing.read_tile(data, 128, whole)
        assert tile.size == (64, 128) and tile.getpixel((9, 9)) == (90, 90, 90)


def test_texts_keep_to_their_room():
    for start in (0.0, 0.4):
        page = drawing.Page((300, 40))
        page.text((10, 10), "W" * 500, page.small, drawing.INK, 100, start)
        dark = (np.asarray(page.picture) < 128).all(-1).any(0).nonzero()[0]
        assert 10 <= dark[0] and 80 < dark[-1] < 110


def test_a_badge_tells_where_it_ends():
    page = drawing.Page((100, 40))
    end = page.badge(10, 10, "fake", drawing.BAD)
    red = (np.asarray(page.picture) == tuple(bytes.fromhex(drawing.BAD[1:]))).all(-1).any(0).nonzero()[0]
    assert (red[0], red[-1]) == (10, int(end))


def test_counts():
    assert [drawing.counted(*numbers, "image", "images") for numbers in ((1, 1), (0, 0), (3, 3), (3, 1000))] == [
        "1 image", "0 images", "3 images", "the first 3 of 1,000 images"]  # fmt: skip
