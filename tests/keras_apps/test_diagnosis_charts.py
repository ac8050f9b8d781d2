import numpy as np
import pytest

from keras_apps import charts, diagnosis_charts
from keras_apps.metrics import calibration, diagnosis, verification

RANDOM = np.random.default_rng(0)
LOGITS, TRUTH = RANDOM.normal(size=(200, 2)), RANDOM.integers(0, 2, 200)
LOGITS[np.arange(200), TRUTH] += 1
PROBABILITIES = calibration.softmax(LOGITS)
CONFIDENCE, RIGHT = PROBABILITIES.max(1), PROBABILITIES.argmax(1) == TRUTH
IMAGES = RANDOM.random((5, 16, 12, 1)).repeat(3, axis=3)       # grey: red is the maps' alone


def drawn(pixels):
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert pixels.std() > 5, "something is drawn"
    return pixels


def near(pixels, colour):
    return (abs(pixels.astype(int) - np.array(colour)).sum(-1) < 40)


@pytest.fixture
def figure(monkeypatch):
    """The figure of the last chart, kept from being drawn."""
    kept = {}
    monkeypatch.setattr(charts, "_pixels", lambda figure: kept.update(figure=figure))
    return lambda: kept["figure"]


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_every_chart_draws():
    sharp = (np.sqrt(CONFIDENCE), RIGHT)
    drawn(diagnosis_charts.reliability_chart({"before": sharp, "after (T = 1.30)": (CONFIDENCE, RIGHT)}))
    drawn(diagnosis_charts.reliability_chart({"one": ([1.0], [True])}, bins=5))
    for classes in (2, 9):
        table = diagnosis.confusion(TRUTH, TRUTH, classes)
        drawn(diagnosis_charts.confusion_chart(table, ["a class of a very long name"] * classes))
    thresholds = np.arange(1, 100) / 100
    drawn(diagnosis_charts.decision_curve_chart(
        thresholds, diagnosis.decision_curve(PROBABILITIES[:, 1], TRUTH == 1, thresholds)))
    drawn(diagnosis_charts.risk_coverage_chart({"model": calibration.risk_coverage(CONFIDENCE, RIGHT)}))
    drawn(diagnosis_charts.risk_coverage_chart({"right": (np.ones(1), np.zeros(1))}))
    curves = {name: verification.roc(scores, TRUTH == 1)[:2]
              for name, scores in (("model", PROBABILITIES[:, 1]), ("noise", RANDOM.random(200)))}
    plain = drawn(diagnosis_charts.roc_chart(curves))
    marked = drawn(diagnosis_charts.roc_chart(curves, (0.1, 0.5)))
    assert near(marked, (0xc0, 0x39, 0x2b)).sum() > 50 > near(plain, (0xc0, 0x39, 0x2b)).sum()


def test_the_reliability_chart_shows_the_bins_that_hold_images(figure):
    diagnosis_charts.reliability_chart({"before": (CONFIDENCE, RIGHT), "after": (CONFIDENCE**2, RIGHT)}, bins=10)
    above, below = figure().axes
    mean, accuracy, count = diagnosis.reliability(CONFIDENCE, RIGHT, 10)
    found = lines(above)
    assert [name.split(",")[0] for name in found] == ["as sure as right", "before", "after"]
    np.testing.assert_allclose(found[f"before, ECE {diagnosis.ece(CONFIDENCE, RIGHT, 10):.1%}"],
                               np.stack([mean, accuracy], 1)[count > 0])
    heights = [bar.get_height() for bar in below.patches]
    np.testing.assert_array_equal(heights[:np.count_nonzero(count)], count[count > 0])
    assert sum(heights) == 400
    bars = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in below.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in zip(bars, bars[1:])), "none hides another"


def test_the_confusion_chart_tells_counts_and_shares_of_the_row(figure):
    diagnosis_charts.confusion_chart([[3, 1, 0], [0, 1200, 0], [0, 0, 0]], ["a", "b", "c" * 40])
    axes = figure().axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "3\n75%", "1\n25%", "0\n0%", "0\n0%", "1,200\n100%", "0\n0%", "0", "0", "0"]
    np.testing.assert_allclose(axes.get_images()[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows[:2] == ["a (4)", "b (1,200)"] and rows[2].startswith("ccc") and "\u2026 (0)" in rows[2]
    assert axes.get_ylabel() == "truth (images)" and axes.get_xlabel() == "answer"


def test_the_decision_curve_is_cut_far_below_treating_none(figure):
    thresholds = np.arange(1, 100) / 100
    benefits = diagnosis.decision_curve(PROBABILITIES[:, 1], TRUTH == 1, thresholds)
    diagnosis_charts.decision_curve_chart(thresholds, benefits)
    axes = figure().axes[0]
    found = lines(axes)
    for name, label in (("model", "model"), ("all", "treat all"), ("none", "treat none")):
        np.testing.assert_allclose(found[label], np.stack([thresholds, benefits[name]], 1))
    low, high = axes.get_ylim()
    assert benefits["all"].min() < low < 0 < benefits["model"].max() < high
    none = {name: np.zeros(99) for name in benefits}
    diagnosis_charts.decision_curve_chart(thresholds, none)
    assert np.diff(figure().axes[0].get_ylim()) > 0


def test_lines_of_risk_and_of_the_roc_are_the_curves(figure):
    coverage, risk = calibration.risk_coverage(CONFIDENCE, RIGHT)
    diagnosis_charts.risk_coverage_chart({"model": (coverage, risk)})
    np.testing.assert_allclose(lines(figure().axes[0])[f"model, {1 - RIGHT.mean():.1%} if all are answered"],
                               np.stack([coverage, risk], 1))
    alarms, found, _ = verification.roc(PROBABILITIES[:, 1], TRUTH == 1)
    diagnosis_charts.roc_chart({"model": (alarms, found)}, (0.1, 0.625))
    axes = figure().axes[0]
    area = verification.auc(PROBABILITIES[:, 1], TRUTH == 1)
    np.testing.assert_allclose(lines(axes)[f"model, AUC {area:.3f}"], np.stack([alarms, found], 1))
    point = lines(axes)["in use: sensitivity 62.5%,\nspecificity 90.0%"]
    np.testing.assert_allclose(point, [[0.1, 0.625]])
    assert axes.get_xscale() == axes.get_yscale() == "linear"


def test_curves_of_many_points_are_thinned_but_keep_their_ends(figure):
    coverage = np.arange(1, 50_001) / 50_000
    diagnosis_charts.risk_coverage_chart({"model": (coverage, coverage / 4)})
    found = next(iter(lines(figure().axes[0]).values()))
    assert len(found) <= 4000 and found[-1].tolist() == [1, 0.25]


def test_a_sheet_shows_cases_row_by_row_with_two_lines_each():
    images = np.stack([np.full((16, 16, 1), value) for value in (0.0, 0.25, 0.5, 0.75, 0.9)])
    titles = ["benign \u2192 malignant\n0.93", "a\nb", "one line", "w" * 90, "a\nb\nc"]
    sheet = diagnosis_charts.cases_chart(images, titles, "Worst", columns=3)
    drawn(sheet)
    cell, gap = diagnosis_charts.CELL, charts.GAP
    step, line, top = cell + 2 * gap, cell + 2 * diagnosis_charts.LINE + 2 * gap, 14 + 3 * gap
    assert sheet.shape == (top + 2 * line + gap, 3 * step, 3)
    assert sheet[:top].min() < 100, "the heading"
    for place, value in enumerate((0, 64, 128, 191, 230)):
        y, x = divmod(place, 3)
        square = sheet[top + y * line:, gap + x * step:][:cell, :cell]
        assert (square == value).all()
        below = sheet[top + y * line + cell:, gap + x * step:][:2 * diagnosis_charts.LINE + 2, :step]
        first, second = below[:diagnosis_charts.LINE + 1], below[diagnosis_charts.LINE + 3:]
        assert first.min() < 100 and (second.min() < 100) == (titles[place].count("\n") > 0)
        assert (below[:, cell:step - 1] == 255).all(), "a caption stays below its own picture"
    assert sheet[:, gap + 3 * step - 2 * gap:].min() == 255


def test_maps_stand_beside_their_images_in_red():
    maps = np.zeros((5, 16, 12))
    maps[:, 2:6, 3:9] = 1
    sheet = drawn(diagnosis_charts.cases_chart(IMAGES, ["a\nb"] * 5, "Worst", maps, columns=4))
    red = near(sheet, (217, 26, 26))
    assert red.sum() == 5 * 4 * 6 * 8 * 8       # enlarged eight times
    top, width, gap = 14 + 3 * charts.GAP, 12 * 8, charts.GAP
    assert not red[:, :gap + width].any() and red[:, gap + width:gap + 2 * width + gap].any()
    plain = sheet[top:top + 128, gap:gap + width]
    np.testing.assert_array_equal(plain, charts.rgb(IMAGES[0]).repeat(8, 0).repeat(8, 1))
    none = diagnosis_charts.cases_chart(IMAGES, ["a"] * 5, "Worst", 0 * maps)
    assert not near(none, (217, 26, 26)).any(), "no evidence, no red"


@pytest.mark.parametrize("shape, shown", [((8, 8), (128, 128)), ((50, 20), (100, 40)), ((300, 150), (128, 64)),
                                          ((128, 128), (128, 128)), ((1, 400), (1, 128))])
def test_images_of_any_size_fit_their_place(shape, shown):
    sheet = diagnosis_charts.cases_chart(np.zeros((1, *shape, 1)), ["a"], "")
    black = (sheet == 0).all(axis=2)
    rows, columns = np.flatnonzero(black.sum(1) >= shown[1]), np.flatnonzero(black.sum(0) >= shown[0])
    assert (len(rows), len(columns)) == shown


def test_a_sheet_of_one_case_is_as_wide_as_its_heading_and_one_of_none_says_so():
    heading = "The surest mistakes on held-out images"
    one = diagnosis_charts.cases_chart(IMAGES[:1], ["a\nb"], heading)
    assert one.shape[1] > 200 and one[:20, -charts.GAP:].min() == 255
    none = drawn(diagnosis_charts.cases_chart(IMAGES[:0], [], heading))
    assert none.shape[1] > one.shape[1] and none.shape[0] < 40
    assert diagnosis_charts.cases_chart(IMAGES, ["a"] * 5, "x", np.zeros((5, 16, 12)), columns=1).shape[0] > 5 * 128


@pytest.mark.parametrize("call, told", [
    (lambda: diagnosis_charts.cases_chart(IMAGES, ["a"], "x"), "there are 1 titles but 5 images; give one each."),
    (lambda: diagnosis_charts.cases_chart(IMAGES, ["a"] * 5, "x", IMAGES[:2, ..., 0]), "there are 2 maps but 5"),
    (lambda: diagnosis_charts.cases_chart(IMAGES, ["a"] * 5, "x", columns=0), "`columns` is 0"),
    (lambda: diagnosis_charts.confusion_chart(np.eye(3, dtype=int), ["a"]), "there are 1 names but 3 classes")])
def test_what_does_not_fit_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()
