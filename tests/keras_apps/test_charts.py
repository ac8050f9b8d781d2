import io

import numpy as np
import pytest
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
    drawn(charts.precision_recall({"ours": (far, np.sqrt(far)), "pixels": (far, far)}, 0.2))
    drawn(charts.histogram(scores, same, 0.5))
    vectors = RANDOM.normal(size=(10, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    drawn(charts.pairs(IMAGES, vectors, vectors, np.repeat([0, 1], 5), 0.5))
    drawn(charts.pairs(IMAGES[:3], vectors[:3], vectors[:3], np.array([0, 0, 1]), 0.5))     # fewer pairs than columns
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


def test_precision_follows_from_the_rates_and_the_share(monkeypatch):
    lines = {}
    monkeypatch.setattr(charts, "_pixels", lambda figure: lines.update(
        {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}))
    truth, scores = RANDOM.random(300) < 0.3, RANDOM.random(300)
    thresholds = np.r_[np.inf, np.sort(scores)[::-1]]
    tar, far = ([(scores[kind] >= threshold).mean() for threshold in thresholds] for kind in (truth, ~truth))
    charts.precision_recall({"ours": (np.array(far), np.array(tar))}, truth.mean())
    wanted = [(truth[scores >= t].sum() / truth.sum(), truth[scores >= t].mean()) for t in thresholds[1:]]
    np.testing.assert_allclose(lines["ours"], [pair for pair in wanted if pair[0] > 0], atol=1e-12)


@pytest.mark.parametrize("side, shown", [(8, 96), (40, 80), (96, 96), (300, 96)])
def test_a_batch_sheet_shows_images_row_by_row(side, shown):
    images = np.stack([np.full((side, side, 1), value) for value in (0.0, 0.25, 0.5, 0.75, 0.9)])
    sheet = charts.batch_sheet(images, ["a", "b", "\u00e4" * 50, "d\ne", "e"]).astype(int)
    middle, step, line = charts.GAP + shown // 2, 96 + charts.GAP, shown + charts.CAPTION + charts.GAP
    assert sheet.shape == (2 * line + charts.GAP, 3 * step + charts.GAP, 3)
    for place, value in enumerate((0, 64, 128, 191, 230)):
        y, x = divmod(place, 3)
        assert (sheet[middle + y * line, middle + x * step] == value).all()
        caption = sheet[y * line + charts.GAP + shown:(y + 1) * line, charts.GAP + x * step:][:, :step - charts.GAP]
        assert caption.min() < 100, "a name stands below"
    assert (sheet[charts.GAP:, 2 * step + charts.GAP + 96:][:, :charts.GAP] == 255).all(), "nor beyond its place"


def test_a_batch_sheet_of_many_bands_and_of_more_images_than_it_shows():
    assert charts.batch_sheet(RANDOM.random((70, 4, 6, 5)), ["x"] * 70).shape[1] == 8 * 100 + 4
    with pytest.raises(ValueError, match="there are 2 names but 3 images; give one each."):
        charts.batch_sheet(RANDOM.random((3, 4, 4, 3)), ["a", "b"])


def test_sprite_places_images_row_by_row():
    sheet, side = charts.sprite(np.stack([np.full((4, 4, 3), value) for value in (0.0, 0.5, 1.0)]), side=8)
    assert sheet.shape == (16, 16, 3) and side == 8
    assert sheet[4, 4, 0] == 0 and sheet[4, 12, 0] == 128 and sheet[12, 4, 0] == 255


def test_png_round_trip():
    pixels = RANDOM.integers(0, 255, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(charts.png(pixels)))), pixels)


def test_strips_name_their_rows_and_columns():
    rows = {"small": np.zeros((3, 8, 6, 1)), "restored": np.ones((3, 8, 6, 1)) * 0.5}
    sheet = charts.strips(rows, below=["27.1 dB"] * 3, least=60)
    plain = charts.strips(rows, least=60)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == plain.shape[1] and sheet.shape[0] > plain.shape[0]
    for value, count in ((0, 3 * 80 * 60), (128, 3 * 80 * 60)):
        assert count <= (plain == value).all(axis=2).sum() < count + 400, "enlarged ten times, whole"
    margin = plain[:, :plain.shape[1] - 3 * 64]
    assert (margin[:84] < 200).any() and (margin[84:] < 200).any(), "each row is named"
    assert (sheet[plain.shape[0]:] < 200).any() and charts.strips(rows, titles=["x 2"] * 3).shape[0] > 0


def test_a_mosaic_places_images_row_by_row_with_a_line_between_them():
    images = np.stack([np.full((4, 6, 1), value) for value in (0.0, 0.25, 0.5, 0.75, 0.9)])
    sheet = charts.mosaic(images, 3, least=0)
    assert sheet.shape == (2 * 5 + 1, 3 * 7 + 1, 3) and sheet.dtype == np.uint8
    for place, value in enumerate((0, 64, 128, 191, 230)):
        y, x = divmod(place, 3)
        assert (sheet[5 * y + 1:5 * y + 5, 7 * x + 1:7 * x + 7] == value).all()
    assert (sheet[::5] == 255).all() and (sheet[:, ::7] == 255).all() and (sheet[6:, 15:] == 255).all()
    large = charts.mosaic(images, 3)
    zoom = large.shape[1] // 22
    assert large.shape == (11 * zoom, 22 * zoom, 3) and 512 <= large.shape[1] < 512 + 22
    np.testing.assert_array_equal(large[::zoom, ::zoom], sheet)
    assert charts.mosaic(RANDOM.random((2, 600, 600, 3)), 2).shape == (602, 1203, 3), "never made smaller"


def test_densities_name_every_set_with_its_mean(monkeypatch):
    drawn(charts.densities({"a": RANDOM.random(50), "b": np.zeros(0), "c": np.ones(3)}, "distance", "Distances"))
    drawn(charts.densities({"a": np.full(9, 0.5)}, "distance", "all equal"))
    texts = []
    monkeypatch.setattr(charts, "_pixels", lambda figure: texts.extend(
        text.get_text() for text in figure.axes[0].get_legend().get_texts()))
    charts.densities({"near": np.array([0.1, 0.3]), "none": np.zeros(0), "far": np.array([1.0])}, "distance", "x")
    assert texts == ["near, mean 0.20", "far, mean 1.00"]


def test_overlays_show_red_where_the_map_is_large_and_frame_the_box():
    images = np.full((2, 8, 8, 3), 0.5)
    maps = np.zeros((2, 8, 8))
    maps[1, 2:6, 2:6] = 1.0
    boxes = np.array([[0, 0, 3, 3], [2, 2, 4, 4]])
    sheet = drawn(charts.overlays(images, maps, boxes)).astype(int)
    red = (sheet[..., 0] > 150) & (sheet[..., 1] < 80)
    blue = (abs(sheet - [0x3b, 0x7d, 0xd8]).sum(-1) < 40)
    half, middle = sheet.shape[0] // 2, sheet.shape[1] // 2
    assert red.sum() > 200 and not red[:half].any() and not red[:, :middle].any(), "below the second image only"
    assert blue[:half].sum() > 20 and blue[half:].sum() > 20
    assert charts.overlays(images[..., :1], maps, boxes).shape == sheet.shape


def test_dots_have_a_line_a_row_say_where_there_is_no_figure_and_mark_ones_own():
    rows = {"this model": [0.5, 24.0], "lost image": [0.9, np.nan], "bicubic": [0.4, 23.0]}

    def drawn(rows=rows, own=""):
        return charts.dots(rows, ("top-1", "PSNR, dB"), own)
    picture, more = drawn(), drawn({**rows, "nearest": [0.3, 21.0]})
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and more.shape[0] > picture.shape[0]
    assert (picture != drawn({**rows, "this model": [0.8, 24.0]})).any()

    def green(picture):
        return (abs(picture.astype(int) - [0x1b, 0x7f, 0x4d]).sum(-1) < 40).sum()
    assert green(picture) == 0 and green(drawn(own="this model")) > 100
    dash, without = (drawn({**rows, "lost image": [0.9, value]}) for value in (np.nan, 23.5))
    ink = [(one[:, one.shape[1] // 2:].astype(int).sum(-1) < 300).sum() for one in (dash, without)]
    assert 0 < ink[0] < ink[1], "a dash in place of a dot and its figure"
    assert drawn({"this model": [np.nan, 1.0]}).shape[2] == 3, "a column of nothing"


def test_a_path_goes_through_its_points_in_order():
    def drawn(up):
        return charts.path([0.1, 0.2, 0.3], up, ["0 %", "50 %", "100 %"], "distance", "PSNR", "title")
    assert drawn([24, 25, 26]).shape == drawn([26, 25, 24]).shape
    assert (drawn([24, 25, 26]) != drawn([26, 25, 24])).any()
