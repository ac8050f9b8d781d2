"""Pictures of results as uint8 arrays [H,W,3]: for TensorBoard, reports and files."""

import io
import os

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

MOST = 18       # letters of a name
CELL, CAPTION, GAP = 96, 16, 4      # pixels of a batch sheet: an image, its name, between them
SAME, OTHER, QUIET = "#1b7f4d", "#c0392b", "#8a8f98"


def roc(curves, xlabel="false-accept rate", ylabel="true-accept rate", title="ROC on held-out images"):
    """ROC curves with a logarithmic false-accept axis.

    Args:    curves: {name: (far [k], tar [k])}; the first is drawn strongest.
    """
    figure, axes = _figure(5.2, 4.2)
    for place, (name, (far, tar)) in enumerate(curves.items()):
        keep = np.unique(np.linspace(0, len(far) - 1, min(len(far), 4000)).astype(int))
        axes.plot(np.maximum(far[keep], 1e-6), tar[keep], label=name, lw=2 if place == 0 else 1.4,
                  color=SAME if place == 0 else QUIET)
    smallest = min(far[far > 0].min() for far, _ in curves.values())
    axes.set(xscale="log", xlim=(max(smallest, 1e-5), 1), ylim=(0, 1.01), xlabel=xlabel,
             ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return _pixels(figure)


def precision_recall(curves, share):
    """Precision over recall of the decision "same".

    precision = share tar / (share tar + (1 - share) far),  recall = tar

    Args:    curves: as in `roc`.  share: of the same pairs among all, which the precision depends on.
    """
    figure, axes = _figure(5.2, 4.2)
    for place, (name, (far, tar)) in enumerate(curves.items()):
        keep = np.unique(np.linspace(0, len(far) - 1, min(len(far), 4000)).astype(int))
        far, tar = (values[keep][tar[keep] > 0] for values in (far, tar))
        axes.plot(tar, share * tar / (share * tar + (1 - share) * far), label=name, lw=2 if place == 0 else 1.4,
                  color=SAME if place == 0 else QUIET)
    axes.axhline(share, color="black", ls="--", lw=1, label=f"chance ({share:.1%} of the pairs are same)")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall (same pairs accepted)", ylabel="precision",
             title="Precision and recall on held-out images")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return _pixels(figure)


def histogram(scores, same, threshold=None, names=("different", "same"), unit="pairs", xlabel="score (cosine)",
              title="Scores of held-out pairs"):
    """Densities of the scores of same and different pairs (or of two other `names`), with the threshold."""
    figure, axes = _figure(5.2, 4.2)
    edges = np.linspace(min(-0.2, scores.min()), max(1.0, scores.max()), 61)
    for chosen, colour, name in ((~same, OTHER, names[0]), (same, SAME, names[1])):
        axes.hist(scores[chosen], edges, density=True, alpha=0.6, color=colour,
                  label=f"{name} ({chosen.sum():,} {unit})")
    if threshold is not None:
        axes.axvline(threshold, color="black", ls="--", lw=1, label=f"threshold {threshold:.2f}")
    axes.set(xlabel=xlabel, ylabel="density", title=title)
    axes.legend(loc="upper left", fontsize=8)
    return _pixels(figure)


def pairs(images, asked, offered, identities, threshold, count=8, most=2000):
    """The hardest pairs among the first `most` images: same ones with the lowest scores, different ones with the
    highest. Score: the product of the earlier image's row of `asked` and the later one's of `offered`."""
    images, identities = images[:most], identities[:most]
    scores = asked[:most] @ offered[:most].T
    same = identities[:, None] == identities[None]
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    figure = Figure(figsize=(1.15 * count, 5.4))
    grid = figure.subplots(4, count, squeeze=False)
    for half, (mask, order, name) in enumerate(((same & upper, 1, "same"), (~same & upper, -1, "different"))):
        first, second = np.nonzero(mask)
        worst = np.argsort(order * scores[first, second], kind="stable")[:count]
        for column in range(count):
            for row, side in enumerate((first, second)):
                axes = grid[2 * half + row][column]
                axes.axis("off")
                if column < len(worst):
                    show(axes, images[side[worst[column]]])
            if column < len(worst):
                score = scores[first[worst[column]], second[worst[column]]]
                right = (score >= threshold) == (order > 0)
                grid[2 * half][column].set_title(f"{score:.2f}", fontsize=9, color=SAME if right else OTHER)
        grid[2 * half][0].text(-0.25, 0, f"hardest {name}", rotation=90, va="center", ha="center", fontsize=9,
                               transform=grid[2 * half][0].transAxes)
    figure.tight_layout()
    return _pixels(figure)


def neighbours(queries, results, title="Queries and their nearest neighbours"):
    """A ranked sheet: each query with its neighbours, framed by whether they are right.

    Args:    queries: [(image [H,W,C], name)].  results: for each, [(image, name, score, right)], best first.
    """
    width = 1 + max(len(row) for row in results)
    figure = Figure(figsize=(1.25 * width, 1.65 * len(queries) + 0.5))
    grid = figure.subplots(len(queries), width, squeeze=False)
    for row, ((image, name), found) in enumerate(zip(queries, results)):
        for column in range(width):
            axes = grid[row][column]
            axes.set_xticks([])
            axes.set_yticks([])
            if column > len(found):
                axes.axis("off")
                continue
            shown, label, score, right = (image, name, None, None) if column == 0 else found[column - 1]
            show(axes, shown)
            label = label if len(label) <= MOST else "\u2026" + label[1 - MOST:]       # neighbours must not overlap
            axes.set_title(label if score is None else f"{label}\n{score:.2f}", fontsize=8)
            for edge in axes.spines.values():
                edge.set(color="black" if right is None else SAME if right else OTHER, lw=1 if right is None else 3)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    return _pixels(figure)


def curve(steps, series, title, ylabel):
    """Lines over steps: {name: values}; of equal ones, such as a loss with one term, the last."""
    figure, axes = _figure(5.2, 4.2)
    lines = {np.asarray(values, float).tobytes(): (name, values) for name, values in series.items()}
    for name, values in lines.values():
        axes.plot(steps, values, label=name, lw=1.6)
    axes.set(xlabel="step", ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _pixels(figure)


def path(across, up, names, xlabel, ylabel, title):
    """Points joined in order, each with its name."""
    figure, axes = _figure(5.2, 4.2)
    axes.plot(across, up, "o-", color=SAME, lw=1.6)
    for x, y, name in zip(across, up, names):
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    axes.margins(0.15)
    return _pixels(figure)


def dots(rows, titles, own=""):
    """A line a row with a dot for each of its figures: {name: [figure]}; NaN = it has none.

    Dots, as their axis need not begin at 0: of figures such as PSNR bars would all look alike.

    Args:    own: the row that stands out.
    """
    figure = Figure(figsize=(3.6 * len(titles) + 1.2, 0.34 * len(rows) + 1.0))
    grid = figure.subplots(1, len(titles), squeeze=False, sharey=True)[0]
    places = np.arange(len(rows))[::-1]
    for axes, title, values in zip(grid, titles, np.array(list(rows.values()), float).T):
        known = values[np.isfinite(values)]
        for place, value, name in zip(places, values, rows):
            words = {"color": SAME, "fontweight": "bold"} if name == own else {}
            axes.axhline(place, color=SAME if name == own else QUIET, lw=0.5, alpha=0.5)
            if np.isfinite(value):
                axes.plot(value, place, "o", color=SAME if name == own else QUIET)
                axes.annotate(f"{value:.3g}", (value, place), (6, 2), textcoords="offset points", fontsize=8, **words)
            elif len(known):
                axes.annotate("-", (known.min(), place), (0, 2), textcoords="offset points", fontsize=8)
        axes.set(title=title, yticks=places, yticklabels=list(rows))
        axes.margins(x=0.2, y=0.1)
        for label in axes.get_yticklabels():
            if label.get_text() == own:
                label.set(color=SAME, fontweight="bold")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.tight_layout()
    return _pixels(figure)


def batch_sheet(images, names, most=64):
    """The first images of a batch with their names below them.

    Small images are enlarged by a whole number, so that pixels stay pixels.

    Args:    images: float [b,H,W,C] in [0, 1].  names: [b] str.
    Raises:  ValueError where there are not as many names as images.
    """
    if len(names) != len(images):
        raise ValueError(f"there are {len(names)} names but {len(images)} images; give one each.")
    images, names = images[:most], names[:most]
    long = max(images[0].shape[:2])
    zoom = max(1, CELL // long) if long <= CELL else CELL / long
    height, width = (max(1, round(side * zoom)) for side in images[0].shape[:2])
    across = int(np.ceil(np.sqrt(len(images))))
    step, line = max(width, CELL) + GAP, height + CAPTION + GAP
    sheet = Image.new("RGB", (across * step + GAP, -(-len(images) // across) * line + GAP), "white")
    drawing = ImageDraw.Draw(sheet)
    font = _font(10)
    for place, (image, name) in enumerate(zip(images, names)):
        x, y = GAP + place % across * step, GAP + place // across * line
        method = Image.Resampling.NEAREST if zoom >= 1 else Image.Resampling.BOX
        sheet.paste(Image.fromarray(rgb(image)).resize((width, height), method), (x, y))
        shown = str(name).replace("\n", " ")
        while font.getlength(shown) > step - GAP:           # the end of a name tells more: "\u202612/3.png"
            shown = "\u2026" + shown[2:]
        drawing.text((x, y + height + 2), shown, "black", font)
    return np.asarray(sheet)


def densities(series, xlabel, title):
    """Densities of several sets of values: {name: [n]}."""
    figure, axes = _figure(5.2, 4.2)
    everything = np.concatenate([values for values in series.values() if len(values)])
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), 61)
    for name, values in series.items():
        if len(values):
            axes.hist(values, edges, density=True, histtype="step", lw=1.8,
                      label=f"{name}, mean {values.mean():.2f}")
    axes.set(xlabel=xlabel, ylabel="density", title=title)
    axes.legend(fontsize=8)
    return _pixels(figure)


def overlays(images, maps, boxes):
    """Images above themselves in grey with their maps laid over them in red; the boxes are framed.

    Args:    images: float [n,H,W,C] in [0, 1].  maps: [n,H,W] in [0, 1].  boxes: int [n,4] (top, left, height, width).
    """
    figure = Figure(figsize=(1.3 * len(images), 2.9))
    grid = figure.subplots(2, len(images), squeeze=False)
    for column, (image, evidence, (top, left, height, width)) in enumerate(zip(images, maps, boxes)):
        grey = rgb(image).mean(axis=2, keepdims=True) / 255
        red = grey * (1 - evidence[..., None]) + evidence[..., None] * np.array([0.85, 0.1, 0.1])
        for axes, shown in zip(grid[:, column], (image, red)):
            show(axes, shown)
            axes.axis("off")
            axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, ec="#3b7dd8", lw=1.5))
    figure.suptitle("A patch of a fake (blue frame) in real images, and where the detector sees fakes (red)",
                    fontsize=9)
    figure.tight_layout()
    return _pixels(figure)


def mosaic(images, across, least=512):
    """Images side by side, `across` a row, enlarged by a whole number until the picture is `least` pixels wide.

    Args:    images: float [n,H,W,C] in [0, 1].
    """
    pixels = np.stack([rgb(image) for image in images])
    height, width = pixels.shape[1:3]
    rows = -(-len(pixels) // across)
    sheet = np.full((rows * (height + 1) + 1, across * (width + 1) + 1, 3), 255, np.uint8)
    for place, image in enumerate(pixels):
        y, x = (place // across) * (height + 1) + 1, place % across * (width + 1) + 1
        sheet[y:y + height, x:x + width] = image
    zoom = max(1, -(-least // sheet.shape[1]))
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


def strips(rows, below=(), titles=(), least=112):
    """Rows of images with their names to the left; each column may have a title and a line below it.

    Images are enlarged by a whole number until they are `least` pixels wide.

    Args:    rows: {name: images float [n,H,W,C] in [0, 1]}, of one size and n.  below, titles: [n] str, or empty.
    """
    pixels = np.array([[rgb(image) for image in images] for images in rows.values()])
    zoom = max(1, -(-least // pixels.shape[3]))
    pixels = pixels.repeat(zoom, axis=2).repeat(zoom, axis=3)
    down, across, height, width = pixels.shape[:4]
    font = _font(12)
    margin = int(max(map(font.getlength, rows))) + 3 * GAP
    top, bottom = (CAPTION + GAP if texts else GAP for texts in (titles, below))
    sheet = Image.new("RGB", (margin + across * (width + GAP), top + down * (height + GAP) + bottom), "white")
    drawing = ImageDraw.Draw(sheet)
    for line, (name, images) in enumerate(zip(rows, pixels)):
        y = top + line * (height + GAP)
        drawing.text((GAP, y + height // 2), name, "black", font, anchor="lm")
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (margin + column * (width + GAP), y))
    for texts, y in ((titles, GAP), (below, top + down * (height + GAP))):
        for column, text in enumerate(texts):
            drawing.text((margin + column * (width + GAP) + width // 2, y), text, "black", font, anchor="ma")
    return np.asarray(sheet)


def sprite(images, side=32, most=4096):
    """A square mosaic of thumbnails for TensorBoard's projector; returns (uint8 [S,S,3], thumbnail side)."""
    images = images[:most]
    across = int(np.ceil(np.sqrt(len(images))))
    sheet = np.zeros((across * side, across * side, 3), np.uint8)
    for place, image in enumerate(images):
        y, x = divmod(place, across)
        small = Image.fromarray(rgb(image)).resize((side, side))
        sheet[y * side:(y + 1) * side, x * side:(x + 1) * side] = np.asarray(small)
    return sheet, side


def png(pixels):
    """PNG bytes of uint8 [H,W,3]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def rgb(image):
    """uint8 [H,W,3] of a float image [H,W,C] in [0, 1]; one channel is shown grey, of several the first three."""
    image = np.asarray(image)[..., :3] if np.shape(image)[-1] >= 3 else np.repeat(np.asarray(image)[..., :1], 3, -1)
    return np.uint8(np.clip(image, 0, 1) * 255 + 0.5)


def show(axes, image):
    axes.imshow(rgb(image), interpolation="nearest")


def _font(size):
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _figure(width, height):
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _pixels(figure):
    figure.set_dpi(100)
    if not figure.get_suptitle():
        figure.tight_layout()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
