"""The sheet of generated images: a grid in the order of the seeds, small images enlarged by a whole number."""

import numpy as np
import pytest

from serving import samples
from serving.samples import CAPTION, FEW, GAP, HEAD, LARGE, MARGIN, SMALL
from tests.serving.toys import png


def middle(picture, place, columns, side):
    row, column = divmod(place, columns)
    left, top = MARGIN + column * (side + GAP), MARGIN + HEAD + row * (side + CAPTION)
    return picture.getpixel((left + side // 2, top + side // 2))


@pytest.mark.parametrize("count, columns", [(1, 1), (2, 2), (5, 3), (16, 4), (FEW, 8), (FEW + 1, 9)])
def test_images_stand_in_rows_in_their_order(count, columns):
    side = LARGE if count <= FEW else SMALL
    picture, said = samples.draw([png(i, 0, 255) for i in range(count)])
    assert [middle(picture, i, columns, side) for i in range(count)] == [(i, 0, 255) for i in range(count)]
    assert said == ("1 image" if count == 1 else f"{count} images")
    assert picture.width == 2 * MARGIN + columns * (side + GAP) - GAP


def test_an_image_is_enlarged_by_a_whole_number():
    image = np.asarray(samples.draw([png(9, 9, 9, size=28)])[0]) == 9
    assert image.all(-1).sum() == (28 * 9) ** 2, "252 of 256 pixels"


def test_at_most_400_are_drawn_and_it_says_so():
    images = [png(0, 0, 0)] * 500
    picture, said = samples.draw(images, total=1234)
    assert said == "the first 400 of 1,234 images" and picture.width * picture.height < 10e6
    assert samples.draw(images)[1] == "the first 400 of 500 images"


def test_what_cannot_be_read_is_a_tile_with_its_seed():
    huge = png(1, 2, 3)[:16] + (11_000).to_bytes(4, "big") * 2 + png(1, 2, 3)[24:]
    for odd in (huge, b"", png(1, 2, 3)[:40]):
        picture, said = samples.draw([png(255, 0, 0), odd], 2**62)
        assert said == "2 images; 1 of them cannot be shown"
        assert middle(picture, 0, 2, LARGE) == (255, 0, 0)
