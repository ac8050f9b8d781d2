"""Pictures of a classifier's answers as uint8 arrays [H,W,3]: what `metrics/diagnosis.py` and `calibration.py` tell."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from keras_apps import charts
from keras_apps.charts import GAP, OTHER, QUIET, SAME
from keras_apps.metrics import diagnosis

COLOURS = (SAME, "#3b7dd8", "#c77700", "#7a4fb5", OTHER)
CELL, LINE = 128, 15        # pixels of a sheet of cases: an image, a line of its caption
_MOST = 4000                # points of a curve
_LETTERS = 22               # of a class name at an axis


def reliability_chart(answers, bins=diagnosis.BINS, title="Reliability on held-out images"):
    """How often answers are right by how sure they are, above the number of images in each bin.

    Args:    answers: {name: (confidence [n], right [n])}, such as before and after a temperature; the first is drawn
             strongest.
    """
    figure = Figure(figsize=(5.2, 5.4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="black", ls="--", lw=1, label="as sure as right")
    width = 1 / bins / (len(answers) + 0.5)
    least = 1.0
    for place, (name, (confidence, right)) in enumerate(answers.items()):
        mean, accuracy, count = diagnosis.reliability(confidence, right, bins)
        colour, seen = COLOURS[place % len(COLOURS)], count > 0
        error = diagnosis.ece(confidence, right, bins)
        above.plot(mean[seen], accuracy[seen], "o-", color=colour, lw=2 if place == 0 else 1.4, ms=4,
                   label=f"{name}, ECE {error:.1%}")
        left = np.arange(bins) / bins + (place + 0.25) * width
        below.bar(left[seen], count[seen], width, align="edge", color=colour)
        least = min(least, np.flatnonzero(seen)[0] / bins)
    above.set(ylim=(0, 1.03), ylabel="accuracy", title=title)
    below.set(xlim=(least, 1), xlabel="confidence", ylabel="images")
    above.legend(loc="best", fontsize=8)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    return charts._pixels(figure)


def confusion_chart(confusion, names, title="Confusion on held-out images"):
    """How often each class was taken for each: the count, and its share of the row.

    Args:    confusion: int [K,K], rows = truth.  names: [K] str.
    """
    confusion = np.asarray(confusion)
    classes, sums = len(confusion), confusion.sum(axis=1, keepdims=True)
    if len(names) != classes:
        raise ValueError(f"there are {len(names)} names but {classes} classes; give one each.")
    shares = confusion / np.maximum(sums, 1)
    side = 0.62 if classes > 2 else 0.95        # inches of a cell; two of them would be narrower than the title
    columns = [_short(name) for name in names]
    rows = [f"{name} ({total:,})" for name, total in zip(columns, sums[:, 0])]
    longest = max(map(len, rows))
    figure, axes = charts._figure(side * classes + 0.8 + 0.08 * longest, side * classes + 0.9 + 0.055 * longest)
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=1, aspect="equal")
    for row in range(classes):
        for column in range(classes):
            count, share = confusion[row, column], shares[row, column]
            words = f"{count:,}\n{share:.0%}" if sums[row, 0] else "0"
            axes.text(column, row, words, ha="center", va="center", fontsize=8 if max(count, 1) < 1e5 else 6,
                      color="white" if share > 0.6 else "black")
    axes.set_xticks(np.arange(classes), columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(np.arange(classes), rows, fontsize=8)
    axes.set(xlabel="answer", ylabel="truth (images)")
    axes.set_title(title, fontsize=10)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="minor", length=0)
    return charts._pixels(figure)


def decision_curve_chart(thresholds, benefits, title="Decision curve on held-out images"):
    """Net benefit over the threshold at which one would treat.

    Args:    thresholds: [t].  benefits: {name: [t]}, as `diagnosis.decision_curve` gives them; "all" and "none" are
             what one does without a model.
    """
    figure, axes = charts._figure(5.2, 4.2)
    plain = {"all": ("treat all", "-", QUIET), "none": ("treat none", "--", "black")}
    others = [name for name in benefits if name not in plain]
    best = max(float(np.max(values)) for values in benefits.values())
    for name, values in benefits.items():
        if name in plain:
            label, style, colour = plain[name]
            axes.plot(thresholds, values, style, color=colour, lw=1.2, label=label)
        else:
            place = others.index(name)
            axes.plot(thresholds, values, color=COLOURS[place % len(COLOURS)], lw=2 if place == 0 else 1.4, label=name)
    best = max(best, 0.02)
    # Treating all falls without end; what lies far below treating none tells nothing more.
    axes.set(xlim=(min(thresholds), max(thresholds)), ylim=(-0.3 * best, 1.08 * best), title=title,
             xlabel="threshold probability", ylabel="net benefit")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return charts._pixels(figure)


def risk_coverage_chart(curves, title="Errors among the answers given"):
    """The share of wrong answers over the share of images that are answered, the surest first.

    Args:    curves: {name: (coverage [k], risk [k])}, as `calibration.risk_coverage` gives them.
    """
    figure, axes = charts._figure(5.2, 4.2)
    for place, (name, (coverage, risk)) in enumerate(curves.items()):
        keep = _kept(coverage)
        axes.plot(coverage[keep], risk[keep], color=COLOURS[place % len(COLOURS)], lw=2 if place == 0 else 1.4,
                  label=f"{name}, {risk[-1]:.1%} if all are answered")
    axes.set(xlim=(0, 1), ylabel="share of wrong answers", xlabel="share of images answered", title=title)
    highest = max(float(np.max(risk)) for _, risk in curves.values())
    axes.set_ylim(0, min(1.03, max(0.02, 1.1 * highest)))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return charts._pixels(figure)


def roc_chart(curves, point=None, title="ROC on held-out images"):
    """Sensitivity over 1 - specificity, both linear; the operating point is marked.

    Args:    curves: {name: (false-alarm rate [k], sensitivity [k])}, from (0, 0) to (1, 1) as `verification.roc` gives
             them.  point: (false-alarm rate, sensitivity) of the decisions in use; None = none.
    """
    figure, axes = charts._figure(4.9, 4.6)
    axes.plot([0, 1], [0, 1], color="black", ls="--", lw=1)
    for place, (name, (alarms, found)) in enumerate(curves.items()):
        area = float(np.trapz(found, alarms))
        keep = _kept(alarms)
        axes.plot(alarms[keep], found[keep], color=COLOURS[place % len(COLOURS)], lw=2 if place == 0 else 1.4,
                  label=f"{name}, AUC {area:.3f}")
    if point is not None:
        alarm, sensitivity = point
        axes.plot(alarm, sensitivity, "o", color=OTHER, ms=8, mec="white", clip_on=False, zorder=5, ls="none",
                  label=f"in use: sensitivity {sensitivity:.1%},\nspecificity {1 - alarm:.1%}")
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal", xlabel="1 - specificity",
             ylabel="sensitivity", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return charts._pixels(figure)


def cases_chart(images, titles, heading, maps=None, columns=8):
    """A sheet of images with captions of two lines, such as the worst mistakes: truth and answer, probability.

    Small images are enlarged by a whole number, so that pixels stay pixels.

    Args:    images: float [n,H,W,C] in [0, 1]; n may be 0.  titles: [n] str, two lines by a line break; what is wider
             than the picture is cut.  heading: str, above the sheet.
             maps: None, or [n,H,W] in [0, 1]: beside each image it stands in grey with its map laid over it in red.
             columns: pictures side by side, >= 1; an image and its map are two.
    Raises:  ValueError where there are not as many titles or maps as images, columns below 1.
    """
    for name, those in (("titles", titles), ("maps", titles if maps is None else maps)):
        if len(those) != len(images):
            raise ValueError(f"there are {len(those)} {name} but {len(images)} images; give one each.")
    if columns < 1:
        raise ValueError(f"`columns` is {columns} but must be at least 1; use 8.")
    tall, font = charts._font(14), charts._font(11)
    parts, apart = (1, 2 * GAP) if maps is None else (2, 4 * GAP)       # an image and its map stand closer
    height, width = _shown(images)
    across = max(1, min(columns // parts, len(images)))
    cell, line = max(parts * (width + GAP) - GAP, CELL), height + 2 * LINE + 2 * GAP
    top = 14 + 3 * GAP
    words = heading if len(images) else f"{heading}: none"
    rows = -(-len(images) // across)
    sheet = Image.new("RGB", (max(across * (cell + apart) + 2 * GAP - apart, int(tall.getlength(words)) + 3 * GAP),
                              top + rows * line + GAP), "white")
    drawing = ImageDraw.Draw(sheet)
    drawing.text((GAP, GAP), words, "black", tall)
    for place, (image, title) in enumerate(zip(images, titles)):
        x, y = GAP + place % across * (cell + apart), top + place // across * line
        pictures = [charts.rgb(image)] + ([] if maps is None else [_overlaid(image, maps[place])])
        for part, picture in enumerate(pictures):
            method = Image.Resampling.NEAREST if height >= len(picture) else Image.Resampling.BOX
            sheet.paste(Image.fromarray(picture).resize((width, height), method), (x + part * (width + GAP), y))
        for row, text in enumerate(str(title).split("\n")[:2]):
            drawing.text((x, y + height + 2 + row * LINE), _cut(text, font, cell), "black", font)
    return np.asarray(sheet)


def _shown(images):
    """(height, width) in pixels of each picture, the longer about a cell."""
    if not len(images):
        return CELL, CELL
    shape = np.shape(images[0])[:2]
    zoom = max(1, CELL // max(shape)) if max(shape) <= CELL else CELL / max(shape)
    return tuple(max(1, round(side * zoom)) for side in shape)


def _overlaid(image, evidence):
    grey = charts.rgb(image).mean(axis=2, keepdims=True)
    evidence = np.clip(evidence, 0, 1)[..., None]
    return np.uint8(grey * (1 - evidence) + evidence * np.array([217, 26, 26]) + 0.5)


def _cut(text, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "\u2026") > width:
        text = text[:-1]
    return text + "\u2026"


def _short(name):
    return name if len(name) <= _LETTERS else name[:_LETTERS - 1] + "\u2026"


def _kept(values):
    return np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST)).astype(int))
