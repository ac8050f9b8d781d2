import io

import numpy as np
from PIL import Image

from keras_apps import charts

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((10, 8, 6, 1))


def drawn(pixels):
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert pixels.std() > 5, "something is drawn"
    return pixels


def test_every_chart_draws():
    scores, same = RANDOM.normal(size=200).clip(-1, 1), RANDOM.random(200) < 0.3
    far = np.linspace(0, 1, 50)
    drawn(charts.roc({"ours": (far, np.sqrt(far)), "pixels": (far, far)}))
    drawn(charts.histogram(scores, same, 0.5))
    vectors = RANDOM.normal(size=(10, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    drawn(charts.pairs(IMAGES, vectors, np.repeat([0, 1], 5), 0.5))
    drawn(charts.pairs(IMAGES[:3], vectors[:3], np.array([0, 0, 1]), 0.5))     # fewer pairs than columns
    drawn(charts.curve([1, 2, 3], {"loss": [3, 2, 1]}, "Training", "loss"))
    drawn(charts.neighbours([(IMAGES[0], "a")], [[(IMAGES[1], "a", 0.9, True), (IMAGES[2], "b", 0.2, False)]]))


def test_right_neighbours_are_framed_green_and_wrong_ones_red():
    def frames(right):
        sheet = charts.neighbours([(IMAGES[0], "a")], [[(IMAGES[1], "a", 0.9, right)]]).astype(int)
        green = ((abs(sheet - [0x1b, 0x7f, 0x4d])).sum(-1) < 20).sum()
        red = ((abs(sheet - [0xc0, 0x39, 0x2b])).sum(-1) < 20).sum()
        return green, red
    green, red = frames(True)
    assert green > 100 > red
    green, red = frames(False)
    assert red > 100 > green


def test_sprite_places_images_row_by_row():
    sheet, side = charts.sprite(np.stack([np.full((4, 4, 3), value) for value in (0.0, 0.5, 1.0)]), side=8)
    assert sheet.shape == (16, 16, 3) and side == 8
    assert sheet[4, 4, 0] == 0 and sheet[4, 12, 0] == 128 and sheet[12, 4, 0] == 255


def test_png_round_trip():
    pixels = RANDOM.integers(0, 255, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(charts.png(pixels)))), pixels)
