"""What a network will see: a sheet of images beside what augmentations, mixings and views make of them.

Every augmentation at its defaults:
    python -m tfrecords.preview --data=build/data/orl_faces --out=sheet.png
Some after each other, as a training applies them:
    python -m tfrecords.preview --data=build/data/orl_faces --out=sheet.png \\
        --augment="affine(rotate=0.3)" --augment=erase
"""

import os
import typing

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image, ImageDraw, ImageFont

from tfrecords import command
from tfrecords.decode import Decoder
from tfrecords.methods import build, methods
from tfrecords.read import Records

EVERY = "all"                               # in place of a method: each of the folder at its defaults
LARGEST = 128                               # side of a decoded image unless asked otherwise
LEAST = 96                                  # side of a cell: smaller images are drawn enlarged
GAP, APART, TITLE, CAPTION = 4, 8, 26, 14   # pixels; APART more between the originals and the rest
MOST_PIXELS = 100_000_000                   # of a sheet

_EXTENSIONS = (".png", ".jpg", ".jpeg")
_TEXT = ImageFont.load_default(14)
_SMALL = ImageFont.load_default(11)


class Block(typing.NamedTuple):
    """Some rows of the sheet.

    Args:    title: text above them.
             images: float32 [n, h, w, C] in [0, 1], the first column.
             results: of every further column, [n, h', w', C].
             captions: of every column, n texts; empty = none.
    """

    title: str
    images: np.ndarray
    results: list
    captions: list


def augmented(texts, images, draws, seed, strength):
    """The block of augmentations after each other, `draws` times.

    Args:    texts: such as "affine(rotate=0.3)".  images: float32 [n, h, w, C].  seed: int.  strength: in [0, 1].
    """
    steps = [build("tfrecords/augment", text) for text in texts]

    def once(draw):
        values = tf.constant(images)
        for number, step in enumerate(steps):
            values = step(values, tf.random.experimental.stateless_fold_in(_seed(seed, draw), number), strength)
        return values.numpy()
    results = [once(draw) for draw in range(draws)]
    same = all(result.shape == images.shape and (result == images).all() for result in results)
    return Block(" + ".join(texts) + (" (changes nothing)" if same else ""), images, results, [])


def mixed(text, images, labels, draws, seed):
    """The block of a mixing, `draws` times; the captions say the weight of the row's own label, else the new label.

    Args:    labels: int32 [n].  Others as `augmented`.
    """
    mixing = build("tfrecords/mixing", text)
    batches = [mixing({"image": tf.constant(images), "label": tf.constant(labels)}, _seed(seed, draw))
               for draw in range(draws)]
    captions = [[f"label {label}" for label in labels]]
    captions += [[f"{share:.2f}" for share in np.asarray(batch["share"])] if "share" in batch else
                 [f"label {label}" for label in np.asarray(batch["label"])] for batch in batches]
    return Block(text, images, [batch["image"].numpy() for batch in batches], captions)


def viewed(text, images, seed, strength):
    """The block of one call of a views method: each view a column, whatever its size."""
    views = build("tfrecords/views", text)(tf.constant(images), _seed(seed, 0), strength)
    return Block(text, images, [group[:, number].numpy() for group in views for number in range(group.shape[1])], [])


def sheet(blocks):
    """The picture of the blocks below each other; an image is a row, its original the first column.

    Every image is enlarged by the same whole number, so that pixels stay pixels, and centred in its cell.

    Args:    blocks: list of Block.
    Returns: PIL image, RGB.
    Raises:  ValueError for a sheet of more than MOST_PIXELS.
    """
    sides = np.array([values.shape[1:3] for block in blocks for values in (block.images, *block.results)])
    zoom = max(1, -(-LEAST // int(sides.max())))
    cell = sides.max(axis=0) * zoom
    columns = 1 + max(len(block.results) for block in blocks)
    steps = [int(cell[0]) + GAP + (CAPTION if block.captions else 0) for block in blocks]
    height = sum(TITLE + len(block.images) * step for block, step in zip(blocks, steps)) + GAP
    # Room for the longest title, however few the columns.
    width = max(columns * int(cell[1] + GAP), *(int(_TEXT.getlength(block.title)) for block in blocks)) + GAP + APART
    _require_pixels(height * width)
    picture = Image.new("RGB", (width, height), "white")
    drawing = ImageDraw.Draw(picture)
    top = 0
    for block, step in zip(blocks, steps):
        drawing.text((GAP, top + TITLE // 2), block.title, "black", _TEXT, anchor="lm")
        for column, values in enumerate([block.images, *block.results]):
            left = GAP + column * int(cell[1] + GAP) + (APART if column else 0)
            for row, image in enumerate(values):
                upper = top + TITLE + row * step
                shown = Image.fromarray(eight_bit(image)).resize((image.shape[1] * zoom, image.shape[0] * zoom), 0)
                picture.paste(shown, (left + int(cell[1] - shown.width) // 2, upper + int(cell[0] - shown.height) // 2))
                if block.captions:
                    drawing.text((left + int(cell[1]) // 2, upper + int(cell[0]) + 1), block.captions[column][row],
                                 "black", _SMALL, anchor="mt")
        top += TITLE + len(block.images) * step
    return picture


def _require_pixels(count):
    if count > MOST_PIXELS:
        raise ValueError(f"the sheet would have {count:,} pixels but may have {MOST_PIXELS:,}; ask for less by "
                         "--count, --draws or --size.")


def eight_bit(image):
    """float [h, w, C] in [0, 1] -> uint8 [h, w, 3]; of many bands the first three."""
    image = np.uint8(np.rint(np.clip(image, 0, 1) * 255))
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)


def _seed(seed, draw):
    return tf.constant([seed, draw], tf.int32)


def chosen(folder, texts):
    """The methods asked for, "all" as each of the folder."""
    return [text for given in texts for text in (methods(f"tfrecords/{folder}") if given == EVERY else [given])]


def usual_size(records):
    """The median side, at most LARGEST."""
    return int(min(LARGEST, max(np.median(records.column("height")), np.median(records.column("width")))))


def originals(records, count, seed, size):
    """Some images of a data folder, the same for the same seed, and their labels.

    Args:    size: pixels, square.
    Returns: float32 [n, size, size, C], int32 [n]: label or identity, else the place in the sheet.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(records))[:count])
    images = Decoder.of(records.manifest, size).images(records.images(rows), None).numpy()
    labels = np.arange(len(rows))
    for column in ("identity", "label"):
        if records.has(column):
            values = records.several("label")[:, 0] if column == "label" else records.column(column)
            labels = values[rows]
    return images, labels.astype(np.int32)


def define_flags():
    flags.DEFINE_string("data", None, "Data folder that `python -m tfrecords.write` wrote.", required=True)
    flags.DEFINE_string("out", None, f"Picture to write: {' '.join(_EXTENSIONS)}; default: <data>/preview.png.")
    flags.DEFINE_multi_string("augment", [], "Augmentation such as \"affine(rotate=0.3)\"; several are applied after "
                              f"each other. {EVERY} = each of tfrecords/augment at its defaults, which is also shown "
                              "where nothing is given.")
    flags.DEFINE_multi_string("mixing", [], f"Mixing such as mixup; {EVERY} = each of tfrecords/mixing.")
    flags.DEFINE_multi_string("views", [], f"Views such as multi_crop; {EVERY} = each of tfrecords/views.")
    flags.DEFINE_integer("count", None, "Images; default 8, and 2 where all methods are shown.", 1, 100)
    flags.DEFINE_integer("draws", 7, "Draws of each image.", 1, 50)
    flags.DEFINE_integer("seed", 0, "Which images and which draws.", 0, 2 ** 31 - 1)
    flags.DEFINE_float("strength", 1.0, "Strength of augmentations and views.", 0.0, 1.0)
    flags.DEFINE_integer("size", 0, f"Side of the images, pixels; 0 = the median side, at most {LARGEST}.", 0, 1024)


def main(_):
    given = flags.FLAGS
    out = os.path.expanduser(given.out or os.path.join(given.data, "preview.png"))
    if not out.lower().endswith(_EXTENSIONS):
        raise ValueError(f"`--out` is `{out}` but must end in {' or '.join(_EXTENSIONS)}.")
    asked = [*given.augment, *given.mixing, *given.views]
    augment = given.augment if asked else [EVERY]
    if EVERY in augment and len(augment) > 1:
        raise ValueError(f"`--augment={EVERY}` shows each by itself; leave the others out.")
    # One after the other, except where each is to be seen by itself.
    chains = [[text] for text in methods("tfrecords/augment")] if EVERY in augment else [augment] if augment else []
    mixings, views = chosen("mixing", given.mixing), chosen("views", given.views)
    try:
        with Records(given.data) as records:
            count = min(given.count or (2 if EVERY in [*augment, *asked] else 8), len(records))
            size = given.size or usual_size(records)
            _require_pixels((len(chains) + len(mixings) + len(views)) * count * (1 + given.draws) * size * size)
            images, labels = originals(records, count, given.seed, size)
        blocks = [augmented(chain, images, given.draws, given.seed, given.strength) for chain in chains]
        blocks += [mixed(text, images, labels, given.draws, given.seed) for text in mixings]
        blocks += [viewed(text, images, given.seed, given.strength) for text in views]
    except tf.errors.OpError as error:
        raise ValueError(f"the sheet cannot be made: {error.message}") from error
    picture = sheet(blocks)
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    temporary = f"{os.path.splitext(out)[0]}.{os.getpid()}{os.path.splitext(out)[1]}"
    try:
        picture.save(temporary)
        os.replace(temporary, out)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    print(f"{out}: {len(images)} images, {', '.join(block.title for block in blocks)}")


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
