"""What speaks for a fake as one picture: in come images, what `detect` and `fake_map` answered of them."""

import numpy as np
from PIL import Image

from serving.drawing import (
    BAD,
    GAP,
    GOOD,
    INK,
    LINE,
    MARGIN,
    PLAIN,
    QUIET,
    Page,
    advancing,
    counted,
    name_of,
    read_tile,
)

MOST_IMAGES = 50  # drawn: some 8 megapixels at most

SIDE, BETWEEN, CAPTION, HEAD = 224, 8, 62, 34  # pixels
WIDTH = 2 * SIDE + BETWEEN  # of an image and its overlay
RED = "#e8101c"  # on grey nothing else in the picture is taken for it
ONE_COLUMN = 3  # images that stand below each other; more stand in two columns


def draw(images, answer, maps):
    """A cell an image: the image as it is, beside it in grey with its map in red, below both the decision.

    Small images are enlarged by a whole number, every pixel a square; the map is stretched over the image bilinearly,
    its value is how opaque the red is.

    Args:    images: paths or encoded bytes.
             answer: what `Client.detect` returned for them.
             maps: what `Client.fake_map` returned for the first MOST_IMAGES of them.
    Returns: (PIL image, one line that says what is drawn). An image that cannot be read here is a tile with its name.
    """
    drawn = images[:MOST_IMAGES]
    page, unread = _Page(len(drawn)), 0
    for row, image in enumerate(advancing(drawn)):
        tile = read_tile(image, SIDE, whole=True)
        unread += tile is None
        page.cell(row, tile, maps[row], name_of(image, row), *(answer[name][row] for name in _SHOWN))
    said = f"{counted(len(drawn), len(images), 'image', 'images')} with what speaks for a fake in red"
    return page.picture, said + (f"; {unread} of them cannot be shown" if unread else "")


_SHOWN = ("decision", "score", "threshold", "probability")


class _Page(Page):
    def __init__(self, count):
        self._columns = 1 if count <= ONE_COLUMN else 2
        rows = -(-count // self._columns)
        width = 2 * MARGIN + self._columns * WIDTH + (self._columns - 1) * 2 * GAP
        super().__init__((width, MARGIN + HEAD + rows * (SIDE + CAPTION)))
        self._legend("the redder a place, the more it speaks for a fake")

    def cell(self, row, tile, evidence, name, decision, score, threshold, probability):
        left = MARGIN + row % self._columns * (WIDTH + 2 * GAP)
        top = MARGIN + HEAD + row // self._columns * (SIDE + CAPTION)
        self.pen.line((left, top - GAP // 2, left + WIDTH - 1, top - GAP // 2), fill=LINE)
        self.image(left, top, SIDE, tile, name)
        base = Image.new("RGB", (SIDE, SIDE), PLAIN) if tile is None else tile
        self.image(left + SIDE + BETWEEN, top, SIDE, overlaid(base, evidence), name)
        below = top + SIDE + 8
        self.text((left, below), name, self.small, INK, WIDTH)
        end = self.badge(left, below + 22, *(("fake", BAD) if decision else ("real", GOOD))) + 10
        told = f"score {score:.4f} against threshold {threshold:.4f}, probability {probability:.4f}"
        self.text((end, below + 22), told, self.small, INK, left + WIDTH - end)

    def _legend(self, text):
        ramp = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (12, 1))
        bar = overlaid(Image.new("RGB", (96, 12), "#808080"), ramp)
        self.picture.paste(bar, (MARGIN, MARGIN))
        self.text((MARGIN + bar.width + 8, MARGIN - 1), text, self.small, QUIET, WIDTH - bar.width - 8)


def overlaid(tile, evidence):
    """The tile in grey under red as opaque as the map [H, W], in [0, 1], says."""
    opacity = Image.fromarray(np.ascontiguousarray(evidence, np.float32)).resize(tile.size, Image.Resampling.BILINEAR)
    opacity = np.clip(np.rint(np.asarray(opacity) * 255), 0, 255).astype(np.uint8)
    return Image.composite(Image.new("RGB", tile.size, RED), tile.convert("L").convert("RGB"), Image.fromarray(opacity))
