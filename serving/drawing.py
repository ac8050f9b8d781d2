"""What every picture the client draws is made of: a page with one look, and images read into tiles."""

import io
import math
import os
import warnings

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track

MOST_PIXELS = 50_000_000  # of an image that is drawn: as many as a model takes
NAME_CHARACTERS = 200  # of a name that are looked at: names come from the server
KINDS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")

GAP, MARGIN = 14, 20  # pixels
INK, QUIET, LINE, PLAIN, PAPER = "#1d2733", "#66707c", "#dfe3e8", "#eef0f3", "#ffffff"
GOOD, BAD, DOUBT, NEUTRAL = "#1b7f4d", "#c2302e", "#b45309", "#2f5d9b"


class Page:
    """A white picture and a pen; texts keep to their room, whatever they hold."""

    def __init__(self, size):
        self.picture = Image.new("RGB", size, PAPER)
        self.pen = ImageDraw.Draw(self.picture)
        # Pillow's own font has not even an umlaut; this one has most alphabets, but no Chinese or Japanese.
        fonts = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
        self.name, self.small = (ImageFont.truetype(os.path.join(fonts, "DejaVuSans.ttf"), size) for size in (14, 11))

    def image(self, left, top, side, tile, name):
        """A square with the tile in its middle, or with the name where there is no tile."""
        self.pen.rectangle((left, top, left + side - 1, top + side - 1), fill=PLAIN)
        if tile is not None:
            self.picture.paste(tile, (left + (side - tile.width) // 2, top + (side - tile.height) // 2))
            return
        lines = self._folded(name, side - 16)
        for i, line in enumerate(lines):
            middle = (left + side // 2, top + side // 2 + 15 * i - 15 * (len(lines) - 1) // 2)
            self.pen.text(middle, line, QUIET, self.small, anchor="mm")

    def text(self, place, text, font, colour, room, start=0.0):
        """One line, cut to its room; `start` is the share of what is left that the beginning gets. Where it ends."""
        text = _cut(text, font, room, start)
        self.pen.text(place, text, colour, font)
        return place[0] + font.getlength(text)

    def badge(self, left, top, word, colour, room=math.inf):
        """A word on colour, its end cut off where it needs more room; where the badge ends."""
        word = _cut(word, self.small, room - 14, 1.0)
        box = self.pen.textbbox((left + 7, top), word, self.small)
        self.pen.rounded_rectangle((left, box[1] - 4, box[2] + 7, box[3] + 4), 8, fill=colour)
        self.pen.text((left + 7, top), word, PAPER, self.small)
        return box[2] + 7

    def _folded(self, text, room, most=6):
        lines = [""]
        for letter in text:
            if self.small.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
        return lines if len(lines) <= most else ["…", *lines[1 - most :]]


def _cut(text, font, room, start):
    short, left = text, len(text)
    while left and font.getlength(short) > room:
        left -= 1
        head = round(start * left)
        short = f"{text[:head]}…{text[len(text) - left + head :]}"
    return short


def read_tile(image, side, whole=False):
    """An image, path or bytes, fitted into a square; None for what cannot be drawn.

    It is shown as the model sees it: of an animation the first frame, not turned by EXIF. Small ones are enlarged to
    `side`, or with `whole` by the largest whole number that fits, so that every pixel is a square of the same size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound is below
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=KINDS) as opened:
                width, height = opened.size
                if width * height > MOST_PIXELS:
                    return None
                opened.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at no more than it takes
                scale = side / max(width, height)
                enlarged = whole and scale >= 1
                scale = int(scale) if enlarged else scale
                size = max(1, round(width * scale)), max(1, round(height * scale))
                kind = Image.Resampling.NEAREST if enlarged or scale >= 4 else Image.Resampling.LANCZOS
                return opened.convert("RGB").resize(size, kind)
    except Exception:  # noqa: BLE001 - damaged images raise anything
        return None


def advancing(items):
    """The items, with a bar on a terminal while they are drawn."""
    console = Console(stderr=True)
    yield from track(items, "drawing", console=console, transient=True, disable=not console.is_terminal)


def name_of(image, row):
    """What an image is called in a picture."""
    return f"image {row + 1}" if isinstance(image, bytes) else printable(os.fspath(image), end=True)


def printable(text, end=False):
    """What can be drawn of a text in one line."""
    text = str(text)
    text = text[-NAME_CHARACTERS:] if end else text[:NAME_CHARACTERS]
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def counted(drawn, all_of_them, singular, plural):
    """'3 images', or 'the first 3 of 7 images' where not all are drawn."""
    word = singular if all_of_them == 1 else plural
    return f"{drawn:,} {word}" if drawn == all_of_them else f"the first {drawn:,} of {all_of_them:,} {word}"
