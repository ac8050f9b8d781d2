"""Reading what `tfrecords.write` wrote: any row at any time, every byte checked."""

import hashlib
import io
import json
import os
import re
import sys
import threading
import zlib
from array import array

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from tfrecords import schema

MANIFEST = "manifest.json"
HEADER, FOOTER = 12, 4                      # bytes around a record's data in a TFRecord file

_MOST_OPEN = 256                            # file descriptors a reader keeps


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
        """One category or number column, or `height`, `width`, `channels`: int64 [N], -1 = none."""
        known = [column for column in self.manifest["columns"] if column not in schema.TEXTS]
        if name not in known and name not in ("height", "width", "channels"):
            raise ValueError(f"the data `{self.name}` have no column `{name}`; present are "
                             f"{', '.join(known) or 'none'}.")
        return self._index[name].astype(np.int64)

    def names(self, column):
        """The names that a category column's numbers stand for: list of str."""
        if column not in self.manifest["names"]:
            raise ValueError(f"the data `{self.name}` have no category column `{column}`; present are "
                             f"{', '.join(self.manifest['names']) or 'none'}.")
        return list(self.manifest["names"][column])

    def values(self, column, rows):
        """A category column as text, or a text column, for these rows: list of str, "" = none."""
        if column in schema.TEXTS and self.has(column):
            return [row.get(column, "") for row in self.rows(rows)]
        names = self.names(column)
        return [names[value] if value >= 0 else "" for value in self.column(column)[self._row_numbers(rows)]]

    def serialized(self, rows):
        """Records as they were written: object array of bytes, in the order of `rows`.

        Raises:  ValueError for a row that does not exist and for a damaged record, named by shard and number.
        """
        rows = self._row_numbers(rows)
        found = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            data = self._read(row)
            fault = self._fault(row, data)
            if fault:
                raise ValueError(f"{fault}; write the data again or put back a sound copy of the shard.")
            found[i] = data
        return found

    def rows(self, rows):
        """Whole records: list of {feature: value}, as `schema.parse` gives them."""
        return [schema.parse(data) for data in self.serialized(rows)]

    def images(self, rows):
        """Encoded images: list of bytes."""
        return [row["image"] for row in self.rows(rows)]

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
                    raise ValueError(f"{fault}; write the data again or put back a sound copy of the shard.")
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
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            return self._rebuilt_index(path)
        if hashlib.sha256(data).hexdigest() != self.manifest["index"]["sha256"]:
            raise ValueError(f"the index `{path}` does not belong to its manifest (other sha256); delete it "
                             "and it is made anew from the shards.")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                index = dict(arrays)
        except Exception as error:          # bytes that are no index make NumPy raise almost anything
            raise ValueError(f"the index `{path}` is not readable ({error}); delete it and it is made anew from the "
                             "shards.") from None
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
        data = builder.encoded()
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
    length int64, crc uint32 (zlib.crc32 of the data), height and width int32, channels int8, and every
    present category and number column int64, -1 = none.

    Args:    columns: the present columns.
    """

    TYPES = {"shard": np.int32, "offset": np.int64, "length": np.int64, "crc": np.uint32, "height": np.int32,
              "width": np.int32, "channels": np.int8}

    def __init__(self, columns):
        columns = [column for column in columns if column not in schema.TEXTS]
        # Arrays, not lists: 8 bytes a number, however many records.
        self._lists = {name: array("q") for name in (*self.TYPES, *columns)}
        self._shard, self._offset = 0, 0

    def shard(self, number):
        """Starts the shard of this number."""
        self._shard, self._offset = number, 0

    def record(self, data, row):
        """Takes the next record of the shard: its bytes and its features."""
        place = {"shard": self._shard, "offset": self._offset + HEADER, "length": len(data),
                 "crc": zlib.crc32(data)}
        for name, values in self._lists.items():
            values.append(place[name] if name in place else row.get(name, -1))
        self._offset += HEADER + len(data) + FOOTER

    @property
    def bytes(self):
        """Length of the shard up to here."""
        return self._offset

    def arrays(self):
        return {name: np.array(values, self.TYPES.get(name, np.int64))
                for name, values in self._lists.items()}

    def encoded(self):
        """The bytes of index.npz; equal rows give equal bytes."""
        stream = io.BytesIO()
        np.savez(stream, **self.arrays())
        return stream.getvalue()


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
    if not _whole(manifest.get("channels")) or manifest["channels"] not in (1, 3):
        return "channels"
    if not _different_texts(columns) or not set(columns) <= set(schema.COLUMNS):
        return "columns"
    if (not isinstance(names, dict) or set(names) != set(columns) & set(schema.CATEGORIES)
            or not all(_different_texts(values) for values in names.values())):
        return "names"
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
        if values is None or values.dtype != kind or values.shape != (manifest["count"],):
            return name
        if values.min() < least or values.max() > most:
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
              "crc": (0, 2 ** 32 - 1), "height": (1, most), "width": (1, most), "channels": (1, 4)}
    for column in manifest["columns"]:
        if column not in schema.TEXTS:
            ranges[column] = (-1, len(manifest["names"][column]) - 1 if column in schema.CATEGORIES else most)
    return ranges


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
