"""The protocols on handwriting: a character is an identity, four groups of five drawers are the cameras."""

import io
import os
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_apps.metrics.protocols import evaluate

ROOT = pathlib.Path(__file__).parents[3]
DRAWN = pathlib.Path(os.environ.get("SUITE_DATA", ROOT.parent / "shared" / "data"), "omniglot_small1",
                     "images_background_small1.zip")
ALPHABETS = "Balinese", "Latin"
pytestmark = pytest.mark.skipif(not DRAWN.exists(), reason="Omniglot is not in SUITE_DATA")


@pytest.fixture(scope="module")
def drawn():
    """Vectors [1000, 256] of 1 (ink) and -1, whose cosines are exact in float32; characters; drawers 1 to 20."""
    vectors, characters, drawers = [], [], []
    with zipfile.ZipFile(DRAWN) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png") and name.split("/")[1] in ALPHABETS:
                image = Image.open(io.BytesIO(archive.read(name))).convert("L").resize((16, 16), Image.Resampling.BOX)
                vectors.append(np.where(np.asarray(image) < 200, 1.0, -1.0).ravel())
                characters.append("/".join(name.split("/")[1:3]))
                drawers.append(int(name[-6:-4]))
    return np.array(vectors), np.array(characters), np.array(drawers)


def walked(scores, own, characters, out, step):
    """(first answer is right, average precision, inverse negative penalty) by going down one query's list.

    Of equal scores the wrong ones stand first.  step: the area under precision over recall as steps, else as trapezoids
    from entry to entry.
    """
    entries = [place for place in range(len(scores)) if not out[place]]
    entries.sort(key=lambda place: (-scores[place], characters[place] == own))
    matches, met, area, before = sum(characters[place] == own for place in entries), 0, 0.0, 1.0
    for rank, place in enumerate(entries, start=1):
        met += characters[place] == own
        precision = met / rank
        if characters[place] == own:
            area += (precision if step else (before + precision) / 2) / matches
            if met == matches:
                return characters[entries[0]] == own, area, matches / rank
        before = precision
    return None


def naive(rows, gallery, characters, cameras, junk, step):
    """Means over the queries `rows`; junk(same character, same camera, same image) -> left out."""
    found = [walked(gallery @ gallery[row], characters[row], characters,
                    [junk(characters[j] == characters[row], cameras[j] == cameras[row], j == row)
                     for j in range(len(gallery))], step) for row in rows]
    return dict(zip(("rank1", "map", "minp"), np.mean(found, axis=0)))


def agree(got, wanted):
    assert {name: got[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("precision", ["step", "trapezoid"])
def test_drawings_of_the_querys_own_camera_are_junk(drawn, precision):
    vectors, characters, drawers = drawn
    cameras, rows = (drawers - 1) // 5, np.arange(0, len(vectors), 11)
    facts = (vectors[rows], vectors, characters[rows], characters, cameras[rows], cameras)
    got = evaluate(*facts, "market1501", precision=precision)
    agree(got, naive(rows, vectors, characters, cameras, lambda same, camera, itself: same and camera,
                     precision == "step"))
    assert got["queries"] == len(rows) and got["unmatched"] == 0
    # Without the rule the five of the own camera are found too, the query itself among them.
    without = evaluate(*facts, "all", precision=precision)
    agree(without, naive(rows, vectors, characters, cameras, lambda *_: False, precision == "step"))
    others = evaluate(*facts, "all", precision=precision, same_index=rows)
    agree(others, naive(rows, vectors, characters, cameras, lambda same, camera, itself: itself, precision == "step"))
    assert without["rank1"] > others["rank1"] > got["rank1"] and abs(others["map"] - got["map"]) > 1e-3
    assert abs(others["minp"] - got["minp"]) > 1e-3


def test_with_each_drawer_a_camera_only_the_query_itself_is_junk(drawn):
    vectors, characters, drawers = drawn
    own = evaluate(vectors, vectors, characters, characters, drawers, drawers, "market1501")
    assert own == evaluate(vectors, vectors, characters, characters, protocol="all", same_index=np.arange(len(vectors)))


def test_trapezoids_and_steps_differ_and_all_three_camera_protocols_agree(drawn):
    vectors, characters, drawers = drawn
    facts = (vectors, vectors, characters, characters, drawers % 4, drawers % 4)
    step = evaluate(*facts, "market1501")
    assert step == evaluate(*facts, "veri") == evaluate(*facts, "veri_wild")
    assert abs(evaluate(*facts, "market1501", precision="trapezoid")["map"] - step["map"]) > 1e-3


@pytest.mark.parametrize("precision", ["step", "trapezoid"])
def test_vehicle_id_searches_one_drawing_of_each_character(drawn, precision):
    vectors, characters, drawers = drawn
    rows = np.flatnonzero(drawers <= 6)
    vectors, characters = vectors[rows], characters[rows]
    seen, found = [], []
    facts = (vectors, vectors, characters, characters)
    got = evaluate(*facts, protocol="vehicle_id", precision=precision, repeats=3, seed=5)
    noted = evaluate(*facts, protocol="vehicle_id", precision=precision, repeats=3, seed=5,
                     reranker=lambda query, gallery: seen.append((query, gallery)) or query @ gallery.T)
    assert got == noted and len(seen) == 3
    names = {row.tobytes(): name for row, name in zip(vectors, characters)}
    assert len(names) == len(vectors)
    for query, gallery in seen:
        asked, offered = ([names[row.tobytes()] for row in side] for side in (query, gallery))
        assert sorted(offered) == sorted(set(characters)) and len(asked) == len(vectors) - len(offered)
        assert sorted(asked + offered) == sorted(characters)
        found.append(np.mean([walked(gallery @ row, own, offered, [False] * len(offered), precision == "step")
                              for row, own in zip(query, asked)], axis=0))
    agree(got, dict(zip(("rank1", "map", "minp"), np.mean(found, axis=0))))
    assert got["queries"] == len(vectors) - len(offered) and len({gallery.tobytes() for _, gallery in seen}) == 3
