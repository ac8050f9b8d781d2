import io
import math
import pickle

import numpy as np
import pytest
from PIL import Image

from tfrecords import cuts, schema
from tfrecords.align import TEMPLATE

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (40, 60, 3), np.uint8)
MASK = RANDOM.integers(0, 2, (40, 60), np.uint8)


class Stored:
    """A picklable read that counts how often it is asked."""

    def __init__(self, image):
        self.image, self.count = image, 0

    def __call__(self):
        self.count += 1
        if self.image is None:
            raise OSError("gone")
        return self.image


class Listed:
    """A source of the given items."""

    description = {"source": "listed"}

    def __init__(self, *items, ignored=0):
        self.items, self.ignored = items, ignored

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        return iter(self.items)


def item(image=IMAGE, path="a.png", **columns):
    return schema.Item(path, Stored(image), columns, None, "7")


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def masked(**columns):
    return item(**columns)._replace(mask=Stored(MASK))


@pytest.mark.parametrize("image", [IMAGE, png(IMAGE), IMAGE[..., 0], RANDOM.random((40, 60, 9)).astype(np.float32)],
                         ids=["array", "png", "grey", "bands"])
def test_a_cut_is_the_part(image):
    whole = cuts.Whole(Stored(image))
    pixels = IMAGE if isinstance(image, bytes) else image if image.ndim == 3 else image[..., None]
    part = whole.cut((7, 5, 20, 11))
    np.testing.assert_array_equal(part, pixels[5:16, 7:27])
    assert part.dtype == pixels.dtype
    part[:] = 0
    np.testing.assert_array_equal(whole.pixels(), pixels)


@pytest.mark.parametrize("box, rows, columns", [
    ((2.4, 3.6, 1.0, 1.0), (3, 5), (2, 4)),             # outward
    ((2.0, 3.0, 4.0000005, 5.0), (3, 8), (2, 6)),       # but not by a rounding error
    ((-5, -5, 10, 9.2), (0, 5), (0, 5)),                # clipped
    ((50, 30, 100, 100), (30, 40), (50, 60)),
    ((-1e8, -1e8, 3e8, 3e8), (0, 40), (0, 60)),
])
def test_boxes_are_rounded_outward_and_clipped(box, rows, columns):
    np.testing.assert_array_equal(cuts.Whole(Stored(IMAGE)).cut(box), IMAGE[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("box", [(60, 0, 5, 5), (-9, 0, 9, 5), (0, 40.0005, 5, 5), (0, -6, 5, 5), (10, 10, -3, 5),
                                 (math.nan, 0, 1, 1), (0, 0, math.inf, 1), (-1e300, 0, 1e301, 5)])
def test_nothing_left_is_told(box):
    with pytest.raises(ValueError, match="the box"):
        cuts.Whole(Stored(IMAGE)).cut(box)


def test_one_decoding_for_all_parts_and_no_more_than_two_images_kept():
    reads = [Stored(IMAGE + i) for i in range(3)]
    first, second, third = (cuts.Whole(read) for read in reads)
    for x in range(5):
        first.cut((x, 0, 3, 3)), second.cut((x, 0, 3, 3))
    assert [read.count for read in reads] == [1, 1, 0]
    third.pixels(), first.pixels()
    assert [read.count for read in reads] == [2, 1, 1]


def test_a_whole_is_pickled_without_pixels():
    whole = cuts.Whole(Stored(png(np.zeros((300, 300), np.uint8))))
    whole.pixels()
    packed = pickle.dumps(whole)
    assert len(packed) < 2000
    np.testing.assert_array_equal(pickle.loads(packed).cut((0, 0, 2, 2)), np.zeros((2, 2, 1)))


def test_crops():
    items = [masked(bbox=(10, 8, 20, 10), label="x"), item(label="y"), item(bbox="1 2 3 4", path="c.png"),
             item(bbox=())]
    source = cuts.CropSource(Listed(*items, ignored=2))
    assert len(source) == 2 and source.ignored == 4 and source.pairs == []
    assert source.description == {"source": "listed", "crop_margin": 0.0}
    first, second = source
    assert not items[0].read.count, "nothing is read before it is asked for"
    np.testing.assert_array_equal(first.read(), IMAGE[8:18, 10:30])
    np.testing.assert_array_equal(first.mask()[..., 0], MASK[8:18, 10:30])
    assert first.columns == {"bbox": (10, 8, 20, 10), "label": "x"} and second.mask is None
    np.testing.assert_array_equal(second.read(), IMAGE[2:6, 1:4])
    assert first.stamp != second.stamp != "7"


def test_the_margin_and_the_landmarks():
    points = (12.0, 9.0, 28.0, 9.0, 20.0, 12.0, 14.0, 16.0, 26.0, 16.0)
    (crop,) = cuts.CropSource(Listed(item(bbox=(10, 8, 20, 10), landmarks=points)), margin=0.25)
    assert crop.columns["bbox"] == (5, 5.5, 30, 15)
    np.testing.assert_array_equal(crop.read(), IMAGE[5:21, 5:35])
    assert crop.columns["landmarks"] == tuple(np.subtract(points, (5, 5) * 5))
    (crop,) = cuts.CropSource(Listed(item(bbox=(1, 1, 8, 8), landmarks=points)), margin=1)
    np.testing.assert_array_equal(crop.read(), IMAGE[:17, :17])
    assert crop.columns["landmarks"] == points, "a crop clipped at the corner keeps the corner"
    assert schema.settle(crop.columns) == {"bbox": (-7, -7, 24, 24), "landmarks": points}


def test_alignment_keeps_dtype_and_drops_what_no_longer_holds():
    landmarks = tuple((40 * np.array(TEMPLATE)).ravel().tolist())
    deep = (IMAGE.astype(np.uint16) * 257)[:, :40]
    source = cuts.AlignSource(Listed(item(deep, landmarks=landmarks, bbox=(0, 0, 3, 3), label="x"), item()), size=40)
    assert len(source) == 1 and source.ignored == 1 and source.description["align_size"] == 40
    (found,) = source
    assert found.columns == {"label": "x"} and found.read().dtype == np.uint16
    np.testing.assert_allclose(found.read().astype(int), deep, atol=2)
    (found,) = cuts.AlignSource(Listed(masked(landmarks=landmarks)), size=20)
    assert found.read().shape == (20, 20, 3) and set(np.unique(found.mask())) <= {0, 1}
    assert found.mask().shape == (20, 20, 1) and found.mask().dtype == np.uint8


@pytest.mark.parametrize("size, tile, overlap", [((40, 60), 16, 4), ((40, 60), 40, 0), ((40, 60), 50, 10),
                                                 ((33, 17), 16, 15), ((1, 1), 16, 0), ((48, 32), 16, 0)])
def test_tiles_cover_the_image(size, tile, overlap):
    image = RANDOM.integers(0, 256, (*size, 3), np.uint8)
    source = cuts.TileSource(Listed(item(png(image)), item(image, path="b.npy")), tile, overlap)
    tiles = list(source)
    assert len(source) == len(tiles) and len({one.path for one in tiles}) == len(tiles)
    seen = np.zeros(size, int)
    for one in tiles[:len(tiles) // 2]:
        x, y, width, height = one.columns["bbox"]
        assert (height, width) == (min(tile, size[0]), min(tile, size[1]))
        np.testing.assert_array_equal(one.read(), image[y:y + height, x:x + width])
        assert one.path == f"a.png#{y}_{x}" and one.columns["case"] == "a.png"
        seen[y:y + height, x:x + width] += 1
    assert (seen > 0).all()
    starts = sorted({one.columns["bbox"][0] for one in tiles})
    assert all(later - before <= tile - overlap for before, later in zip(starts, starts[1:]))
    assert len(starts) == max(1, math.ceil((size[1] - overlap) / (tile - overlap))), "no more tiles than needed"


def test_tiles_decode_an_image_once_and_take_mask_and_landmarks_along():
    landmarks = tuple(float(number) for number in range(10))
    one = masked(case="field 3", landmarks=landmarks)
    source = cuts.TileSource(Listed(one), 20)
    assert one.read.count == 1, "its header"
    for tile in source:
        x, y, width, height = tile.columns["bbox"]
        assert tile.read().shape == (20, 20, 3) and tile.columns["case"] == "field 3"
        np.testing.assert_array_equal(tile.mask()[..., 0], MASK[y:y + 20, x:x + 20])
        assert tile.columns["landmarks"] == tuple(np.subtract(landmarks, (x, y) * 5))
    assert one.read.count == 2 and one.mask.count == 1


def test_images_that_cannot_be_read_stay_for_the_writer_to_name():
    huge = png(IMAGE)[:16] + (2 ** 30).to_bytes(4, "big") * 2 + png(IMAGE)[24:]
    items = [item(b"no image"), item(None), item(huge), item(png(IMAGE))]
    source = cuts.TileSource(Listed(*items), 60)
    assert len(source) == 4 and [one.path for one in source] == ["a.png"] * 3 + ["a.png#0_0"]
    for one in list(source)[:1] + list(source)[3:]:
        assert callable(one.read)
    (crop,) = cuts.CropSource(Listed(item(b"no image", bbox=(0, 0, 3, 3))))
    with pytest.raises(ValueError, match="not an image"):
        crop.read()


def test_sources_survive_pickling():
    landmarks = tuple(range(10))
    inner = Listed(masked(bbox=(1, 2, 20, 20), landmarks=landmarks))
    for source in (cuts.CropSource(inner), cuts.AlignSource(inner, 16), cuts.TileSource(inner, 16)):
        next(iter(source)).read()
        again = pickle.loads(pickle.dumps(source))
        assert len(again) == len(source) and again.description == source.description
        for one, other in zip(source, again):
            assert one.path == other.path and one.columns == other.columns
            np.testing.assert_array_equal(one.read(), pickle.loads(pickle.dumps(other)).read())


def test_refusals():
    listed = Listed(item(label="x"))
    with pytest.raises(ValueError, match="none of the 1 images has the column `bbox`"):
        cuts.CropSource(listed)
    with pytest.raises(ValueError, match="`margin` is -0.1"):
        cuts.CropSource(listed, -0.1)
    with pytest.raises(ValueError, match="`a.png`: `bbox` has 3 numbers"):
        cuts.CropSource(Listed(item(bbox="1 2 3")))
    with pytest.raises(ValueError, match="none of the 1 images has the column `landmarks`"):
        cuts.AlignSource(listed)
    with pytest.raises(ValueError, match="`size` is 7"):
        cuts.AlignSource(listed, 7)
    with pytest.raises(ValueError, match="`tile` is 16 and `overlap` 16"):
        cuts.TileSource(listed, 16, 16)
    listed.pairs = [("a.png", "a.png", 1, -1)]
    with pytest.raises(ValueError, match="pairs"):
        cuts.TileSource(listed, 16)


def test_shares_of_the_image_are_no_pixels():
    with pytest.raises(ValueError, match="lies inside the first pixel; give it in pixels, not in shares"):
        cuts.Whole(lambda: np.zeros((9, 9), np.uint8)).cut((0.2, 0.3, 0.5, 0.6))
    with pytest.raises(ValueError, match="the landmarks lie within two pixels; give them in pixels"):
        cuts._aligned(lambda: np.zeros((9, 9), np.uint8), (0.3, 0.4, 0.7, 0.4, 0.5, 0.5, 0.4, 0.8, 0.6, 0.8), 16, False)
