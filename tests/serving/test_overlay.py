"""The picture of what speaks for an answer: what is drawn where, and how opaque."""

import io

import numpy as np
import pytest
from PIL import Image

from serving import overlay
from serving.overlay import BETWEEN, CAPTION, GAP, HEAD, MARGIN, SIDE, WIDTH

RED = tuple(bytes.fromhex(overlay.RED[1:]))


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(data, "PNG")
    return data.getvalue()


def detected(decision=True, score=0.5):
    answer = {"decision": np.full(1, decision), "score": np.full(1, score, np.float32),
              "threshold": np.full(1, 0.25, np.float32), "probability": np.full(1, 0.75, np.float32)}  # fmt: skip
    return overlay.of_detection(answer, 0)


def labelled(label="pneumonia", abstain=False, **others):
    return overlay.of_label({"label": label, "abstain": abstain, "probabilities": {label: 0.5, **others}})


def drawn(images, maps, caption=None, what=overlay.FAKE):
    return overlay.draw(images, maps, [caption or detected()] * len(maps), what)


def tiles(picture, row=0, columns=1):
    """The image and its overlay as arrays [SIDE, SIDE, 3]."""
    left = MARGIN + row % columns * (WIDTH + 2 * GAP)
    top = MARGIN + HEAD + row // columns * (SIDE + CAPTION)
    pixels = np.asarray(picture)[top : top + SIDE]
    return pixels[:, left : left + SIDE], pixels[:, left + SIDE + BETWEEN : left + WIDTH]


def holds(picture, colour):
    return (np.asarray(picture) == tuple(bytes.fromhex(colour[1:]))).all(-1).any()


def test_small_images_are_enlarged_without_blur_beside_themselves_in_grey():
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    picture, said = drawn([png(pixels)], np.zeros((1, 3, 5), np.float32))
    image, over = tiles(picture)
    np.testing.assert_array_equal(image, pixels.repeat(8, 0).repeat(8, 1))
    np.testing.assert_array_equal(over, np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, -1))
    assert said == "1 image with what speaks for a fake in red"


def test_the_map_is_how_opaque_the_red_is():
    grey = np.full((28, 28), 100, np.uint8)
    maps = np.array([[[0.0, 1.0]], [[0.4, 0.4]]], np.float32)
    picture, _ = drawn([png(grey)] * 2, maps)
    half, even = tiles(picture)[1], tiles(picture, 1)[1]
    assert (half[:, -SIDE // 4 :] == RED).all() and (half[:, : SIDE // 4] == 100).all()
    assert (np.diff(half[SIDE // 2, :, 0].astype(int)) >= 0).all(), "between them bilinearly"
    np.testing.assert_allclose(even[SIDE // 2, SIDE // 2], 0.4 * np.array(RED) + 0.6 * 100, atol=1)
    assert not (tiles(picture)[0] == RED).all(-1).any(), "nothing is drawn over the image as it is"


def test_the_map_is_stretched_over_the_image_whatever_its_shape():
    maps = np.array([[[1.0, 0.0], [0.0, 0.0]]], np.float32)
    over = tiles(drawn([png(np.zeros((20, 40, 3)))], maps)[0])[1]
    inside = over[(SIDE - 100) // 2 : (SIDE + 100) // 2, (SIDE - 200) // 2 : (SIDE + 200) // 2]
    assert (inside[:25, :50] == RED).all() and (inside[-25:] == 0).all() and (inside[:, -50:] == 0).all()
    assert (over[: (SIDE - 100) // 2] == tuple(bytes.fromhex(overlay.PLAIN[1:]))).all(), "nothing beside it"


def test_the_decision_is_told_in_word_and_colour_and_the_legend_is_there():
    fake, real = (drawn([b"x"], np.zeros((1, 2, 2)), detected(flag))[0] for flag in (True, False))
    assert holds(fake, overlay.BAD) and not holds(fake, overlay.GOOD)
    assert holds(real, overlay.GOOD) and not holds(real, overlay.BAD)
    legend = np.asarray(real)[MARGIN + 6, MARGIN : MARGIN + 96]
    assert (legend[-1] == RED).all() and len(set(legend[0])) == 1
    assert (np.asarray(real)[: MARGIN + HEAD - GAP, MARGIN + 110 :] < 160).any(), "its words"


def test_what_cannot_be_read_is_a_tile_with_its_name_and_said():
    picture, said = drawn([b"no image", "gone.png"], np.ones((2, 4, 4), np.float32))
    assert said == "2 images with what speaks for a fake in red; 2 of them cannot be shown"
    image, over = tiles(picture)
    assert (over == RED).all() and (image < 200).any()


def test_at_most_50_are_drawn_and_it_says_so():
    picture, said = drawn([b"x"] * 60, np.zeros((50, 2, 2), np.float32))
    assert said.startswith("the first 50 of 60 images with") and picture.width * picture.height < 8e6
    assert (picture.width, picture.height) == (2 * MARGIN + 2 * WIDTH + 2 * GAP, MARGIN + HEAD + 25 * (SIDE + CAPTION))
    picture, _ = drawn([png(np.full((28, 28), 9 * i)) for i in range(5)], np.zeros((5, 2, 2)))
    assert [tiles(picture, row, 2)[0][SIDE // 2, SIDE // 2, 0] for row in range(5)] == [0, 9, 18, 27, 36]


@pytest.mark.parametrize("score", [0.0, -1e30, float("nan"), float("inf")])
def test_any_score_and_name_can_be_drawn(score):
    for name in ("", "x" * 5000, "Zoë\n\t\x1b[31m\u202e.png", "\udce9"):
        drawn([name], np.zeros((1, 1, 1), np.float32), detected(score=score))


def test_the_caption_of_a_label_says_what_leads_and_what_comes_next():
    caption = labelled(normal=0.375, effusion=0.125)
    assert caption.badges == (("pneumonia", overlay.NEUTRAL),)
    assert caption.text == "probability 0.5000, then normal 0.3750"
    caption = labelled(abstain=True)
    assert caption.badges == (("pneumonia", overlay.NEUTRAL), ("unsure", overlay.DOUBT))
    assert caption.text == "probability 0.5000"


def test_an_unsure_label_is_marked_and_the_legend_speaks_of_the_label():
    maps = np.zeros((1, 2, 2))
    (sure, said), (unsure, _) = (drawn([b"x"], maps, labelled(abstain=flag), overlay.LABEL) for flag in (False, True))
    assert said == "1 image with what speaks for the label in red; 1 of them cannot be shown"
    assert holds(unsure, overlay.DOUBT) and holds(unsure, overlay.NEUTRAL) and not holds(sure, overlay.DOUBT)
    assert not any(holds(picture, colour) for picture in (sure, unsure) for colour in (overlay.GOOD, overlay.BAD))
    assert (np.asarray(sure) != np.asarray(drawn([b"x"], maps, labelled())[0]))[: MARGIN + HEAD - GAP].any()


@pytest.mark.parametrize("label", ["", "W" * 500, "Zoë\n\x1b[31m", "\udce9"])
def test_any_class_can_be_drawn_and_keeps_to_its_room(label):
    picture, _ = drawn([b"x"], np.zeros((1, 2, 2)), labelled(label, True, normal=0.25))
    caption = np.asarray(picture)[MARGIN + HEAD + SIDE :]
    assert (caption[:, MARGIN + WIDTH + 4 :] == 255).all(), "nothing in the margin"
    numbers = (caption[:, MARGIN + WIDTH // 2 + 90 :] < 128).all(-1).any()
    assert numbers or len(label) < 500, "what stands behind a long name is not lost"
