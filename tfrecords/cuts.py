"""Crops, aligned faces and tiles: sources made of another source, cut only when an image is read."""

import collections
import functools
import math
import sys
import weakref

import numpy as np
from rich.console import Console
from rich.progress import track

from tfrecords import align, decode, examine, schema

_KEPT = collections.deque(maxlen=2)         # the pixels decoded last: an image and its mask
_ROUNDING = 1e-3                            # pixels that are a number's rounding error and no part of a box


class Whole:
    """An image of which parts are cut.

    It is decoded when its pixels are first asked for and stays in memory until two others are; parts that are cut one
    after the other cost one decoding. Pickled without its pixels.

    Args:    read: as in `schema.Item`.
    """

    def __init__(self, read):
        self._read, self._pixels = read, None

    def pixels(self):
        """All of it: uint8, uint16 or float32 [h, w, c].   Raises: OSError or ValueError as `read` does."""
        pixels = self._pixels and self._pixels()
        if pixels is None:
            pixels = examine.pixels(self._read())
            self._pixels = weakref.ref(pixels)
            _KEPT.append(pixels)
        return pixels

    def cut(self, box):
        """A copy of one part.

        Args:    box: x, y, width, height in pixels; rounded outward, then clipped to the image.
        Returns: [h, w, c] of the image's dtype.
        Raises:  ValueError where nothing is left; OSError or ValueError as `read` does.
        """
        pixels = self.pixels()
        height, width = pixels.shape[:2]
        left, top, right, bottom = _borders(box)
        part = pixels[max(0, top):max(0, bottom), max(0, left):max(0, right)]
        if not part.size:
            raise ValueError(f"the box {_text(box)} (x, y, width, height) leaves nothing of the image of {height} x "
                             f"{width} pixels")
        return part.copy()

    def __getstate__(self):
        return {"_read": self._read, "_pixels": None}


class _CutSource:
    """What the sources here share: they are as long as their parts and know what the inner source knows."""

    def __init__(self, source, facts, ignored=0):
        self._source = source
        self.description = {**source.description, **facts}
        self.ignored = getattr(source, "ignored", 0) + ignored
        self.pairs = getattr(source, "pairs", [])


class CropSource(_CutSource):
    """The images cut to the column `bbox`; images without one are left out and counted in `ignored`.

    `bbox` becomes the box with its margin, which may reach beyond the image; `landmarks` count from the crop's corner.

    Args:    source: the images.  margin: share of the box's width and height that is added on each side, >= 0.
    Raises:  ValueError for a margin below 0, a box that is none or no image with a box.
    """

    def __init__(self, source, margin=0.0):
        if not (math.isfinite(margin) and margin >= 0):
            raise ValueError(f"`margin` is {margin} but must be a share of the box's sides, at least 0.")
        if source.description.get("cut"):
            raise ValueError(f"the images of `{source.description['source']}` are cut to their boxes already; leave "
                             "out the crop.")
        self._margin = margin
        self._count = _count(source, "bbox")
        super().__init__(source, {"crop_margin": margin}, len(source) - self._count)

    def __len__(self):
        return self._count

    def __iter__(self):
        for item in self._source:
            box = _vector(item, "bbox")
            if not box:
                continue
            x, y, width, height = box
            box = (x - self._margin * width, y - self._margin * height,
                   (1 + 2 * self._margin) * width, (1 + 2 * self._margin) * height)
            left, top, *_ = _borders(box)
            yield _part(item, box, {"bbox": box, **_moved(item, max(0, left), max(0, top))},
                        Whole(item.read), item.mask and Whole(item.mask))


class AlignSource(_CutSource):
    """The images warped by `align.align` to the column `landmarks`; others are left out and counted in `ignored`.

    The columns `landmarks` and `bbox` end here: they are places in the image as it was.

    Args:    source: the images.  size: side of the aligned images, pixels.
    Raises:  ValueError for a size outside 8 to 4,096, landmarks that are none or no image with landmarks.
    """

    def __init__(self, source, size=112):
        if not 8 <= size <= 4096:
            raise ValueError(f"`size` is {size} but must lie in 8 to 4,096 pixels.")
        self._size = size
        self._count = _count(source, "landmarks")
        super().__init__(source, {"align_size": size}, len(source) - self._count)

    def __len__(self):
        return self._count

    def __iter__(self):
        for item in self._source:
            landmarks = _vector(item, "landmarks")
            if landmarks:
                columns = {name: value for name, value in item.columns.items() if name not in ("landmarks", "bbox")}
                mask = item.mask and functools.partial(_aligned, item.mask, landmarks, self._size, True)
                yield item._replace(read=functools.partial(_aligned, item.read, landmarks, self._size, False),
                                    columns=columns, mask=mask, stamp=_stamp(item, landmarks))


class TileSource(_CutSource):
    """Each image as overlapping tiles that cover all of it, row by row.

    The last tile of a row or column moves inside, so that each is of full size where the image is. The path becomes
    "<path>#<y>_<x>", `bbox` the tile's place in the image, `case` the image's path where it has no case; `landmarks`
    count from the tile's corner. All headers are read once, here; an image whose size cannot be read stays one item,
    so that who writes it can say why.

    Args:    source: the images.  tile: side in pixels.  overlap: pixels that neighbours share, below `tile`.
    Raises:  ValueError for a tile below 1, an overlap outside 0 to tile - 1, or a source of pairs.
    """

    def __init__(self, source, tile, overlap=0):
        if tile < 1 or not 0 <= overlap < tile:
            raise ValueError(f"`tile` is {tile} and `overlap` {overlap} but a tile must have at least 1 pixel and "
                             "share 0 or more with its neighbour, fewer than its side.")
        if len(getattr(source, "pairs", None) or ()):
            raise ValueError("the images come in pairs, which tiles are not; leave out `tile`.")
        self._tile, self._overlap = tile, overlap
        super().__init__(source, {"tile": tile, "overlap": overlap})
        shown = track(source, "sizes", total=len(source), console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._sizes = np.array([_size(item) for item in shown], np.int32).reshape(-1, 2)

    def __len__(self):
        return sum(len(self._starts(height)) * len(self._starts(width)) for height, width in self._sizes.tolist())

    def __iter__(self):
        for item, (height, width) in zip(self._source, self._sizes.tolist()):
            if not height:
                yield item
                continue
            image, mask = Whole(item.read), item.mask and Whole(item.mask)
            for y in self._starts(height):
                for x in self._starts(width):
                    box = (x, y, min(self._tile, width), min(self._tile, height))
                    columns = {"case": item.columns.get("case") or item.path, "bbox": box, **_moved(item, x, y)}
                    yield _part(item, box, columns, image, mask)._replace(path=f"{item.path}#{y}_{x}")

    def _starts(self, side):
        last = max(0, side - self._tile)
        return [*range(0, last, self._tile - self._overlap), last]


def _borders(box):
    """(left, top, right, bottom) in whole pixels, rounded outward."""
    x, y, width, height = (float(number) for number in box)
    if not all(abs(number) < 1e9 for number in (x, y, width, height)):
        raise ValueError(f"the box {_text(box)} (x, y, width, height) is not of finite numbers below 1,000,000,000")
    if max(x + width, y + height) <= 1 and min(width, height) < 1:
        raise ValueError(f"the box {_text(box)} (x, y, width, height) lies inside the first pixel; give it in pixels, "
                         "not in shares of the image")
    return (math.floor(x + _ROUNDING), math.floor(y + _ROUNDING),
            math.ceil(x + width - _ROUNDING), math.ceil(y + height - _ROUNDING))


def _text(numbers):
    return "(" + ", ".join(f"{float(number):g}" for number in numbers) + ")"


def _vector(item, column):
    """The item's vector as numbers, None where it has none."""
    try:
        return schema.settle({column: item.columns.get(column, "")}).get(column)
    except ValueError as error:
        raise ValueError(f"`{item.path}`: {error}") from None


def _count(source, column):
    count = sum(_vector(item, column) is not None for item in source)
    if not count:
        raise ValueError(f"none of the {len(source):,} images has the column `{column}` to cut by; give it in a CSV or "
                         "leave out the cut.")
    return count


def _moved(item, x, y):
    """{"landmarks": as they count from (x, y)}, {} where there are none."""
    landmarks = _vector(item, "landmarks")
    return {"landmarks": tuple(np.subtract(landmarks, (x, y) * 5).tolist())} if landmarks else {}


def _part(item, box, columns, image, mask):
    return item._replace(read=functools.partial(image.cut, box), columns={**item.columns, **columns},
                         mask=mask and functools.partial(mask.cut, box), stamp=_stamp(item, box))


def _stamp(item, numbers):
    return item.stamp and f"{item.stamp} {_text(numbers)}"


def _size(item):
    """(height, width), (0, 0) where it cannot be read."""
    try:
        height, width = examine.size_of(item.read())
    except (OSError, ValueError):
        return 0, 0
    # A header may claim anything; who decodes it refuses it with the reason.
    return (height, width) if height * width <= decode.MAX_PIXELS else (0, 0)


def _aligned(read, landmarks, size, nearest):
    """The aligned image or mask in its own dtype."""
    pixels = examine.pixels(read())
    points = np.reshape(landmarks, (1, 5, 2)).astype(np.float32)
    if np.ptp(points) < 2:
        raise ValueError("the landmarks lie within two pixels; give them in pixels, not in shares of the image")
    warped = align.align(pixels[None].astype(np.float32), points, size, nearest)[0].numpy()
    return warped if pixels.dtype == np.float32 else np.rint(warped).astype(pixels.dtype)
