"""Reading what `tfrecords.write` wrote: any row at any time, every byte checked."""

import hashlib
import io
import json
import math
import os
import re
import sys
import threading
import zipfile
import zlib
from array import array

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from tfrecords import schema

MANIFEST = "manifest.json"
HEADER, FOOTER = 12, 4                      # bytes around a record's data in a TFRecord file

MOST_BANDS = 1024                           # channels of an image

_FLOAT32 = float(np.finfo(np.float32).max)
_MOST_OPEN = 256                            # file descriptors a reader keeps


class DamagedError(ValueError):
    """A record whose bytes are not those that were written.   Args: row: its number.  fault: what is wrong."""

    def __init__(self, row, fault):
        super().__init__(f"{fault}; write the data again or put back a sound copy of the shard.")
        self.row = row


class Records:
    """The records of one data folder, by row number.

    Opening reads the manifest and the side-car index only; images are read when asked for, each with its
    checksum. Reading is safe from several threads.

    Args:    directory: what `--out` was when the data were written.
    Raises:  FileNotFoundError or ValueError where manifest, index or a shard is missing or does not fit.
    """

    def __init__(self, directory):
        self.directory = os.path.expanduser(str(directory))
        self.manifest = _manifest(self.directory)
        self.name = self.manifest["name"]
        self.count = self.manifest["count"]
        self.channels = self.manifest["channels"]
        self._shards = self.manifest["shards"]
        self._check_shards()
        self._first_rows = np.cumsum([0] + [shard["count"] for shard in self._shards])
        self._index = self._load_index()
        self._descriptors, self._lock = {}, threading.Lock()

    def __len__(self):
        return self.count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Gives the file descriptors back; reading opens them again."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def has(self, column):
        return column in self.manifest["columns"]

    def column(self, name):
        """One column by row, also `index`, `height`, `width`, `channels` and `bytes` (of the record).

        Returns: int64 [N], -1 = none, of a category or number; float32 [N], NaN = none, of a real; float32 [N, k] of a
                 vector; bool [N] of `mask`: whether there is one.
        Raises:  ValueError where the data have no such column, or several values an image (see `several`).
        """
        values = self._array(name)
        if name in self.manifest["several"]:
            raise ValueError(f"the data `{self.name}` have up to {values.shape[1]} values of `{name}` an image but "
                             "this takes one; write them with one each.")
        return values

    def several(self, name):
        """A column that may hold several values an image: int64 [N, most], the values first, then -1."""
        if name not in schema.SEVERAL:
            raise ValueError(f"`{name}` never has several values; those that may are {', '.join(schema.SEVERAL)}.")
        values = self._array(name)
        return values if values.ndim == 2 else values[:, None]

    def _array(self, name):
        known = [column for column in self.manifest["columns"] if column not in schema.TEXTS]
        if name not in (*known, "index", "height", "width", "channels", "bytes"):
            raise ValueError(f"the data `{self.name}` have no column `{name}`; present are "
                             f"{', '.join(known) or 'none'}.")
        values = self._index["length" if name == "bytes" else name]
        if name in schema.PICTURES:
            return values == 1
        return values if values.dtype == np.float32 else values.astype(np.int64)

    @property
    def synthetic(self):
        """Whether any of the images are made up, which every result on them must say."""
        return self.manifest["synthetic"]

    def pairs(self):
        """Listed pairs of rows: {"first", "second", "same" (0 or 1), "fold" (-1 = none)}, int64 [M]; None = no list.

        Raises:  ValueError where the list is not the one that was written.
        """
        entry = self.manifest.get("pairs")
        if entry is None:
            return None
        arrays = _unpacked(os.path.join(self.directory, entry["file"]), entry["sha256"], "list of pairs",
                           "write the data again")
        if _faulty_pairs(arrays, entry["count"], self.count):
            raise ValueError(f"the list of pairs of `{self.name}` does not fit its data; write the data again.")
        return arrays

    def names(self, column):
        """The names that a category column's numbers stand for: list of str."""
        if column not in self.manifest["names"]:
            raise ValueError(f"the data `{self.name}` have no category column `{column}`; present are "
                             f"{', '.join(self.manifest['names']) or 'none'}.")
        return list(self.manifest["names"][column])

    def values(self, column, rows):
        """A category column as text ("a|b" for several), or a text column, for these rows: list of str, "" = none."""
        if column in schema.TEXTS and self.has(column):
            return [row.get(column, "") for row in self.rows(rows)]
        names = self.names(column)
        if column not in schema.SEVERAL:
            return [names[value] if value >= 0 else "" for value in self.column(column)[self._row_numbers(rows)]]
        return ["|".join(names[value] for value in values if value >= 0)
                for values in self.several(column)[self._row_numbers(rows)]]

    def serialized(self, rows):
        """Records as they were written: object array of bytes, in the order of `rows`.

        Raises:  ValueError for a row that does not exist; DamagedError, which names shard and record.
        """
        rows = self._row_numbers(rows)
        found = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            data = self._read(row)
            fault = self._fault(row, data)
            if fault:
                raise DamagedError(int(row), fault)
            found[i] = data
        return found

    def rows(self, rows):
        """Whole records: list of {feature: value}, as `schema.parse` gives them."""
        return [schema.parse(data) for data in self.serialized(rows)]

    def images(self, rows):
        """Stored images, as a `tfrecords.decode.Decoder` of these data takes them: list of bytes."""
        return [row["image"] for row in self.rows(rows)]

    def masks(self, rows):
        """Masks, encoded as PNG of one channel: list of bytes, b"" = none."""
        return [row.get("mask", b"") for row in self.rows(rows)]

    def paths(self, rows):
        """Where the images lay in their source: list of str."""
        return [row["path"] for row in self.rows(rows)]

    def verify(self):
        """Reads every byte of every shard against the manifest's sha256.

        Raises:  ValueError that names the shard and its first damaged record.
        """
        for number, shard in enumerate(_progress(self._shards, "verifying")):
            if file_sha256(os.path.join(self.directory, shard["file"])) == shard["sha256"]:
                continue
            for row in range(self._first_rows[number], self._first_rows[number + 1]):
                fault = self._fault(row, self._read(row))
                if fault:
                    raise DamagedError(row, fault)
            raise ValueError(f"shard {shard['file']} is damaged between its records: its sha256 is not the "
                             "manifest's; write the data again or put back a sound copy.")

    def _row_numbers(self, rows):
        numbers = np.asarray(rows).reshape(-1)
        if not len(numbers):
            return numbers.astype(np.int64)
        if numbers.dtype.kind not in "iu":
            raise ValueError(f"rows are {numbers.dtype} but must be whole numbers; give np.flatnonzero of a "
                             "mask.")
        low, high = numbers.min(), numbers.max()
        if low < 0 or high >= self.count:
            raise ValueError(f"row {low if low < 0 else high} does not exist; the rows are 0 to "
                             f"{self.count - 1}.")
        return numbers.astype(np.int64)

    def _read(self, row):
        index = self._index
        number = int(index["shard"][row])
        offset, length = int(index["offset"][row]), int(index["length"][row])
        with self._lock:
            descriptor = self._descriptors.get(number)
            if descriptor is None and len(self._descriptors) < _MOST_OPEN:
                descriptor = self._descriptors[number] = self._open(number)
        if descriptor is not None:
            return os.pread(descriptor, length, offset)
        # Beyond the bound each read opens its own: closing a shared one could hit another thread's read.
        descriptor = self._open(number)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def _open(self, number):
        return os.open(os.path.join(self.directory, self._shards[number]["file"]), os.O_RDONLY)

    def _fault(self, row, data):
        """What is wrong with a record's bytes, or "" for nothing."""
        number = int(self._index["shard"][row])
        length = int(self._index["length"][row])
        place = (f"shard {self._shards[number]['file']}, record {row - self._first_rows[number]} (row {row}) "
                 "is damaged: ")
        if len(data) != length:
            return f"{place}only {len(data)} of its {length} bytes are there"
        if zlib.crc32(data) != self._index["crc"][row]:
            return f"{place}its checksum differs"
        return ""

    def _check_shards(self):
        for shard in self._shards:
            path = os.path.join(self.directory, shard["file"])
            size = os.path.getsize(path) if os.path.isfile(path) else None
            if size is None:
                raise FileNotFoundError(f"shard {shard['file']} is missing in `{self.directory}`; put it "
                                        "back or write the data again.")
            if size != shard["bytes"]:
                raise ValueError(f"shard {shard['file']} in `{self.directory}` has {size:,} bytes but must "
                                 f"have {shard['bytes']:,}; put back a sound copy or write the data again.")

    def _load_index(self):
        path = os.path.join(self.directory, self.manifest["index"]["file"])
        if not os.path.lexists(path):
            return self._rebuilt_index(path)
        index = _unpacked(path, self.manifest["index"]["sha256"], "index",
                          "delete it and it is made anew from the shards")
        faulty = _faulty_array(index, self.manifest)
        if faulty:
            raise ValueError(f"the index `{path}` has no array `{faulty}` that fits its manifest and shards; delete it "
                             "and it is made anew from the shards, or write the data again.")
        return index

    def _rebuilt_index(self, path):
        """The index from the shards themselves; put back in its place where that gives the same bytes."""
        builder = IndexBuilder(self.manifest["columns"])
        for number, shard in enumerate(_progress(self._shards, "making the index anew")):
            builder.shard(number)
            record = 0
            try:
                shard_path = os.path.join(self.directory, shard["file"])
                for data in tf.data.TFRecordDataset(shard_path).as_numpy_iterator():
                    builder.record(data, schema.parse(data))
                    record += 1
            except (tf.errors.OpError, ValueError):
                raise ValueError(f"shard {shard['file']}, record {record} is damaged; put back a sound copy "
                                 "of the shard or write the data again.") from None
            if record != shard["count"]:
                raise ValueError(f"shard {shard['file']} holds {record} records but must hold "
                                 f"{shard['count']}; put back a sound copy or write the data again.")
        arrays = builder.arrays()
        faulty = _faulty_array(arrays, self.manifest)
        if faulty:
            raise ValueError(f"the shards in `{self.directory}` have a `{faulty}` that does not fit their {MANIFEST}; "
                             "write the data again.")
        data = packed(arrays)
        if hashlib.sha256(data).hexdigest() == self.manifest["index"]["sha256"]:
            temporary = f"{path}.{os.getpid()}"
            try:
                with open(temporary, "wb") as stream:
                    stream.write(data)
                os.replace(temporary, path)
            except OSError:
                pass                        # a read-only folder: the index is made again next time
        return arrays


class IndexBuilder:
    """Collects, record by record, where everything lies: the contents of index.npz.

    Arrays, one entry a row: shard int32, offset int64 (of the record's data, behind the 12 bytes before it),
    length int64, crc uint32 (zlib.crc32 of the data), index int64, height and width int32, channels int16, and of the
    present columns: int64 for a category or number (-1 = none; [N, most] where an image has several values), float32
    for a real (NaN = none) and [N, k] for a vector, int8 for `mask` (1 = there is one).

    Args:    columns: the present columns.
    """

    TYPES = {"shard": np.int32, "offset": np.int64, "length": np.int64, "crc": np.uint32, "index": np.int64,
             "height": np.int32, "width": np.int32, "channels": np.int16,
             **dict.fromkeys((*schema.REALS, *schema.VECTORS), np.float32), **dict.fromkeys(schema.PICTURES, np.int8)}

    def __init__(self, columns):
        self._columns = [column for column in columns if column not in schema.TEXTS]
        # Arrays, not lists: 8 bytes a number, however many records.
        self._lists = {name: array("d" if self._type(name) == np.float32 else "q")
                       for name in (*self.TYPES, *self._columns)
                       if name in self._columns or name not in schema.COLUMNS}
        self._several = {}                          # {column: {row: all values}} of images with several
        self._shard, self._offset, self.count = 0, 0, 0

    @classmethod
    def _type(cls, name):
        return cls.TYPES.get(name, np.int64)

    def shard(self, number):
        """Starts the shard of this number."""
        self._shard, self._offset = number, 0

    def record(self, data, row):
        """Takes the next record of the shard: its bytes and its features."""
        place = {"shard": self._shard, "offset": self._offset + HEADER, "length": len(data),
                 "crc": zlib.crc32(data)}
        for name, values in self._lists.items():
            if name in schema.PICTURES:
                values.append(name in row)
            elif name in schema.VECTORS:
                values.extend(row.get(name, (math.nan,) * schema.VECTORS[name]))
            elif name in schema.REALS:
                values.append(row.get(name, math.nan))
            else:
                value = place[name] if name in place else row.get(name, -1)
                if isinstance(value, tuple):
                    self._several.setdefault(name, {})[self.count] = value
                    value = value[0]
                values.append(value)
        self._offset += HEADER + len(data) + FOOTER
        self.count += 1

    @property
    def bytes(self):
        """Length of the shard up to here."""
        return self._offset

    def arrays(self):
        arrays = {name: np.array(values, self._type(name)) for name, values in self._lists.items()}
        for name in schema.VECTORS:
            if name in arrays:
                arrays[name] = arrays[name].reshape(-1, schema.VECTORS[name])
        for name, rows in self._several.items():
            wide = np.full((self.count, max(map(len, rows.values()))), -1, np.int64)
            wide[:, 0] = arrays[name]
            for row, values in rows.items():
                wide[row, :len(values)] = values
            arrays[name] = wide
        return arrays


def joined(parts):
    """The index of all shards from those of the single ones, in order."""
    found = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        if name in schema.SEVERAL and any(array.ndim == 2 for array in arrays):
            arrays = [array if array.ndim == 2 else array[:, None] for array in arrays]
            most = max(array.shape[1] for array in arrays)
            arrays = [np.pad(array, ((0, 0), (0, most - array.shape[1])), constant_values=-1) for array in arrays]
        found[name] = np.concatenate(arrays)
    return found


def packed(arrays):
    """The bytes of an .npz of these arrays; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _unpacked(path, sha256, what, remedy):
    """The arrays of an .npz that a manifest vouches for."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"the {what} `{path}` is missing; {remedy}.") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"the {what} `{path}` does not belong to its manifest (other sha256); {remedy}.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("its arrays are compressed")       # and may unpack to any size
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:          # bytes that are no arrays make NumPy raise almost anything
        raise ValueError(f"the {what} `{path}` is not readable ({error}); {remedy}.") from None


def file_sha256(path):
    """sha256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2 ** 20):
            digest.update(block)
    return digest.hexdigest()


def _progress(things, what):
    """The things, with a bar on a terminal's stderr."""
    return track(things, what, console=Console(stderr=True), disable=not sys.stderr.isatty())


def data_sha256(shards):
    """The data hash: sha256 over the shards' sha256 digits, in order."""
    return hashlib.sha256("".join(shard["sha256"] for shard in shards).encode()).hexdigest()


def _manifest(directory):
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, encoding="utf-8") as stream:
            manifest = json.load(stream)
    except FileNotFoundError:
        raise FileNotFoundError(f"`{directory}` holds no {MANIFEST}; give a folder that "
                                "`python -m tfrecords.write` wrote.") from None
    except (ValueError, NotADirectoryError, RecursionError) as error:
        raise ValueError(f"`{path}` is not a readable manifest ({error}); write the data again.") from None
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if version != schema.VERSION:
        raise ValueError(f"`{path}` is of schema version {version} but this suite reads version "
                         f"{schema.VERSION}; write the data again.")
    faulty = _faulty_entry(manifest)
    if faulty:
        raise ValueError(f"`{path}` has a faulty entry `{faulty}`; write the data again.")
    return manifest


def _faulty_entry(manifest):
    """The first entry that is not as `tfrecords.write` makes it, or "" for none; what only informs is not judged."""
    name, count, columns, names = (manifest.get(key) for key in ("name", "count", "columns", "names"))
    shards, index = manifest.get("shards"), manifest.get("index")
    if not isinstance(name, str):
        return "name"
    if not _whole(count) or count < 1:
        return "count"
    if manifest.get("dtype") not in ("uint8", "uint16", "float32"):
        return "dtype"
    if manifest.get("raw") not in (True, False) or manifest["dtype"] == "float32" and not manifest["raw"]:
        return "raw"
    channels = manifest.get("channels")
    if not _whole(channels) or not (1 <= channels <= MOST_BANDS if manifest["raw"] else channels in (1, 3)):
        return "channels"
    if not _sound_scaling(manifest.get("scaling"), channels):
        return "scaling"
    aligned = manifest.get("aligned", 0)
    if not _whole(aligned) or not 0 <= aligned <= 4096:
        return "aligned"
    if manifest.get("synthetic") not in (True, False):
        return "synthetic"
    if not _different_texts(columns) or not set(columns) <= set(schema.COLUMNS):
        return "columns"
    if (not isinstance(names, dict) or set(names) != set(columns) & set(schema.CATEGORIES)
            or not all(_different_texts(values) for values in names.values())):
        return "names"
    several = manifest.get("several")
    if (not isinstance(several, dict) or not set(several) <= set(columns) & set(schema.SEVERAL)
            or not all(_whole(most) and most > 1 for most in several.values())):
        return "several"
    if "pairs" in manifest and not _sound_pairs(manifest["pairs"]):
        return "pairs"
    if (not isinstance(shards, list) or not all(_sound(shard) for shard in shards)
            or sum(shard["count"] for shard in shards) != count):
        return "shards"
    if not isinstance(index, dict) or not _plain(index.get("file")) or not _is_sha256(index.get("sha256")):
        return "index"
    return "" if manifest.get("data_sha256") == data_sha256(shards) else "data_sha256"


def _faulty_array(index, manifest):
    """The first array of the index that is missing or does not fit the manifest, or "" for none."""
    for name, (least, most) in _index_ranges(manifest).items():
        values = index.get(name)
        kind = IndexBuilder.TYPES.get(name, np.int64)
        wide = schema.VECTORS.get(name) or manifest["several"].get(name)
        shape = (manifest["count"], wide) if wide else (manifest["count"],)
        if values is None or values.dtype != kind or values.shape != shape:
            return name
        if kind == np.float32:
            if np.isinf(values).any():
                return name
        elif values.min() < least or values.max() > most:
            return name
    shards = manifest["shards"]
    if (index["shard"] != np.repeat(np.arange(len(shards)), [shard["count"] for shard in shards])).any():
        return "shard"
    ends = np.array([shard["bytes"] for shard in shards])[index["shard"]] - FOOTER
    if (index["offset"] > ends).any():
        return "offset"
    return "length" if (index["length"] > ends - index["offset"]).any() else ""     # a sum could overflow


def _index_ranges(manifest):
    """{array of the index: (least, most) of its values}."""
    most = np.iinfo(np.int64).max
    ranges = {"shard": (0, len(manifest["shards"]) - 1), "offset": (HEADER, most), "length": (0, most),
              "crc": (0, 2 ** 32 - 1), "index": (0, most), "height": (1, most), "width": (1, most),
              "channels": (1, MOST_BANDS)}
    for column in manifest["columns"]:
        if column in schema.CATEGORIES:
            ranges[column] = (-1, len(manifest["names"][column]) - 1)
        elif column not in schema.TEXTS:
            ranges[column] = (0, 1) if column in schema.PICTURES else (-1, most)
    return ranges


def _faulty_pairs(arrays, count, rows):
    """Whether a list of pairs is not as `tfrecords.write` makes it."""
    if set(arrays) != {"first", "second", "same", "fold"}:
        return True
    if any(values.dtype != np.int64 or values.shape != (count,) for values in arrays.values()):
        return True
    ends = np.concatenate([arrays["first"], arrays["second"]])
    return bool(len(ends) and (ends.min() < 0 or ends.max() >= rows) or not np.isin(arrays["same"], (0, 1)).all())


def _sound_pairs(entry):
    return (isinstance(entry, dict) and _plain(entry.get("file")) and _is_sha256(entry.get("sha256"))
            and _whole(entry.get("count")) and entry["count"] >= 0)


def _sound_scaling(scaling, channels):
    """Whether there are finite bounds for every channel, the upper one above the lower one."""
    if not isinstance(scaling, dict):
        return False
    sides = [scaling.get("low"), scaling.get("high")]
    if not all(isinstance(side, list) and len(side) == channels and all(_is_finite(value) for value in side)
               for side in sides):
        return False
    return all(low < high and high - low < _FLOAT32 for low, high in zip(*sides))


def _is_finite(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _FLOAT32


def _sound(shard):
    return (isinstance(shard, dict) and _plain(shard.get("file")) and _is_sha256(shard.get("sha256"))
            and all(_whole(shard.get(key)) and 0 <= shard[key] < 2 ** 63 for key in ("count", "bytes")))


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _different_texts(values):
    return (isinstance(values, list) and all(isinstance(value, str) for value in values)
            and len(set(values)) == len(values))


def _is_sha256(text):
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


def _plain(name):
    """A bare file name: a manifest may point nowhere outside its folder."""
    return (isinstance(name, str) and name == os.path.basename(name) and name not in ("", ".", "..")
            and "\0" not in name)
