"""What a generator made as one picture: in come encoded images, each with its seed."""

import math

from serving.drawing import GAP, INK, MARGIN, QUIET, Page, advancing, counted, read_tile

MOST_IMAGES = 400  # drawn: some 10 megapixels at most
LARGE, SMALL, FEW = 256, 128, 64  # side of a tile of up to FEW images, and of more; pixels

CAPTION, HEAD = 22, 30  # pixels


def draw(images, seed=0, total=None):
    """A grid of images by rows, each above its seed; small ones are enlarged by a whole number.

    Args:    images: encoded bytes, of which the first MOST_IMAGES are drawn.
             seed: of the first one.  total: how many there are where `images` holds only the first.
    Returns: (PIL image, one line that says what is drawn). What cannot be read here is a tile with its seed.
    """
    total, images = total or len(images), images[:MOST_IMAGES]
    side = LARGE if len(images) <= FEW else SMALL
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    page = Page((2 * MARGIN + columns * (side + GAP) - GAP, MARGIN + HEAD + rows * (side + CAPTION)))
    said, unread = counted(len(images), total, "image", "images"), 0
    page.text((MARGIN, MARGIN - 4), said, page.name, QUIET, page.picture.width - 2 * MARGIN)
    for place, image in enumerate(advancing(images)):
        row, column = divmod(place, columns)
        left, top = MARGIN + column * (side + GAP), MARGIN + HEAD + row * (side + CAPTION)
        tile, name = read_tile(image, side, whole=True), f"seed {seed + place}"
        unread += tile is None
        page.image(left, top, side, tile, name)
        page.text((left, top + side + 3), name, page.small, INK, side)
    return page.picture, said + (f"; {unread} of them cannot be shown" if unread else "")
