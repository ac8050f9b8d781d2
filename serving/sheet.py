"""The ranked sheet of a search as one picture: in come queries and what a gallery answered."""

import io
import math
import os
import warnings

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track

MOST_QUERIES, MOST_ANSWERS = 50, 20  # drawn: some 25 megapixels at most
MOST_PIXELS = 50_000_000  # of an image that is drawn: as many as a model takes
NAME_CHARACTERS = 200  # of a name that are looked at: names come from the server
KINDS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")

TILE, GAP, MARGIN, CAPTION, HEAD = 132, 14, 20, 62, 34  # pixels
INK, QUIET, LINE, PLAIN, PAPER = "#1d2733", "#66707c", "#dfe3e8", "#eef0f3", "#ffffff"
KNOWN, UNKNOWN, DOUBTFUL, SCORE, WRONG = "#1b7f4d", "#b45309", "#fff7e8", "#3b7dd8", "#c2302e"
FRAME = 4


def draw(images, answer, folder=None, truths=None):
    """A row a query: the query and whether it is known, then its answers in order, each with identity and score.

    The bar of a score is its share of the largest one on the sheet: cosines reach 1, scores of a matcher far less.

    Args:    images: the queries, paths or encoded bytes.
             answer: what `Client.search` returned for them.
             folder: what the gallery was built from, unpacked where it was a zip. An entry's own image is drawn
             where it lies below it under the entry's name, else a plain tile. The names are the server's: one
             that is absolute or holds `..` is never looked for.
             truths: whose images the queries are, None where that is not known; answers are framed by it.
    Returns: (PIL image, one line that says what is drawn). Images are shown as the model sees them: of an
             animation the first frame, not turned by EXIF.
    """
    queries = images[:MOST_QUERIES]
    wanted = max((len(row) for row in answer["identities"]), default=0)
    count = min(wanted, MOST_ANSWERS)
    drawn = [float(score) for row in answer["scores"][: len(queries)] for score in row[:count]]
    sheet = _Sheet(len(queries), count, max((score for score in drawn if math.isfinite(score)), default=0.0))
    tiles, found, truths = {}, 0, truths or [None] * len(images)
    console = Console(stderr=True)
    for row, query in track(
        enumerate(queries), "drawing", len(queries), console=console, transient=True, disable=not console.is_terminal
    ):
        unknown = bool(answer["unknown"][row])
        sheet.begin(row, unknown)
        sheet.query(row, _tile(query), _name(query, row), unknown)
        matches = zip(answer["identities"][row], answer["scores"][row], answer["entries"][row])
        for rank, (identity, score, entry) in zip(range(1, count + 1), matches):
            identity, entry = _plain(identity), str(entry)
            if entry not in tiles:
                file = _entry_file(folder, entry)
                tiles[entry] = file and _tile(file)
            found += tiles[entry] is not None
            right = None if truths[row] is None else str(answer["identities"][row][rank - 1]) == truths[row]
            sheet.answer(row, rank, tiles[entry], identity, float(score), _plain(entry, end=True), right)
    return sheet.picture, _said(len(images), wanted, sheet.drawn, found, folder) + _judged(answer, truths)


class _Sheet:
    def __init__(self, rows, answers, best):
        self._best = best  # score whose bar is full
        size = (2 * MARGIN + (answers + 1) * (TILE + GAP), MARGIN + HEAD + rows * (TILE + CAPTION))
        self.picture, self.drawn = Image.new("RGB", size, PAPER), 0
        self._pen = ImageDraw.Draw(self.picture)
        # Pillow's own font has not even an umlaut; this one has most alphabets, but no Chinese or Japanese.
        fonts = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
        self._name, self._small = (
            ImageFont.truetype(os.path.join(fonts, "DejaVuSans.ttf"), size) for size in (14, 11)
        )
        for column in range(answers + 1):
            self._text((self._left(column), MARGIN), f"{column}" if column else "query", self._name, QUIET)

    def begin(self, row, unknown):
        top = self._top(row) - GAP // 2
        if unknown:
            self._pen.rectangle((0, top, self.picture.width, top + TILE + CAPTION), fill=DOUBTFUL)
        self._pen.line((MARGIN, top, self.picture.width - MARGIN, top), fill=LINE)

    def query(self, row, tile, name, unknown):
        left, below = self._place(row, 0, tile, name)
        self._text((left, below), name, self._small, INK)
        word, colour = ("unknown", UNKNOWN) if unknown else ("known", KNOWN)
        box = self._pen.textbbox((left + 7, below + 20), word, self._small)
        self._pen.rounded_rectangle((left, box[1] - 4, box[2] + 7, box[3] + 4), 8, fill=colour)
        self._pen.text((left + 7, below + 20), word, PAPER, self._small)

    def answer(self, row, rank, tile, identity, score, entry, right=None):
        left, below = self._place(row, rank, tile, entry)
        if right is not None:
            top = self._top(row)
            box = (left - FRAME, top - FRAME, left + TILE - 1 + FRAME, top + TILE - 1 + FRAME)
            self._pen.rectangle(box, outline=KNOWN if right else WRONG, width=FRAME)
        self.drawn += 1
        share = score / self._best if math.isfinite(score) and score > 0.0 else 0.0
        self._pen.rectangle((left, below - 5, left + TILE - 1, below - 3), fill=LINE)
        self._pen.rectangle((left, below - 5, left + max(round(share * TILE) - 1, 0), below - 3), fill=SCORE)
        self._text((left, below), identity, self._name, INK, start=0.4)
        score = f"{score:.3f}"
        self._pen.text((left, below + 20), score, INK, self._small)
        if tile is not None:
            used = self._small.getlength(score) + 8
            self._text((left + used, below + 20), entry, self._small, QUIET, TILE - used)

    def _place(self, row, column, tile, name):
        """Draws the tile, or a plain one with the name; where the text below it begins."""
        left, top = self._left(column), self._top(row)
        self._pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), fill=PLAIN)
        if tile is not None:
            self.picture.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        else:
            lines = self._folded(name, TILE - 16)
            for i, line in enumerate(lines):
                middle = (left + TILE // 2, top + TILE // 2 + 15 * i - 15 * (len(lines) - 1) // 2)
                self._pen.text(middle, line, QUIET, self._small, anchor="mm")
        return left, top + TILE + 8

    def _text(self, place, text, font, colour, room=TILE, start=0.0):
        """One line, cut to its room; `start` is the share of what is left that the beginning gets."""
        short, left = text, len(text)
        while left and font.getlength(short) > room:
            left -= 1
            head = round(start * left)
            short = f"{text[:head]}…{text[len(text) - left + head :]}"
        self._pen.text(place, short, colour, font)

    def _folded(self, text, room, most=6):
        lines = [""]
        for letter in text:
            if self._small.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
        return lines if len(lines) <= most else ["…", *lines[1 - most :]]

    def _left(self, column):
        return MARGIN + column * (TILE + GAP) + (GAP if column else 0)

    def _top(self, row):
        return MARGIN + HEAD + row * (TILE + CAPTION)


def _said(queries, answers, drawn, found, folder):
    def of(drawn, all_of_them, singular, plural):
        word = singular if all_of_them == 1 else plural
        return f"{drawn} {word}" if drawn == all_of_them else f"the first {drawn} of {all_of_them} {word}"

    line = (
        f"{of(min(queries, MOST_QUERIES), queries, 'query', 'queries')}, "
        f"{of(min(answers, MOST_ANSWERS), answers, 'answer', 'answers')} each"
    )
    return f"{line}; {found} of {drawn} answers with their image from {folder}" if folder else line


def _judged(answer, truths):
    """How often the first answer is right, as words; "" where nothing says whose images the queries are."""
    firsts = [
        str(found[0]) == truth
        for found, truth in zip(answer["identities"], truths)
        if truth is not None and len(found)
    ]
    return f"; {sum(firsts)} of {len(firsts)} first answers right" if firsts else ""


def _entry_file(folder, entry):
    """The file of an entry below the folder, or None. Links are followed, as they were at enrolment."""
    if not folder or any(part in ("", ".", "..") for part in entry.split("/")):
        return None
    file = os.path.join(folder, entry)
    return file if os.path.isfile(file) else None  # False too for a name that no file can have


def _tile(image):
    """An image, path or bytes, fitted into a tile; None for what cannot be drawn."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound is below
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=KINDS) as opened:
                width, height = opened.size
                if width * height > MOST_PIXELS:
                    return None
                opened.draft("RGB", (2 * TILE, 2 * TILE))  # a JPEG is decoded at no more than it takes
                scale = TILE / max(width, height)
                size = max(1, round(width * scale)), max(1, round(height * scale))
                kind = Image.Resampling.NEAREST if scale >= 4 else Image.Resampling.LANCZOS
                return opened.convert("RGB").resize(size, kind)
    except Exception:  # noqa: BLE001 - damaged images raise anything
        return None


def _name(image, row):
    return f"image {row + 1}" if isinstance(image, bytes) else _plain(os.fspath(image), end=True)


def _plain(text, end=False):
    """What can be drawn of a name in one line."""
    text = str(text)
    text = text[-NAME_CHARACTERS:] if end else text[:NAME_CHARACTERS]
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "·" for letter in text)
