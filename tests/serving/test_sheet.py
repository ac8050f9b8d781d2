"""The ranked sheet: what is drawn where, and which files a server's answer can make it read."""

import io

import numpy as np
import pytest
from PIL import Image

from serving import sheet
from serving.sheet import GAP, HEAD, MARGIN, TILE
from tests.serving.toys import png

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture()
def folder(tmp_path):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for name, colour in (("photos/a/green.png", GREEN), ("photos/a/blue.png", BLUE), ("secret.png", BLUE)):
        (tmp_path / name).write_bytes(png(*colour))
    return tmp_path / "photos"


def answer(*entries, unknown=False, score=0.5, count=1):
    return {
        "identities": np.array([["ann"] * len(entries)] * count, object),
        "scores": np.full((count, len(entries)), score, np.float32),
        "entries": np.array([entries] * count, object),
        "unknown": np.full(count, unknown),
    }


def colour_at(picture, row, column):
    """In the middle of a tile."""
    left = MARGIN + column * (TILE + GAP) + (GAP if column else 0)
    return picture.getpixel((left + TILE // 2, MARGIN + HEAD + row * (TILE + sheet.CAPTION) + TILE // 2))


def shows_an_image(picture, column):
    return colour_at(picture, 0, column) in (RED, GREEN, BLUE)


def test_the_query_comes_first_and_its_answers_in_order(folder):
    picture, said = sheet.draw([png(*RED), png(*GREEN)], answer("a/green.png", "a/blue.png", count=2), folder)
    assert [[colour_at(picture, row, column) for column in range(3)] for row in range(2)] == [
        [RED, GREEN, BLUE],
        [GREEN, GREEN, BLUE],
    ]
    assert said == f"2 queries, 2 answers each; 4 of 4 answers with their image from {folder}"
    path = folder / "a" / "green.png"
    assert colour_at(sheet.draw([path], answer("a/blue.png"))[0], 0, 0) == GREEN


def test_without_the_image_there_is_a_tile_with_the_name(folder):
    for entries, place in ((("a/green.png",), None), (("a/gone.png",), folder)):
        picture, said = sheet.draw([png(*RED)], answer(*entries), place)
        assert not shows_an_image(picture, 1)
        named, blank = (np.asarray(sheet.draw([png(*RED)], answer(name))[0]) for name in ("some name", " "))
        assert (named != blank).any(), "the name is drawn"
    assert said == f"1 query, 1 answer each; 0 of 1 answers with their image from {folder}"


def test_names_of_the_answer_never_lead_out_of_the_folder(folder, monkeypatch):
    wanted = ["../secret.png", str(folder.parent / "secret.png"), "a/../../secret.png", "a/../a/green.png", "..", "",
              "./a/green.png", "a//green.png", "a/green.png\0", "a/" + "x" * 5000, "a", "a/", "\udcff"]  # fmt: skip
    opened = []
    monkeypatch.setattr(sheet, "_tile", lambda image: opened.append(image))
    picture, _ = sheet.draw([b"query"], answer(*wanted), folder)
    assert opened == [b"query"] and picture.width > 10 * TILE
    sheet.draw([b"query"], answer("a/green.png"), folder)
    assert opened[2:] == [str(folder / "a" / "green.png")]


def test_a_query_below_the_threshold_is_marked(folder):
    known, unknown = (np.asarray(sheet.draw([png(*RED)], answer("x", unknown=flag))[0]) for flag in (False, True))

    def holds(pixels, colour):
        return (pixels == tuple(bytes.fromhex(colour[1:]))).all(-1).any()

    assert holds(unknown, sheet.UNKNOWN) and holds(unknown, sheet.DOUBTFUL) and not holds(unknown, sheet.KNOWN)
    assert holds(known, sheet.KNOWN) and not holds(known, sheet.UNKNOWN) and not holds(known, sheet.DOUBTFUL)


def test_large_answers_are_bounded_and_it_says_so():
    picture, said = sheet.draw([b"x"] * 60, answer(*"abcdefghijklmnopqrstuvwxyz", count=60))
    assert said == "the first 50 of 60 queries, the first 20 of 26 answers each"
    assert picture.width * picture.height < 40e6
    alone, said = sheet.draw([b"x"], answer())
    assert said == "1 query, 0 answers each" and alone.width == 2 * MARGIN + TILE + GAP


@pytest.mark.parametrize("score", [0.0, 1.0, -1.0, 7.0, float("nan"), float("inf")])
def test_any_score_and_name_can_be_drawn(score):
    for name in ("", "x" * 100_000, "Zoë\n\t\x1b[31m\u202e", "名前", "\ufffd\udce9", "W" * 30):
        sheet.draw([f"{name[:300]}.png"], answer(name, name, score=score) | {"identities": [[name, name]]})


def damaged(kind, **options):
    data = io.BytesIO()
    Image.effect_noise((40, 30), 90).save(data, kind, **options)
    return data.getvalue()[: len(data.getvalue()) // 2]


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n", damaged("PNG"), damaged("TIFF"), damaged("GIF")]
)
def test_what_is_no_image_is_a_plain_tile(folder, data):
    (folder / "a" / "odd.png").write_bytes(data)
    picture, said = sheet.draw([data], answer("a/odd.png"), folder)
    assert not shows_an_image(picture, 0) and not shows_an_image(picture, 1) and "; 0 of 1 answers" in said


def test_huge_images_are_not_decoded(recwarn, monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    header = png(*RED)
    huge = header[:16] + (11_000).to_bytes(4, "big") * 2 + header[24:]
    assert sheet._tile(huge) is None and not recwarn


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (3, 5), (300, 200), (132, 132)])
def test_tiles_keep_the_aspect_and_fit(size):
    data = io.BytesIO()
    Image.new("LA", size, (9, 0)).save(data, "PNG")
    tile = sheet._tile(data.getvalue())
    assert tile.mode == "RGB" and max(tile.size) == TILE
    assert tile.size == tuple(max(1, round(side * TILE / max(size))) for side in size)


def bar_at(picture, row, column):
    """Pixels of the bar that are filled."""
    left = MARGIN + column * (TILE + GAP) + (GAP if column else 0)
    line = MARGIN + HEAD + row * (TILE + sheet.CAPTION) + TILE + 4
    full = tuple(bytes.fromhex(sheet.SCORE[1:]))
    return sum(picture.getpixel((x, line)) == full for x in range(left, left + TILE))


def test_bars_are_shares_of_the_largest_score_on_the_sheet():
    found = answer(*"abcd", count=2)
    found["scores"] = np.array([[0.3, 0.15, np.nan, -0.2], [0.2, np.inf, 0.0, -np.inf]], np.float32)
    picture, _ = sheet.draw([b"x"] * 2, found)
    bars = [[bar_at(picture, row, column) for column in range(1, 5)] for row in range(2)]
    assert bars == [[TILE, TILE // 2, 1, 1], [round(TILE * 0.2 / 0.3), 1, 1, 1]]
    found["scores"] *= 3
    again, _ = sheet.draw([b"x"] * 2, found)
    assert [bar_at(again, 0, column) for column in (1, 2)] == [TILE, TILE // 2]


@pytest.mark.parametrize("scores", [[-0.5, -0.1], [0.0, 0.0], [np.nan, np.inf], []])
def test_without_a_score_above_0_no_bar_is_filled(scores):
    found = answer(*"ab"[: len(scores)]) | {"scores": [scores]}
    picture, _ = sheet.draw([b"x"], found)
    assert all(bar_at(picture, 0, column) <= 1 for column in range(1, 1 + len(scores)))


def test_what_is_not_drawn_does_not_scale_the_bars():
    letters = "abcdefghijklmnopqrstuvwxyz"
    found = answer(*letters, count=60)
    found["scores"][50:] = found["scores"][:, 20:] = 50.0
    assert bar_at(sheet.draw([b"x"] * 60, found)[0], 0, 1) == TILE


def frame_at(picture, row, column):
    left = MARGIN + column * (TILE + GAP) + (GAP if column else 0)
    return picture.getpixel((left - 2, MARGIN + HEAD + row * (TILE + sheet.CAPTION) + TILE // 2))


def test_answers_are_framed_where_it_is_known_whose_image_the_query_is(folder):
    found = answer("a/green.png", "a/blue.png", count=3)
    found["identities"][1] = ["bob", "ann"]
    picture, said = sheet.draw([png(*RED)] * 3, found, folder, ["ann", "ann", None])
    right, wrong = (tuple(bytes.fromhex(colour[1:])) for colour in (sheet.KNOWN, sheet.WRONG))
    assert [[frame_at(picture, row, column) for column in (1, 2)] for row in range(3)] == [
        [right, right], [wrong, right], [(255, 255, 255)] * 2]
    assert said.endswith("; 1 of 2 first answers right")
    assert "right" not in sheet.draw([png(*RED)] * 3, found, folder)[1]


def test_a_vote_stands_below_its_query_and_is_judged():
    found = answer(*"abc", count=3)
    votes = [{"ann": 2, "bob": 1}, {"bob": 2, "ann": 1}, {}]
    picture, said = sheet.draw([png(*RED)] * 3, found, None, ["ann", "ann", None], votes)
    plain, _ = sheet.draw([png(*RED)] * 3, found, None, ["ann", "ann", None])
    assert said == "3 queries, 3 answers each; 2 of 2 first answers right, 1 of 2 votes"
    assert (picture.width, picture.height) == (plain.width, plain.height + 3 * sheet.VOTE)

    def lines(row):
        """Whether the two lines of the vote hold anything."""
        top = MARGIN + HEAD + row * (TILE + sheet.CAPTION + sheet.VOTE) + TILE + 8
        column = np.asarray(picture)[:, MARGIN : MARGIN + TILE]
        return [bool((column[top + below : top + below + 12] < 160).any()) for below in (40, 56)]

    assert [lines(row) for row in range(3)] == [[True, True], [True, True], [False, False]]
    assert "votes" not in sheet.draw([png(*RED)], answer("a"), votes=[{"ann": 2}])[1], "nothing says who it is"


@pytest.mark.parametrize("name", ["W" * 1000, "Zoë\n\t\x1b[31m", "\udce9"])
def test_the_share_of_a_vote_is_not_lost_behind_a_long_name(name):
    picture, _ = sheet.draw([png(*RED)], answer(), votes=[{name: 12, "x" * 1000: 8}])
    alone, _ = sheet.draw([png(*RED)], answer(), votes=[{name: 1, "x" * 1000: 19}])
    line = np.s_[MARGIN + HEAD + TILE + 48 : MARGIN + HEAD + TILE + 62]
    differs = (np.asarray(picture)[line] != np.asarray(alone)[line]).any((0, 2)).nonzero()[0]
    assert len(differs) and differs.max() < MARGIN + TILE
    assert (np.asarray(picture)[line, MARGIN + TILE + 2 :] == 255).all()
