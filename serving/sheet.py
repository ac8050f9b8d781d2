"""The ranked sheet of a search as one picture: in come queries and what a gallery answered."""

import math
import os

from serving import vote
from serving.drawing import (
    BAD,
    DOUBT,
    GAP,
    GOOD,
    INK,
    LINE,
    MARGIN,
    QUIET,
    Page,
    advancing,
    counted,
    name_of,
    printable,
    read_tile,
)

MOST_QUERIES, MOST_ANSWERS = 50, 20  # drawn: some 25 megapixels at most

TILE, CAPTION, HEAD, VOTE = 132, 62, 34, 34  # pixels; of a row CAPTION, and VOTE where votes are shown
KNOWN, UNKNOWN, DOUBTFUL, SCORE, WRONG = GOOD, DOUBT, "#fff7e8", "#3b7dd8", BAD
FRAME = 4


def draw(images, answer, folder=None, truths=None, votes=None):
    """A row a query: the query and whether it is known, then its answers in order, each with identity and score.

    The bar of a score is its share of the largest one on the sheet: cosines reach 1, scores of a matcher far less.

    Args:    images: the queries, paths or encoded bytes.
             answer: what `Client.search` returned for them.
             folder: what the gallery was built from, unpacked where it was a zip. An entry's own image is drawn
             where it lies below it under the entry's name, else a plain tile. The names are the server's: one
             that is absolute or holds `..` is never looked for.
             truths: whose images the queries are, None where that is not known; answers are framed by it.
             votes: what `vote.votes` counted, to stand below each query; None = there is no vote to show.
    Returns: (PIL image, one line that says what is drawn). Images are shown as the model sees them: of an
             animation the first frame, not turned by EXIF.
    """
    queries = images[:MOST_QUERIES]
    wanted = max((len(row) for row in answer["identities"]), default=0)
    count = min(wanted, MOST_ANSWERS)
    drawn = [float(score) for row in answer["scores"][: len(queries)] for score in row[:count]]
    best = max((score for score in drawn if math.isfinite(score)), default=0.0)
    sheet = _Sheet(len(queries), count, best, VOTE if votes else 0)
    tiles, found, truths = {}, 0, truths or [None] * len(images)
    for row, query in enumerate(advancing(queries)):
        unknown = bool(answer["unknown"][row])
        sheet.begin(row, unknown)
        sheet.query(row, _tile(query), name_of(query, row), unknown, votes and votes[row])
        matches = zip(answer["identities"][row], answer["scores"][row], answer["entries"][row])
        for rank, (identity, score, entry) in zip(range(1, count + 1), matches):
            identity, entry = printable(identity), str(entry)
            if entry not in tiles:
                file = _entry_file(folder, entry)
                tiles[entry] = file and _tile(file)
            found += tiles[entry] is not None
            right = None if truths[row] is None else str(answer["identities"][row][rank - 1]) == truths[row]
            sheet.answer(row, rank, tiles[entry], identity, float(score), printable(entry, end=True), right)
    return sheet.picture, _said(len(images), wanted, sheet.drawn, found, folder) + _judged(answer, truths, votes)


class _Sheet(Page):
    def __init__(self, rows, answers, best, more):
        self._height = TILE + CAPTION + more  # of a row
        super().__init__((2 * MARGIN + (answers + 1) * (TILE + GAP), MARGIN + HEAD + rows * self._height))
        self._best, self.drawn = best, 0  # score whose bar is full; answers drawn so far
        for column in range(answers + 1):
            self.text((self._left(column), MARGIN), f"{column}" if column else "query", self.name, QUIET, TILE)

    def begin(self, row, unknown):
        top = self._top(row) - GAP // 2
        if unknown:
            self.pen.rectangle((0, top, self.picture.width, top + self._height), fill=DOUBTFUL)
        self.pen.line((MARGIN, top, self.picture.width - MARGIN, top), fill=LINE)

    def query(self, row, tile, name, unknown, votes):
        left, below = self._place(row, 0, tile, name)
        self.text((left, below), name, self.small, INK, TILE)
        self.badge(left, below + 20, *(("unknown", UNKNOWN) if unknown else ("known", KNOWN)))
        if votes:
            winner, share, others = vote.in_words(votes)
            share = f" {share}"
            room = TILE - self.small.getlength(share)
            end = self.text((left, below + 40), f"vote: {printable(winner)}", self.small, INK, room, start=1.0)
            self.text((end, below + 40), share, self.small, INK, TILE)
            self.text((left, below + 56), printable(others), self.small, QUIET, TILE, start=1.0)

    def answer(self, row, rank, tile, identity, score, entry, right=None):
        left, below = self._place(row, rank, tile, entry)
        if right is not None:
            top = self._top(row)
            box = (left - FRAME, top - FRAME, left + TILE - 1 + FRAME, top + TILE - 1 + FRAME)
            self.pen.rectangle(box, outline=KNOWN if right else WRONG, width=FRAME)
        self.drawn += 1
        share = score / self._best if math.isfinite(score) and score > 0.0 else 0.0
        self.pen.rectangle((left, below - 5, left + TILE - 1, below - 3), fill=LINE)
        self.pen.rectangle((left, below - 5, left + max(round(share * TILE) - 1, 0), below - 3), fill=SCORE)
        self.text((left, below), identity, self.name, INK, TILE, start=0.4)
        score = f"{score:.3f}"
        self.pen.text((left, below + 20), score, INK, self.small)
        if tile is not None:
            used = self.small.getlength(score) + 8
            self.text((left + used, below + 20), entry, self.small, QUIET, TILE - used)

    def _place(self, row, column, tile, name):
        """Draws the tile, or a plain one with the name; where the text below it begins."""
        left, top = self._left(column), self._top(row)
        self.image(left, top, TILE, tile, name)
        return left, top + TILE + 8

    def _left(self, column):
        return MARGIN + column * (TILE + GAP) + (GAP if column else 0)

    def _top(self, row):
        return MARGIN + HEAD + row * self._height


def _said(queries, answers, drawn, found, folder):
    line = (
        f"{counted(min(queries, MOST_QUERIES), queries, 'query', 'queries')}, "
        f"{counted(min(answers, MOST_ANSWERS), answers, 'answer', 'answers')} each"
    )
    return f"{line}; {found} of {drawn} answers with their image from {folder}" if folder else line


def _judged(answer, truths, votes):
    """How often first answer and vote are right, as words; "" where nothing says whose images the queries are."""
    firsts = [
        str(found[0]) == truth
        for found, truth in zip(answer["identities"], truths)
        if truth is not None and len(found)
    ]
    winners = [vote.winner(cast) == truth for cast, truth in zip(votes or [], truths) if cast and truth is not None]
    said = f"; {sum(firsts)} of {len(firsts)} first answers right" if firsts else ""
    return said + (f", {sum(winners)} of {len(winners)} votes" if winners else "")


def _entry_file(folder, entry):
    """The file of an entry below the folder, or None. Links are followed, as they were at enrolment."""
    if not folder or any(part in ("", ".", "..") for part in entry.split("/")):
        return None
    file = os.path.join(folder, entry)
    return file if os.path.isfile(file) else None  # False too for a name that no file can have


def _tile(image):
    return read_tile(image, TILE)
