"""What a record holds: the only place with feature names, dtypes and the version."""

import collections.abc
import math
import re
import typing

import tensorflow as tf
from google.protobuf.message import DecodeError

VERSION = 2

# Stored as int64 into manifest["names"][column]; -1 = none. `label` and `true_label` share their names.
CATEGORIES = ("label", "true_label", "identity", "camera", "case", "track", "dataset", "source", "orientation",
              "cohort", "split", "role")
SEVERAL = ("label", "true_label")                       # may hold several values an image, written "a|b"
NUMBERS = ("frame",)                                    # int64, -1 = none
REALS = ("target", "quality")                           # float32, NaN = none
# float32, NaN = none. bbox: x, y, width, height; landmarks: x, y of both eyes, nose, both corners of the mouth (left
# in the image first). Pixels, (0, 0) the upper left corner of the image; the bbox of a crop or tile is its place in
# the image it was cut from.
VECTORS = {"bbox": 4, "landmarks": 10}
PICTURES = ("mask",)                                    # encoded PNG of one channel, as large as the image
TEXTS = ("name",)                                       # bytes, empty = none
COLUMNS = (*CATEGORIES, *NUMBERS, *REALS, *VECTORS, *PICTURES, *TEXTS)      # an absent one is not written at all
INDEXED = tuple(column for column in COLUMNS if column not in TEXTS)        # what the side-car index holds
REQUIRED = ("image", "height", "width", "channels", "index", "path")
ROLES = ("query", "gallery", "train", "none")
PATTERN_GROUPS = (*CATEGORIES, *NUMBERS, *REALS, *TEXTS)
LONGEST = 1000                                          # characters of a value

_BYTES = frozenset(("image", "path", *TEXTS, *PICTURES))
_RAW = frozenset(("image", *PICTURES))
_FLOATS = {**dict.fromkeys(REALS, 1), **VECTORS}
_FEATURES = frozenset(REQUIRED + COLUMNS)
_LARGEST = 2 ** 63 - 1


class Item(typing.NamedTuple):
    """One image of a source, not read yet.

    A source is an iterable of items in a fixed order with `len()` and `description`, a dict of plain facts ("source",
    "location", ...; "synthetic": True for made-up images). It can be pickled and gone through again. It may have
    `between(start, stop)`, `ignored` (images left out) and `pairs` (path, path, same 0 or 1, fold or -1).

    Args:    path: where it lies inside its source, "/" between the levels.
             read: () -> encoded bytes of PNG, JPEG, GIF, BMP, WEBP, TIFF, PPM or NPY, or a uint8, uint16 or float32
             array [h, w] or [h, w, c]; OSError or ValueError where they cannot be had.
             columns: {column: value}; columns the source says nothing about are left out. A value is text, or a
             number, or numbers for a vector.
             mask: () -> the same of one channel for the image's mask, 0 = background; None = it has none.
             stamp: text that differs when the image has changed (size and time, a checksum); "" = not known.
    """

    path: str
    read: collections.abc.Callable
    columns: dict
    mask: collections.abc.Callable | None = None
    stamp: str = ""


def settle(columns):
    """Checks the columns of one image and brings them to stored form.

    Args:    columns: {column: str, int, float or a sequence of numbers}; `mask` is no column here.
    Returns: {column: str for a category or a text (a tuple of several for `SEVERAL`), int for a number, float for a
             real, tuple of floats for a vector}; empty values and role "none" left out.
    Raises:  ValueError for an unknown column, an unknown role or a number that is none.
    """
    settled = {}
    for column, value in columns.items():
        if column not in COLUMNS or column in PICTURES:
            known = [name for name in COLUMNS if name not in PICTURES]
            raise ValueError(f"`{column}` is not a column; the columns are {', '.join(known)}.")
        if column in VECTORS:
            value = _vector(column, value)
            if value is not None:
                settled[column] = value
            continue
        value = str(value)
        if len(value) > LONGEST:
            raise ValueError(f"`{column}` is {value[:40]!r}... of {len(value):,} characters but may have {LONGEST:,}.")
        if column == "role":
            if value not in ("", *ROLES):
                raise ValueError(f"`role` is {value!r} but must be one of {', '.join(ROLES)}.")
            value = "" if value == "none" else value
        if column in SEVERAL:
            parts = tuple(dict.fromkeys(part for part in value.split("|") if part))
            value = parts if len(parts) > 1 else "".join(parts)
        if value == "":
            continue
        if column in NUMBERS:
            # The length bound comes first: Python refuses to convert very long digit strings.
            if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= _LARGEST):
                raise ValueError(f"`{column}` is {value[:40]!r} but must be a whole number >= 0 of 64 bits.")
            value = int(value)
        elif column in REALS:
            value = _real(column, value)
        settled[column] = value
    return settled


def _real(column, value):
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 3e38:
        raise ValueError(f"`{column}` is {str(value)[:40]!r} but must be a finite number of 32 bits.")
    return number


def _vector(column, value):
    """The numbers of a vector: "1 2 3 4" (also by commas or semicolons) or a sequence; None for an empty one."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,;]+", value[:LONGEST]) if part]
    if not len(value):
        return None
    if len(value) != VECTORS[column]:
        raise ValueError(f"`{column}` has {len(value)} numbers but must have {VECTORS[column]}.")
    numbers = tuple(_real(column, part) for part in value)
    if column == "bbox" and min(numbers[2:]) <= 0:
        raise ValueError(f"`bbox` is {numbers} but its width and height (x, y, width, height) must be above 0.")
    return numbers


def serialize(row):
    """One record as the bytes of a tf.train.Example.

    Equal rows give equal bytes: the features are written in sorted order.

    Args:    row: {feature: int, float, str, bytes or a tuple of numbers}; all of `REQUIRED`, any of `COLUMNS`.
    Raises:  ValueError for a missing or an unknown feature.
    """
    missing = [name for name in REQUIRED if name not in row]
    unknown = sorted(set(row) - _FEATURES)
    if missing or unknown:
        raise ValueError(f"a record lacks {missing} and has unknown features {unknown}; it must hold "
                         f"{', '.join(REQUIRED)} and may hold {', '.join(COLUMNS)}.")
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        if name in _BYTES:
            # File names need not be valid UTF-8; the escape keeps their bytes.
            feature.bytes_list.value.append(
                value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape"))
        elif name in _FLOATS:
            feature.float_list.value.extend(value if isinstance(value, tuple) else (value,))
        else:
            feature.int64_list.value.extend(value if isinstance(value, tuple) else (int(value),))
    return example.SerializeToString(deterministic=True)


def parse(serialized):
    """The features of one record, on the host.

    Args:    serialized: bytes of one record.
    Returns: {feature: int, float, str, bytes for image and mask, a tuple for a vector or several labels}; only the
             features that are present.
    Raises:  ValueError where the bytes are no record of this schema.
    """
    try:
        example = tf.train.Example.FromString(serialized)
    except DecodeError:
        raise ValueError("the bytes are not a tf.train.Example.") from None
    row = {}
    for name, feature in example.features.feature.items():
        kind = "bytes_list" if name in _BYTES else "float_list" if name in _FLOATS else "int64_list"
        values = getattr(feature, kind).value
        fits = len(values) == _FLOATS.get(name, 1) or name in SEVERAL and len(values) > 1
        if name not in _FEATURES or not fits:
            raise ValueError(f"the record's feature `{name}` does not fit schema version {VERSION}.")
        value = values[0] if len(values) == 1 else tuple(values)
        row[name] = value.decode("utf-8", "surrogateescape") if name in _BYTES - _RAW else value
    missing = [name for name in REQUIRED if name not in row]
    if missing:
        raise ValueError(f"the record lacks {', '.join(missing)}.")
    return row
