"""What speaks for an answer, and where, as one picture: in come images, the maps of them and what to write below."""

import dataclasses

import numpy as np
from PIL import Image

from serving.drawing import (
    BAD,
    DOUBT,
    GAP,
    GOOD,
    INK,
    LINE,
    MARGIN,
    NEUTRAL,
    PLAIN,
    QUIET,
    Page,
    advancing,
    counted,
    name_of,
    printable,
    read_tile,
)
from serving.labels import runner_up

MOST_IMAGES = 50  # drawn: some 8 megapixels at most

SIDE, BETWEEN, CAPTION, HEAD = 224, 8, 62, 34  # pixels
WIDTH = 2 * SIDE + BETWEEN  # of an image and its overlay
BADGE = WIDTH // 2  # what a badge may take of it
RED = "#e8101c"  # on grey nothing else in the picture is taken for it
ONE_COLUMN = 3  # images that stand below each other; more stand in two columns
FAKE, LABEL = "a fake", "the label"  # what the red may speak for


@dataclasses.dataclass(frozen=True)
class Caption:
    """What stands below an image: `badges` [(word, its colour)], then `text`."""

    badges: tuple
    text: str


def of_detection(answer, row):
    """The caption of one of the images that `Client.detect` answered."""
    score, threshold, probability = (answer[name][row] for name in ("score", "threshold", "probability"))
    return Caption(
        (("fake", BAD) if answer["decision"][row] else ("real", GOOD),),
        f"score {score:.4f} against threshold {threshold:.4f}, probability {probability:.4f}",
    )


def of_label(row):
    """The caption of an image by its row of `labels.row_of`."""
    other = runner_up(row)
    then = f", then {printable(other[0])} {other[1]:.4f}" if other else ""
    return Caption(
        ((printable(row["label"]), NEUTRAL), *((("unsure", DOUBT),) if row["abstain"] else ())),
        f"probability {row['probabilities'][row['label']]:.4f}{then}",
    )


def draw(images, maps, captions, what):
    """A cell an image: the image as it is, beside it in grey with its map in red, below both its caption.

    Small images are enlarged by a whole number, every pixel a square; the map is stretched over the image bilinearly,
    its value is how opaque the red is.

    Args:    images: paths or encoded bytes.
             maps, captions: [H, W] in [0, 1], and Caption, of the first MOST_IMAGES of them.
             what: what the red speaks for, in words.
    Returns: (PIL image, one line that says what is drawn). An image that cannot be read here is a tile with its name.
    """
    drawn = images[:MOST_IMAGES]
    page, unread = _Page(len(drawn), what), 0
    for row, image in enumerate(advancing(drawn)):
        tile = read_tile(image, SIDE, whole=True)
        unread += tile is None
        page.cell(row, tile, maps[row], name_of(image, row), captions[row])
    said = f"{counted(len(drawn), len(images), 'image', 'images')} with what speaks for {what} in red"
    return page.picture, said + (f"; {unread} of them cannot be shown" if unread else "")


class _Page(Page):
    def __init__(self, count, what):
        self._columns = 1 if count <= ONE_COLUMN else 2
        rows = -(-count // self._columns)
        width = 2 * MARGIN + self._columns * WIDTH + (self._columns - 1) * 2 * GAP
        super().__init__((width, MARGIN + HEAD + rows * (SIDE + CAPTION)))
        self._legend(f"the redder a place, the more it speaks for {what}")

    def cell(self, row, tile, evidence, name, caption):
        left = MARGIN + row % self._columns * (WIDTH + 2 * GAP)
        top = MARGIN + HEAD + row // self._columns * (SIDE + CAPTION)
        self.pen.line((left, top - GAP // 2, left + WIDTH - 1, top - GAP // 2), fill=LINE)
        self.image(left, top, SIDE, tile, name)
        base = Image.new("RGB", (SIDE, SIDE), PLAIN) if tile is None else tile
        self.image(left + SIDE + BETWEEN, top, SIDE, overlaid(base, evidence), name)
        below, end = top + SIDE + 8, left
        self.text((left, below), name, self.small, INK, WIDTH)
        for word, colour in caption.badges:
            end = self.badge(end, below + 22, word, colour, BADGE) + 10
        self.text((end, below + 22), caption.text, self.small, INK, left + WIDTH - end, start=1.0)

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
