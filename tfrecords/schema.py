"""What a record holds: the only place with feature names, dtypes and the version."""

import collections.abc
import typing

import tensorflow as tf
from google.protobuf.message import DecodeError

VERSION = 1

# Stored as int64 into manifest["names"][column]; -1 = none.
CATEGORIES = ("label", "identity", "camera", "case", "track", "dataset", "source", "split", "role")
NUMBERS = ("frame",)                                    # int64, -1 = none
TEXTS = ("name",)                                       # bytes, empty = none
COLUMNS = CATEGORIES + NUMBERS + TEXTS                  # optional: an absent one is not written at all
REQUIRED = ("image", "height", "width", "channels", "index", "path")
ROLES = ("query", "gallery", "train", "none")
PATTERN_GROUPS = ("label", "identity", "camera", "case", "track", "frame", "dataset", "source", "split",
                  "role", "name")

_BYTES = frozenset(("image", "path", *TEXTS))
_FEATURES = frozenset(REQUIRED + COLUMNS)
_LARGEST = 2 ** 63 - 1


class Item(typing.NamedTuple):
    """One image of a source, not read yet.

    Args:    path: where it lies inside its source, "/" between the levels.
             read: () -> encoded bytes; OSError where they cannot be had.
             columns: {column: str or int}; columns the source says nothing about are left out.
    """

    path: str
    read: collections.abc.Callable
    columns: dict


def settle(columns):
    """Checks the columns of one image and brings them to stored form.

    Args:    columns: {column: str or int}.
    Returns: {column: str for a category or a text, int for a number}; empty values and role "none" left out.
    Raises:  ValueError for an unknown column, an unknown role or a number that is none.
    """
    settled = {}
    for column, value in columns.items():
        if column not in COLUMNS:
            raise ValueError(f"`{column}` is not a column; the columns are {', '.join(COLUMNS)}.")
        value = str(value)
        if column == "role":
            if value not in ROLES:
                raise ValueError(f"`role` is {value!r} but must be one of {', '.join(ROLES)}.")
            value = "" if value == "none" else value
        if value == "":
            continue
        if column in NUMBERS:
            # The length bound comes first: Python refuses to convert very long digit strings.
            if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= _LARGEST):
                raise ValueError(f"`{column}` is {value[:40]!r} but must be a whole number >= 0 of 64 bits.")
            value = int(value)
        settled[column] = value
    return settled


def serialize(row):
    """One record as the bytes of a tf.train.Example.

    Equal rows give equal bytes: the features are written in sorted order.

    Args:    row: {feature: int, str or bytes}; all of `REQUIRED` and any of `COLUMNS`.
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
        else:
            feature.int64_list.value.append(int(value))
    return example.SerializeToString(deterministic=True)


def parse(serialized):
    """The features of one record, on the host.

    Args:    serialized: bytes of one record.
    Returns: {feature: int, str, or bytes for the image}; only the features that are present.
    Raises:  ValueError where the bytes are no record of this schema.
    """
    try:
        example = tf.train.Example.FromString(serialized)
    except DecodeError:
        raise ValueError("the bytes are not a tf.train.Example.") from None
    row = {}
    for name, feature in example.features.feature.items():
        values = feature.bytes_list.value if name in _BYTES else feature.int64_list.value
        if name not in _FEATURES or len(values) != 1:
            raise ValueError(f"the record's feature `{name}` does not fit schema version {VERSION}.")
        value = values[0]
        row[name] = value.decode("utf-8", "surrogateescape") if name in _BYTES and name != "image" else value
    missing = [name for name in REQUIRED if name not in row]
    if missing:
        raise ValueError(f"the record lacks {', '.join(missing)}.")
    return row


def image_bytes(serialized):
    """The encoded images of records, in the graph; nothing else is parsed.

    Args:    serialized: string [n].
    Returns: string [n].
    """
    return tf.io.parse_example(serialized, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]
