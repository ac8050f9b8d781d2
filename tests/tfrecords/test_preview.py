"""The preview sheet: what is drawn where, and which methods a command line names."""

import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tfrecords.here import run_here
from tfrecords import preview, schema
from tfrecords.augment.affine import AffineAugment
from tfrecords.augment.erase import EraseAugment
from tfrecords.decode import Decoder
from tfrecords.preview import APART, CAPTION, GAP, TITLE
from tfrecords.read import Records
from tfrecords.write import write

RANDOM = np.random.default_rng(0)
IMAGES = np.float32(RANDOM.integers(0, 256, (3, 12, 12, 3)) / 255)


class Source:
    """Twelve colour images of 12 x 10 pixels, or of five bands."""

    description = {"source": "list"}
    ignored = 0

    def __init__(self, bands=3):
        dtype = np.uint8 if bands == 3 else np.float32
        self.images = [np.random.default_rng(i).integers(0, 256, (12, 10, bands)).astype(dtype) for i in range(12)]

    def __len__(self):
        return 12

    def __iter__(self):
        for i, image in enumerate(self.images):
            yield schema.Item(f"{i}.png", functools.partial(np.copy, image), {"label": i % 3})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("preview")
    write([Source()], place / "colour", shards=1)
    write([Source(5)], place / "bands", shards=1)
    return place


def cells(picture, zoom, side, rows, columns, captions=False):
    """The cells of the first block, [rows][columns] of uint8 [side, side, 3], back to their own size."""
    values = np.asarray(picture)
    step = side * zoom + GAP + (CAPTION if captions else 0)
    lefts = [GAP + column * (side * zoom + GAP) + (APART if column else 0) for column in range(columns)]
    return [[values[TITLE + row * step:TITLE + row * step + side * zoom:zoom, left:left + side * zoom:zoom]
             for left in lefts] for row in range(rows)]


def test_the_sheet_has_a_row_an_image_and_the_original_first():
    block = preview.augmented(["flip(share=1.0)"], IMAGES, 2, 0, 1.0)
    picture = preview.sheet([block, block])
    zoom, columns = 8, 3                                                # 12 pixels to 96
    assert picture.size == (GAP + columns * (96 + GAP) + APART, 2 * (TITLE + 3 * (96 + GAP)) + GAP)
    exact = np.uint8(np.rint(IMAGES * 255))
    for row, found in enumerate(cells(picture, zoom, 12, 3, columns)):
        np.testing.assert_array_equal(found[0], exact[row])
        np.testing.assert_array_equal(found[1], exact[row][:, ::-1])
        np.testing.assert_array_equal(found[2], exact[row][:, ::-1])


def test_large_images_are_drawn_as_they_are_and_small_views_centred():
    large = np.full((1, 96, 100, 1), 0.5, np.float32)
    small = np.zeros((1, 20, 10, 1), np.float32)
    values = np.asarray(preview.sheet([preview.Block("views", large, [small], [])]))
    left = GAP + 100 + GAP + APART
    black = np.argwhere((values[TITLE:] == 0).all(-1))
    assert black.min(0).tolist() == [38, left + 45] and black.max(0).tolist() == [57, left + 54]
    assert (values[TITLE:TITLE + 96, GAP:GAP + 100] == 128).all()


def test_augmentations_are_applied_after_each_other_and_drawn_anew():
    texts = ["affine(rotate=0.4, keep=0.0)", "erase(share=1.0)"]
    block = preview.augmented(texts, IMAGES, 3, 7, 0.5)
    assert block.title == " + ".join(texts) and len(block.results) == 3
    seeds = [tf.random.experimental.stateless_fold_in([7, 1], number) for number in (0, 1)]
    by_hand = EraseAugment(share=1.0)(AffineAugment(rotate=0.4, keep=0.0)(tf.constant(IMAGES), seeds[0], 0.5), seeds[1],
                                      0.5)
    np.testing.assert_array_equal(block.results[1], by_hand)
    assert not np.array_equal(block.results[0], block.results[1])
    again, other = (preview.augmented(texts, IMAGES, 3, seed, 0.5) for seed in (7, 8))
    np.testing.assert_array_equal(block.results, again.results)
    assert not np.array_equal(block.results, other.results)


def test_what_changes_nothing_says_so():
    assert preview.augmented(["flip"], IMAGES, 2, 0, 0.0).title == "flip (changes nothing)"
    assert preview.augmented(["jitter"], IMAGES, 2, 0, 1.0).title == "jitter"


def test_mixings_tell_their_shares_and_labels():
    block = preview.mixed("mixup(alpha=1.0)", IMAGES, np.int32([4, 5, 6]), 2, 0)
    assert block.captions[0] == ["label 4", "label 5", "label 6"]
    assert all(0 <= float(share) <= 1 for texts in block.captions[1:] for share in texts)
    turned = preview.mixed("turned_classes(turns=2)", IMAGES, np.int32([4, 5, 6]), 2, 0)
    for images, texts in zip(turned.results, turned.captions[1:]):
        for own, image, text in zip(IMAGES, images, texts):
            half = int(text.removeprefix("label ")) % 2
            np.testing.assert_array_equal(image, own[::-1, ::-1] if half else own)
    found = cells(preview.sheet([block]), 8, 12, 3, 3, captions=True)
    for row in range(3):
        np.testing.assert_array_equal(found[row][0], np.uint8(np.rint(IMAGES[row] * 255)))


def test_every_view_is_a_column():
    block = preview.viewed("multi_crop(crops=((2, 8, (0.3, 1.0)), (3, 4, (0.1, 0.3))))", IMAGES, 0, 1.0)
    assert [values.shape for values in block.results] == [(3, 8, 8, 3)] * 2 + [(3, 4, 4, 3)] * 3
    assert preview.sheet([block]).size[0] == GAP + 6 * (96 + GAP) + APART


def test_a_sheet_of_all_augmentations_names_each(data, capsys, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    code, printed, err = run_here(preview, capsys, f"--data={data / 'colour'}", f"--out={out}", "--draws=1")
    assert (code, err) == (0, "") and [path.name for path in out.parent.iterdir()] == ["sheet.png"]
    names = preview.methods("tfrecords/augment")
    folder = pathlib.Path(preview.__file__).parent / "augment"
    assert set(names) == {path.stem for path in folder.iterdir() if path.suffix == ".py" and path.stem[0] != "_"}
    assert all(name in printed for name in names) and "2 images" in printed
    assert Image.open(out).height == len(names) * (TITLE + 2 * (96 + GAP)) + GAP


def test_the_first_column_of_the_command_are_images_of_the_data(data, capsys, tmp_path):
    out = tmp_path / "sheet.png"
    words = [f"--data={data / 'colour'}", f"--out={out}", "--augment=flip", "--mixing=cutmix", "--views=simclr"]
    assert run_here(preview, capsys, *words, "--count=5", "--seed=3", "--draws=2")[0] == 0
    with Records(data / "colour") as records:
        every = np.uint8(np.rint(Decoder.of(records.manifest, 12).images(records.images(range(12))).numpy() * 255))
    first = [row[0] for row in cells(Image.open(out), 8, 12, 5, 3)]
    rows = [int(np.flatnonzero((every == image).all((1, 2, 3)))[0]) for image in first]
    assert rows == sorted(set(rows))
    before = out.read_bytes()
    run_here(preview, capsys, *words, "--count=5", "--seed=3", "--draws=2")
    assert out.read_bytes() == before
    run_here(preview, capsys, *words, "--count=5", "--seed=4", "--draws=2")
    assert out.read_bytes() != before


def test_of_many_bands_three_are_drawn(data, capsys, tmp_path):
    out = tmp_path / "sheet.png"
    code, _, err = run_here(preview, capsys, f"--data={data / 'bands'}", f"--out={out}", "--augment=flip", "--count=2")
    assert code == 0, err
    values = np.random.default_rng(0).random((4, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(preview.eight_bit(values), np.uint8(np.rint(values[..., :3] * 255)))
    assert preview.eight_bit(values[..., :2]).shape == (4, 3, 3)


@pytest.mark.parametrize("words, said", [
    (["--augment=afine"], "`afine` is not a method of tfrecords/augment; did you mean affine"),
    (["--augment=_warp"], "`_warp` is not a method of tfrecords/augment; did you mean "),
    (["--augment=../batch"], "`../batch` is not a method; write a name with literal keyword arguments"),
    (["--augment=affine(rot=1)"], "`rot` is not a hyper-parameter of tfrecords/augment/affine; did you mean rotate"),
    (["--augment=affine(0.3)"], "`affine(0.3)` is not a method; write a name with literal keyword arguments"),
    (["--augment=affine(rotate=print(1))"], "is not a method; write a name with literal keyword arguments"),
    (["--augment=affine(**{'rotate': 1})"], "is not a method; write a name with literal keyword arguments"),
    (["--augment=affine(rotate=-1)"], "needs ranges >= 0"),
    (["--augment=all", "--augment=flip"], "`--augment=all` shows each by itself; leave the others out."),
    (["--mixing=mixup(alpha=-1)"], "alpha"),
    (["--count=100", "--size=1024"], "the sheet would have "),
    (["--out=sheet.txt"], "`--out` is `sheet.txt` but must end in .png or .jpg or .jpeg."),
    (["--data=/nowhere"], "`/nowhere` holds no manifest.json"),
])
def test_mistakes_are_one_sentence(words, said, data, capsys, tmp_path):
    code, out, err = run_here(preview, capsys, f"--data={data / 'colour'}", f"--out={tmp_path / 'sheet.png'}", *words)
    assert (code, out) == (1, "") and err.startswith("error: ") and said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
