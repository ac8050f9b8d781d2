"""One shard from a range of the sources' images, and the data folder from all shards."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import time

import numpy as np
import tensorflow as tf

from tfrecords import read, schema
from tfrecords.examine import MOST_SKIPPED, Kind, Skipped, examine, mask_pixels, stored
from tfrecords.scaling import Values

SCALINGS = ("", "full", "range", "quantile")
MOST_SHARDS = 10_000
LEAST_SHARDS, IMAGES_A_SHARD = 8, 20_000        # where the number of shards is left to us

_PROBED = 100                                   # images that may be unusable before the first that tells the kind
_SEEN = 100                                     # unusable images before writing ends early because of them
_PAIRS = "pairs.npz"


class Plan:
    """What every shard of a data folder must know; it can be pickled and sent to other processes or machines.

    The sources are gone through once, without reading the images, to collect names and checksums of everything that
    decides the shards. Shard s holds the images [count s / shards, count (s + 1) / shards) of the listing, without
    those that cannot be used; its bytes depend on the plan and the images alone.

    Args:    sources: of `schema.Item`s, see `schema.Item`.
             name: what the data are called.  shards: how many, never more than images; 0 = 8 or one for 20,000 images.
             scaling: how pixels become [0, 1]: "full" range of the dtype, "range" of the values, "quantile" (from 1 to
             999 per mille of the values); "" = full for 8 bits, else range.
             split_shares: {split: share} deals the images by the hash of a column's value.
             split_by: that column; "" = case where there is one, else track, identity, or each image by itself.
             most_skipped: share of the images that may be unusable; None = `examine.MOST_SKIPPED`.
             tick: called for every listed image.
    Raises:  ValueError for columns or settings that do not fit, or no image.
    """

    def __init__(self, sources, name, shards=0, scaling="", split_shares=None, split_by="", most_skipped=None,
                 tick=lambda: None):
        if not re.fullmatch(r"\w[\w.-]{0,99}", name):
            raise ValueError(f"`name` is {name!r} but must be letters, digits, `_`, `.` and `-`; give another --name.")
        if not 0 <= shards <= MOST_SHARDS:
            raise ValueError(f"`shards` is {shards} but must lie in 1 to {MOST_SHARDS:,}, or 0 for as many as fit.")
        if scaling not in SCALINGS:
            raise ValueError(f"`scaling` is {scaling!r} but must be full, range or quantile.")
        if not sources:
            raise ValueError("there is nothing to write; give at least one source.")
        self.sources, self.name = list(sources), name
        self.most_skipped = MOST_SKIPPED if most_skipped is None else most_skipped
        self._dealer = _Dealer(split_shares, split_by) if split_shares else None
        self.columns, self.pairs, self.count = set(), None, 0
        self.kind = None
        digest = hashlib.sha256()
        first, positions = {}, {}                       # {column: {value: number}}, {source: {path: position}}
        for number, source in enumerate(self.sources):
            places = positions.setdefault(number, {}) if getattr(source, "pairs", None) else None
            for item in source:
                columns = self._columns(item)
                self.columns.update(columns, {"mask"} if item.mask else ())
                for column in columns:
                    if column in schema.CATEGORIES:
                        _number_values(first, column, columns[column])
                if places is not None:
                    places[item.path] = self.count
                if self.kind is None and self.count < _PROBED:
                    self._probe(item)
                digest.update(repr((item.path, item.stamp, sorted(columns.items()), bool(item.mask))).encode(
                    "utf-8", "surrogateescape"))
                self.count += 1
                tick()
        if not self.count:
            raise ValueError("the sources hold no image; give a folder, zip or file that does.")
        self.kind = self.kind or Kind("uint8", False, 0)
        self.names = {column: natural_order(values) for column, values in sorted(first.items())}
        for column in set(schema.SEVERAL) & set(self.names):        # they share their names
            self.names[column] = natural_order(set().union(*(first.get(other, ()) for other in schema.SEVERAL)))
        self.columns = [column for column in schema.COLUMNS if column in self.columns]
        self.shards = min(shards or max(LEAST_SHARDS, -(-self.count // IMAGES_A_SHARD)), self.count)
        self.scaling = scaling or ("full" if self.kind.dtype == "uint8" else "range")
        if self.scaling == "full" and self.kind.dtype == "float32":
            raise ValueError("`scaling` is 'full' but numbers of float32 have no full range; use range or quantile.")
        self.pairs = _positions_of(self.sources, positions)
        digest.update(repr((schema.VERSION, name, self.shards, self.scaling, self.kind,
                            [sorted(source.description.items()) for source in self.sources],
                            None if self.pairs is None else self.pairs.tobytes())).encode())
        self.digest = digest.hexdigest()

    def _columns(self, item):
        try:
            columns = schema.settle(item.columns)
            if self._dealer:
                if "split" in columns:
                    raise ValueError("its source gives it a split already; leave the shares or the split out.")
                columns["split"] = self._dealer(columns, item.path)
        except ValueError as error:
            raise ValueError(f"`{item.path}`: {error}") from None
        return columns

    def _probe(self, item):
        """The kind of all images is that of the first that can be used."""
        with contextlib.suppress(ValueError, OSError):
            self.kind = Kind.of(examine(item.read()))

    def file(self, number):
        return f"{self.name}-{number:05d}-of-{self.shards:05d}.tfrecord"

    def values(self):
        """What measures the pixels: nothing yet."""
        return Values(self.kind.bands or 3, self.kind.dtype, self.scaling)

    def items(self, number):
        """(place in the listing, item) of a shard's images."""
        first, last = (self.count * end // self.shards for end in (number, number + 1))
        before = 0
        for source in self.sources:
            start, stop = max(first - before, 0), min(last - before, len(source))
            if start < stop:
                # A source of millions can begin where it is asked to; others are passed through.
                own = getattr(source, "between", None)
                found = own(start, stop) if own else itertools.islice(source, start, stop)
                yield from enumerate(found, before + start)
            before += len(source)

    def record(self, place, item, values):
        """The record of one image.   Raises: ValueError or OSError where it cannot be used."""
        image = examine(item.read())
        self.kind.require(image)
        height, width, channels = image.pixels.shape
        row = {"image": stored(image, self.kind.raw), "height": height, "width": width, "channels": channels,
               "index": place, "path": item.path}
        for column, value in self._columns(item).items():
            if column in schema.CATEGORIES:
                numbers = self._numbers(column)
                value = tuple(numbers[one] for one in value) if isinstance(value, tuple) else numbers[value]
            row[column] = value
        if item.mask:
            row["mask"] = _mask(item.mask(), height, width)
        values.take(image.pixels[..., :image.bands])
        return row, image.turned

    def _numbers(self, column):
        if not hasattr(self, "_known"):
            self._known = {}
        if column not in self._known:
            self._known[column] = {value: i for i, value in enumerate(self.names[column])}
        return self._known[column]


def write_shard(plan, number, folder, tick=lambda: None):
    """Writes shard `number` to `folder`/data and what is known of it to `folder`/parts, unless it is finished there.

    A finished shard is never written again; whatever happens in between, an unfinished one leaves only a file of a
    temporary name. Equal plans give equal bytes, in whatever process.

    Raises:  ValueError or OSError with the reason.
    """
    if is_finished(plan, number, folder):
        return
    index = read.IndexBuilder(plan.columns)
    values = plan.values()
    skipped, turned = Skipped(), 0
    index.shard(number)
    temporary = os.path.join(folder, "parts", f"{number:05d}-{os.getpid()}.tfrecord")
    with _as_os_error(temporary):
        with tf.io.TFRecordWriter(temporary) as writer:
            for place, item in plan.items(number):
                tick()
                try:
                    row, was_turned = plan.record(place, item, values)
                except (ValueError, OSError) as error:
                    skipped.add(item.path, error)
                    if skipped.count > max(_SEEN, plan.most_skipped * plan.count):       # no need to see the rest
                        skipped.judge(plan.count - skipped.count, plan.most_skipped)
                    continue
                data = schema.serialize(row)
                writer.write(data)
                index.record(data, row)
                turned += was_turned
        entry = {"file": plan.file(number), "count": index.count, "bytes": index.bytes,
                 "sha256": settled(temporary, index.bytes)}
        os.rename(temporary, os.path.join(folder, "data", entry["file"]))
        sync(os.path.join(folder, "data"))
        facts = {"entry": entry, "skipped": skipped.facts(), "turned": turned}
        write_file(_part(folder, number), read.packed(
            {**{f"index/{name}": array for name, array in index.arrays().items()},
             **{f"values/{name}": array for name, array in values.arrays().items()},
             "facts": np.array(json.dumps(facts))}))


def is_finished(plan, number, folder):
    """Whether both the shard and what is known of it are there."""
    return os.path.isfile(_part(folder, number)) and os.path.isfile(os.path.join(folder, "data", plan.file(number)))


def assemble(plan, folder):
    """Index and manifest of the finished shards, in `folder`/data.   Returns: the manifest."""
    parts = []
    for number in range(plan.shards):
        with np.load(_part(folder, number), allow_pickle=False) as arrays:
            parts.append(dict(arrays))
    facts = [json.loads(str(part["facts"])) for part in parts]
    skipped = Skipped()
    for part in facts:
        skipped.extend(part["skipped"]["count"], part["skipped"]["unreadable"])
    shards = [part["entry"] for part in facts]
    count = sum(shard["count"] for shard in shards)
    skipped.judge(count, plan.most_skipped)
    index = read.joined([{name.removeprefix("index/"): array for name, array in part.items()
                          if name.startswith("index/")} for part in parts])
    values = plan.values()
    for part in parts:
        values.add({name.removeprefix("values/"): array for name, array in part.items()
                    if name.startswith("values/")})
    data = os.path.join(folder, "data")
    write_file(os.path.join(data, "index.npz"), read.packed(index))
    channels = plan.kind.bands if plan.kind.raw else 1 if index["channels"].max() < 3 else 3
    low, high = values.bounds(channels)
    splits = index.get("split", np.zeros(0, np.int64))
    sizes = index["height"], index["width"]
    manifest = {
        "version": schema.VERSION,
        "name": plan.name,
        "count": count,
        "dtype": plan.kind.dtype,
        "raw": plan.kind.raw,
        "channels": channels,
        "scaling": {"method": plan.scaling, "low": low, "high": high},
        "columns": plan.columns,
        "names": plan.names,
        "several": {column: index[column].shape[1] for column in schema.SEVERAL
                    if column in plan.columns and index[column].ndim == 2},
        "splits": {split: int((splits == i).sum()) for i, split in enumerate(plan.names.get("split", []))},
        "sizes": {key: [int(pick(side)) for side in sizes]
                  for key, pick in (("minimum", np.min), ("median", np.median), ("maximum", np.max))},
        "shards": shards,
        "index": {"file": "index.npz", "sha256": settled(os.path.join(data, "index.npz"))},
        "skipped": skipped.facts(),
        "turned": sum(part["turned"] for part in facts),
        "created_from": [{**source.description, **_ignored(source)} for source in plan.sources],
        "synthetic": any(source.description.get("synthetic") for source in plan.sources),
        "data_sha256": read.data_sha256(shards),
    }
    if plan.pairs is not None:
        manifest["pairs"] = _write_pairs(plan.pairs, index["index"], data)
    aligned = {source.description.get("align_size", 0) for source in plan.sources}
    if len(aligned) == 1 and aligned != {0} and not plan.kind.raw:
        manifest["aligned"] = aligned.pop()
    write_file(os.path.join(data, read.MANIFEST), json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    sync(data)
    return manifest


class Workplace:
    """The folder beside `out` in which a data folder comes to be; only one process has it at a time.

    `<out>.writing` holds data/ (what will become `out`), parts/ (what is known of finished shards) and the plan's
    digest. Work for the same plan is gone on with, other work is thrown away.

    Args:    out: absolute path of the data folder to be.  plan: of it.  overwrite: replace data that lie at `out`.
    Raises:  FileExistsError where data lie at `out` that must stay; BlockingIOError where another process writes.
    """

    def __init__(self, out, plan, overwrite):
        self.out, self.overwrite = out, overwrite
        self.folder = f"{out}.writing"
        require_free(out, overwrite)
        os.makedirs(self.folder, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            self._take(plan)
        except BaseException:
            os.close(self._lock)
            raise

    def _take(self, plan):
        try:
            _flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another process is writing `{self.out}`; wait for it or give another "
                                  "--out.") from None
        put_back(self.out)
        parts = os.path.join(self.folder, "parts")
        os.makedirs(parts, exist_ok=True)
        wait_for_workers(parts)
        digest = os.path.join(self.folder, "plan")
        if not os.path.isfile(digest) or pathlib.Path(digest).read_text() != plan.digest:
            for name in os.listdir(self.folder):
                _remove(os.path.join(self.folder, name))
            os.mkdir(parts)
        for name in os.listdir(parts):
            if name.endswith(".tfrecord"):              # an unfinished shard of a killed process
                _remove(os.path.join(parts, name))
        data = os.path.join(self.folder, "data")
        os.makedirs(data, exist_ok=True)
        for name in set(os.listdir(data)) - {plan.file(number) for number in range(plan.shards)}:
            _remove(os.path.join(data, name))           # half a manifest of a killed process
        write_file(digest, plan.digest)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        """Wrong input leaves nothing behind; what was interrupted leaves its finished shards for the next time."""
        if kind and (issubclass(kind, ValueError) or not any(
                name.endswith(".npz") for name in os.listdir(os.path.join(self.folder, "parts")))):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def publish(self):
        """The finished data take their place; data to be replaced step aside first."""
        require_free(self.out, self.overwrite)
        if os.path.isfile(os.path.join(self.out, read.MANIFEST)):
            os.rename(self.out, f"{self.out}.replaced")
        try:
            os.rename(os.path.join(self.folder, "data"), self.out)
        finally:
            put_back(self.out)
        sync(os.path.dirname(self.out))
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def working(folder):
    """Held by a process that writes shards to a workplace, so that the next owner waits for its end."""
    descriptor = os.open(os.path.join(folder, "parts"), os.O_RDONLY)
    try:
        _flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def wait_for_workers(parts, seconds=30):
    """Waits until processes that a killed owner left behind have ended."""
    descriptor = os.open(parts, os.O_RDONLY)
    try:
        for _ in range(10 * seconds):
            try:
                return _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
        raise BlockingIOError(f"processes of an earlier call still write to `{os.path.dirname(parts)}`; end them "
                              "first.")
    finally:
        os.close(descriptor)


def _flock(descriptor, kind):
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        raise
    except OSError:
        pass            # a network file system without locks


def require_free(out, overwrite):
    """Raises: FileExistsError where something lies at `out` that must stay."""
    if os.path.isfile(os.path.join(out, read.MANIFEST)):
        if not overwrite:
            raise FileExistsError(f"`{out}` holds data already; give --overwrite to replace them or another --out.")
    elif os.path.lexists(out) and (not os.path.isdir(out) or os.listdir(out)):
        raise FileExistsError(f"`{out}` exists and is no data folder; give another --out.")


def put_back(out):
    """Data that stepped aside for new ones go back to `out` if nothing is there, and away if data are."""
    aside = f"{out}.replaced"
    if not os.path.isfile(os.path.join(aside, read.MANIFEST)):
        shutil.rmtree(aside, ignore_errors=True)
    elif os.path.isfile(os.path.join(out, read.MANIFEST)):
        # The manifest first: half removed, they must never go back.
        os.remove(os.path.join(aside, read.MANIFEST))
        shutil.rmtree(aside, ignore_errors=True)
    elif not os.path.lexists(out):
        os.rename(aside, out)
        sync(os.path.dirname(out))


def settled(path, size=None):
    """A finished file on the disk, of the expected size; its sha256."""
    sync(path)
    if size is not None and os.path.getsize(path) != size:
        raise OSError(f"`{path}` has {os.path.getsize(path):,} of {size:,} bytes; is the disk full?")
    return read.file_sha256(path)


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path, content):
    """Text or bytes under a temporary name, on the disk, then renamed."""
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):      # a full disk is no reason to leave half a file on it
            os.remove(temporary)
        raise


def natural_order(names):
    """Names sorted as people do: numbers by value, "s2" before "s10"; the order is total."""
    names = list(names)
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names, key=lambda name: (_natural_key(name), name))


def _natural_key(name):
    # Every second part is a number; compared by length first, so that none is too long to convert.
    parts = re.split(r"([0-9]+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if i % 2 else part for i, part in enumerate(parts)]


class _Dealer:
    """Splits by the hash of a value: equal values always meet, whatever else the data hold."""

    def __init__(self, shares, by):
        total = sum(shares.values())
        if not (min(shares.values()) > 0 and abs(total - 1) <= 1e-6):       # so that NaN is refused
            raise ValueError(f"the shares of the splits are {shares} but must be above 0 and 1 together.")
        if by not in ("", *schema.CATEGORIES) or by in ("split", "role"):
            raise ValueError(f"`split_by` is {by!r} but must be one of "
                             f"{', '.join(name for name in schema.CATEGORIES if name not in ('split', 'role'))}.")
        self.splits = list(shares)
        self.bounds = np.cumsum(list(shares.values()))[:-1]
        self.by = by

    def __call__(self, columns, path):
        if self.by and self.by not in columns:
            raise ValueError(f"it has no `{self.by}` to deal the splits by; give it one or another --split_by.")
        usual = next((name for name in ("case", "track", "identity") if name in columns), None)
        key = self.by or usual
        value = columns[key] if key else path
        text = f"{key or 'path'} {value}".encode("utf-8", "surrogateescape")
        place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2 ** 64
        return self.splits[int(np.searchsorted(self.bounds, place, "right"))]


def _number_values(first, column, value):
    known = first.setdefault(column, {})
    for one in value if isinstance(value, tuple) else (value,):
        known.setdefault(one, len(known))


def _positions_of(sources, positions):
    """The sources' pairs as int64 [M, 4]: places in the listing, same, fold; None where there are none."""
    found = []
    for number, source in enumerate(sources):
        places = positions.get(number, {})
        for first, second, same, fold in getattr(source, "pairs", None) or ():
            found.append((places[first], places[second], same, fold))
    return np.array(found, np.int64) if found else None


def _write_pairs(pairs, places, data):
    """pairs.npz: first and second (rows), same, fold; pairs with an image that was skipped are left out."""
    rows = np.searchsorted(places, pairs[:, :2])
    kept = (places[np.minimum(rows, len(places) - 1)] == pairs[:, :2]).all(axis=1)
    arrays = dict(zip(("first", "second", "same", "fold"), [*rows[kept].T, *pairs[kept, 2:].T]))
    path = os.path.join(data, _PAIRS)
    write_file(path, read.packed(arrays))
    return {"file": _PAIRS, "sha256": settled(path), "count": int(kept.sum()), "left_out": int((~kept).sum())}


def _mask(data, height, width):
    """A mask as PNG of one channel."""
    try:
        pixels = mask_pixels(data)
    except ValueError as error:
        raise ValueError(f"its mask cannot be used: {error}") from None
    if pixels.dtype != np.uint8 or pixels.shape[:2] != (height, width):
        raise ValueError(f"its mask is {pixels.dtype} {list(pixels.shape[:2])} but must be of 8 bits and as large as "
                         f"the image, {height} x {width}")
    return tf.io.encode_png(pixels).numpy()


def _ignored(source):
    ignored = getattr(source, "ignored", 0)
    return {"ignored": ignored} if ignored else {}


def _part(folder, number):
    return os.path.join(folder, "parts", f"{number:05d}.npz")


@contextlib.contextmanager
def _as_os_error(path):
    """TensorFlow's faults of writing as OSError; the temporary file is gone whatever happens."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"`{path}` cannot be written: {error.message}; see to it and give the same command again, which "
                      "goes on with the shards that are finished.") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(path)


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)
