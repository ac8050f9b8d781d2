"""Images from folders, zips, arrays or ready sources to TFRecord shards with a manifest.

One sub-folder a class:
    python -m tfrecords.write --images=photos --out=build/data/photos
What the columns are, read from the paths:
    python -m tfrecords.write --images=orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
Several sources in one data folder (--pattern and --images_split once for all --images, or once for each):
    python -m tfrecords.write --images=images_background_small1.zip --images_split=train \\
        --pattern='(?P<identity>[^/]+/character\\d+)/\\d+_(?P<camera>\\d+)\\.png' \\
        --source=omniglot_runs:all_runs.zip --out=build/data/omniglot_small1
"""

import importlib
import inspect
import json
import os
import pathlib
import re
import shlex
import shutil
import sys
import zlib
from array import array

import numpy as np
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.progress import track

from tfrecords import read, schema
from tfrecords.examine import Skipped, as_png, examine
from tfrecords.sources.digits import DigitsSource
from tfrecords.sources.folder import FolderSource
from tfrecords.sources.npz import NpzSource

MOST_SHARDS = 10_000


def write(sources, out, shards=8, name=None, overwrite=False):
    """Writes the images of all sources, in their order, into one data folder.

    The sources are gone through twice: once to check every image and to collect the categories, once to
    write. `out` appears whole or not at all; equal images give equal bytes. Images that cannot be used are
    left out and listed in the manifest. JPEG, PNG, GIF and BMP keep their bytes, other formats become PNG
    without loss (a CMYK page becomes RGB).

    Args:    sources: iterables of `schema.Item` with `len()` and `description`.
             out: directory to make.  shards: files to spread the records over; never more than images.
             name: what the data are called; default: the last part of `out`.
             overwrite: replace the data folder that lies at `out`. Should the process be killed between the
             two renames of that, the next call for `out` first puts the old data back.
    Returns: the manifest, a dict.
    Raises:  ValueError, FileExistsError or OSError; nothing is left behind.
    """
    out = os.path.abspath(os.path.expanduser(str(out)))
    name = name or os.path.basename(out)
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise ValueError(f"`name` is {name!r} but must be letters, digits, `_`, `.` and `-`; give another "
                         "--name.")
    if not 1 <= shards <= MOST_SHARDS:
        raise ValueError(f"`shards` is {shards} but must lie in 1 to {MOST_SHARDS:,}.")
    if not sources:
        raise ValueError("there is nothing to write; give at least one source.")
    _settle_replaced(out)
    _check_out(out, overwrite)
    table = _Table(sources)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    _remove_left_over(out)
    work = f"{out}.writing-{os.getpid()}"
    os.mkdir(work)
    try:
        manifest = _write_folder(table, work, min(shards, table.count), name)
        _appear(work, out, overwrite)
    except tf.errors.OpError as error:
        raise OSError(f"the shards of `{out}` cannot be written: {error.message}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def report(manifest, out):
    """What was written, as lines for people."""
    low, median, high = (f"{height} x {width}" for height, width in
                         (manifest["sizes"][key] for key in ("minimum", "median", "maximum")))
    size = sum(shard["bytes"] for shard in manifest["shards"])
    lines = [f"{manifest['count']:,} {'grey' if manifest['channels'] == 1 else 'colour'} images in "
             f"{len(manifest['shards'])} shards, {size / 1e6:.1f} MB, at {out}",
             f"  height x width   {low}" if low == high else
             f"  height x width   {low} to {high}, median {median}"]
    for column, names in manifest["names"].items():
        shown = ", ".join(names if len(names) <= 12 else [*names[:9], "...", names[-1]])
        lines.append(f"  {column:<16} {len(names):,}: {shown}")
    if manifest["splits"]:
        lines.append("  images a split   " + ", ".join(
            f"{split} {count:,}" for split, count in manifest["splits"].items()))
    ignored = sum(source.get("ignored", 0) for source in manifest["created_from"])
    if ignored:
        lines.append(f"  left out         {ignored:,} images whose path does not match the pattern")
    skipped = manifest["skipped"]
    if skipped["count"]:
        lines.append(f"  skipped          {skipped['count']:,} files that cannot be used, such as")
        lines += [" " * 19 + f"{entry['path']}: {entry['reason']}" for entry in skipped["unreadable"][:5]]
    if manifest["turned"]:
        lines.append(f"warning: {manifest['turned']:,} images have an EXIF orientation; they are stored as "
                     "they are, not rotated, so that serving sees the same. Where they lie on their side, turn the "
                     "files first, for example by `mogrify -auto-orient`.")
    if all(len(manifest["names"].get(column, ())) < 2 for column in ("identity", "label")):
        return [*lines, "warning: the images are not of 2 or more identities or labels, which training needs; put each "
                "into a sub-folder of its own or give --pattern."]
    place = os.path.relpath(out)
    place = out if place.startswith("..") else place
    name = "run" if manifest["name"] == "data" else manifest["name"]
    lines += ["next:", "  python -m keras_apps.train --config=keras_apps/configs/verification/folder.py "
              f"--data={shlex.quote(place)} --workdir={shlex.quote(os.path.join('build', name))}"]
    return lines


class _Table:
    """The first pass: every image checked, one line of numbers an image kept.

    Memory: 28 bytes an image and 8 for each of its columns.
    """

    def __init__(self, sources):
        self.sources = list(sources)
        self.accepted = bytearray()                 # of every item
        # Of every accepted image:
        self.crc, self.height, self.width = array("L"), array("l"), array("l")
        self.channels, self.converted = array("b"), bytearray()
        self.columns = {}                           # {column: array}, category values by first appearance
        self.texts = set()
        self.skipped, self.turned = Skipped(), 0
        self._first = {}                            # {column: {value: number}}
        for item in track(self._items(), "checking", total=self._total(), console=Console(stderr=True),
                          disable=not sys.stderr.isatty()):
            self._take(item)
        self.count = len(self.crc)
        if not self.accepted:
            raise ValueError("the sources hold no image; give a folder, zip or file that does.")
        self.skipped.judge(self.count)
        self.names = self._name()

    def rows(self):
        """The second pass: the record of every accepted image, {feature: value}."""
        row = 0
        for position, item in enumerate(track(self._items(), "writing", total=self._total(),
                                              console=Console(stderr=True), disable=not sys.stderr.isatty())):
            if position >= len(self.accepted):
                break
            if not self.accepted[position]:
                continue
            data = item.read()
            if zlib.crc32(data) != self.crc[row]:
                raise ValueError(f"`{item.path}` was changed while it was being written; start again.")
            record = {"image": as_png(data) if self.converted[row] else data, "height": self.height[row],
                      "width": self.width[row], "channels": self.channels[row], "index": row,
                      "path": item.path}
            for column, values in self.columns.items():
                record[column] = values[row]
            settled = schema.settle(item.columns)
            for column in self.texts:
                record[column] = settled.get(column, "")
            yield record
            row += 1

    def _items(self):
        for source in self.sources:
            yield from source

    def _total(self):
        return sum(len(source) for source in self.sources)

    def _take(self, item):
        try:
            columns = schema.settle(item.columns)
        except ValueError as error:
            raise ValueError(f"`{item.path}`: {error}") from None
        try:
            data = item.read()
            height, width, channels, converted, turned = examine(data)
        except (ValueError, OSError) as error:
            self.accepted.append(0)
            self.skipped.add(item.path, error)
            return
        before = len(self.crc)
        self.accepted.append(1)
        self.crc.append(zlib.crc32(data))
        self.height.append(height)
        self.width.append(width)
        self.channels.append(channels)
        self.converted.append(converted)
        self.turned += turned
        for column in columns:
            if column in schema.TEXTS:
                self.texts.add(column)
            elif column not in self.columns:
                self.columns[column] = array("q", [-1]) * before
        for column, values in self.columns.items():
            value = columns.get(column, -1)
            if value != -1 and column in schema.CATEGORIES:
                first = self._first.setdefault(column, {})
                value = first.setdefault(value, len(first))
            values.append(value)

    def _name(self):
        """{category column: names in natural order}; the columns' numbers are changed to that order."""
        names = {}
        for column in sorted(self._first):
            first = self._first[column]
            names[column] = natural_order(first)
            number = {value: i for i, value in enumerate(names[column])}
            order = np.array([number[value] for value in first] + [-1])      # the last entry is for -1
            self.columns[column] = order[np.frombuffer(self.columns[column], np.int64)]
        return names


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


def _write_folder(table, work, shards, name):
    columns = [column for column in schema.COLUMNS if column in table.columns or column in table.texts]
    index = read.IndexBuilder(columns)
    rows = table.rows()
    entries = []
    for number in range(shards):
        file = f"{name}-{number:05d}-of-{shards:05d}.tfrecord"
        count = table.count * (number + 1) // shards - table.count * number // shards
        index.shard(number)
        with tf.io.TFRecordWriter(os.path.join(work, file)) as writer:
            for _ in range(count):
                row = next(rows, None)
                if row is None:
                    raise ValueError("the sources gave fewer images when they were read again; start again.")
                data = schema.serialize(row)
                writer.write(data)
                index.record(data, row)
        entries.append({"file": file, "count": count, "bytes": index.bytes,
                        "sha256": _settled(work, file, index.bytes)})
    next(rows, None)                        # ends the generator, and with it its progress bar
    with open(os.path.join(work, "index.npz"), "wb") as stream:
        stream.write(index.encoded())
    heights, widths = np.asarray(table.height), np.asarray(table.width)
    splits = table.columns.get("split", np.zeros(0, np.int64))
    manifest = {
        "version": schema.VERSION,
        "name": name,
        "count": table.count,
        "channels": 1 if max(table.channels) < 3 else 3,
        "scaling": {"dtype": "uint8", "minimum": 0, "maximum": 255},
        "columns": columns,
        "names": table.names,
        "splits": {split: int((splits == i).sum()) for i, split in enumerate(table.names.get("split", []))},
        "sizes": {key: [int(pick(heights)), int(pick(widths))]
                  for key, pick in (("minimum", np.min), ("median", np.median), ("maximum", np.max))},
        "shards": entries,
        "index": {"file": "index.npz", "sha256": _settled(work, "index.npz")},
        "skipped": table.skipped.facts(),
        "turned": table.turned,
        "created_from": [{**source.description, **_ignored(source)} for source in table.sources],
        "data_sha256": read.data_sha256(entries),
    }
    with open(os.path.join(work, read.MANIFEST), "w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
        stream.write("\n")
    _settled(work, read.MANIFEST)
    _sync(work)
    return manifest


def _ignored(source):
    ignored = getattr(source, "ignored", 0)
    return {"ignored": ignored} if ignored else {}


def _settled(directory, file, size=None):
    """A finished file on the disk, of the expected size; its sha256."""
    path = os.path.join(directory, file)
    _sync(path)
    if size is not None and os.path.getsize(path) != size:
        raise OSError(f"`{path}` has {os.path.getsize(path):,} of {size:,} bytes; is the disk full?")
    return read.file_sha256(path)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_out(out, overwrite):
    if os.path.isfile(os.path.join(out, read.MANIFEST)):
        if not overwrite:
            raise FileExistsError(f"`{out}` holds data already; give --overwrite to replace them or another "
                                  "--out.")
    elif os.path.lexists(out) and (not os.path.isdir(out) or os.listdir(out)):
        raise FileExistsError(f"`{out}` exists and is no data folder; give another --out.")


def _appear(work, out, overwrite):
    """Renames the finished folder to its place; data to be replaced step aside first."""
    _check_out(out, overwrite)
    if not os.path.isfile(os.path.join(out, read.MANIFEST)):
        os.rename(work, out)
    else:
        try:
            os.rename(out, f"{out}.replaced-{os.getpid()}")
            os.rename(work, out)
        finally:
            _settle_replaced(out)
    _sync(os.path.dirname(out))


def _settle_replaced(out):
    """Data that stepped aside for new ones go back to `out` if nothing is there, and away if data are."""
    for path, pid in _left_over(out, "replaced"):
        if not (path / read.MANIFEST).is_file():
            continue
        if os.path.isfile(os.path.join(out, read.MANIFEST)):
            # Under the name of unfinished data first: half removed, they must never go back.
            doomed = f"{out}.writing-{pid}"
            shutil.rmtree(doomed, ignore_errors=True)
            os.rename(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        elif not os.path.lexists(out):
            os.rename(path, out)
            _sync(os.path.dirname(out))


def _remove_left_over(out):
    """Removes what killed runs for the same `out` left behind."""
    for path, _ in _left_over(out, "writing"):
        shutil.rmtree(path, ignore_errors=True)


def _left_over(out, word):
    """(path, process id) of `out`.word-<process id>, where the process is this one or has ended."""
    start = f"{os.path.basename(out)}.{word}-"
    folder = pathlib.Path(out).parent
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        pid = path.name.removeprefix(start)
        if path.name.startswith(start) and re.fullmatch("[0-9]{1,9}", pid):
            if int(pid) == os.getpid() or not _alive(int(pid)):
                yield path, int(pid)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def named_source(text):
    """The source that `NAME` or `NAME:LOCATION` stands for: a file of tfrecords/sources.

    Raises:  ValueError for an unknown name, a missing or a superfluous location.
    """
    name, colon, location = text.partition(":")
    folder = pathlib.Path(__file__).parent / "sources"
    known = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if name not in known:
        raise ValueError(f"`{name}` is not a source; the sources are {', '.join(known)}.")
    module = importlib.import_module(f"tfrecords.sources.{name}")
    kind, = (value for key, value in vars(module).items()
             if inspect.isclass(value) and value.__module__ == module.__name__ and not key.startswith("_"))
    needs = bool(inspect.signature(kind).parameters)
    if needs != bool(location):
        form = f"--source={name}:PATH" if needs else f"--source={name}"
        fault = "lacks a location" if needs else "takes no location"
        raise ValueError(f"--source={text} {fault}; write {form}.")
    return kind(location) if needs else kind()


def sources_of(images=(), patterns=(), splits=(), npz=(), digits=False, named=()):
    """The sources that the command's flags stand for, in the order: images, npz, digits, named."""
    if not images and (patterns or splits):
        raise ValueError("--pattern and --images_split belong to --images, which is not given.")
    found = [FolderSource(location, pattern, split) for location, pattern, split in
             zip(images, _one_each("pattern", patterns, images), _one_each("images_split", splits, images))]
    found += [NpzSource(file) for file in npz]
    found += [DigitsSource()] if digits else []
    return found + [named_source(text) for text in named]


def _one_each(flag, values, images):
    if len(values) not in (0, 1, len(images)):
        raise ValueError(f"--{flag} is given {len(values)} times for {len(images)} --images; give it once "
                         "for all or once for each.")
    return values if len(values) == len(images) else (list(values) or [""]) * len(images)


def _usual_name(source):
    location = source.description.get("location", source.description["source"])
    return re.sub(r"[^\w.-]", "_", os.path.splitext(location)[0])


def define_flags():
    flags.DEFINE_multi_string("images", [], "Folder or zip of images; may be repeated.")
    flags.DEFINE_multi_string("pattern", [], "Regular expression searched in each image's path; its groups "
                              f"are columns: {', '.join(schema.PATTERN_GROUPS)}. Once for all --images or "
                              "for each.")
    flags.DEFINE_multi_string("images_split", [], "Split of the images; once for all --images or for each.")
    flags.DEFINE_multi_string("npz", [], "File with images and labels, or <split>_images and <split>_labels.")
    flags.DEFINE_boolean("digits", False, "scikit-learn's bundled handwritten digits.")
    flags.DEFINE_multi_string("source", [], "NAME or NAME:LOCATION, a file of tfrecords/sources; repeatable.")
    flags.DEFINE_string("out", None, "Data folder to make; default: tfrecords/data/<name>.")
    flags.DEFINE_integer("shards", 8, "Number of shards; several input pipelines need at least one each.")
    flags.DEFINE_string("name", None, "What the data are called; default: the last part of --out, else the "
                        "first source.")
    flags.DEFINE_boolean("overwrite", False, "Replace the data folder at --out.")


def main(argv):
    given = flags.FLAGS
    # A name that is no valid text in the terminal's encoding must not end the report.
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    try:
        if len(argv) > 1:
            raise ValueError(f"`{argv[1]}` is not a flag; every argument starts with --.")
        sources = sources_of(given.images, given.pattern, given.images_split, given.npz, given.digits,
                             given.source)
        if not sources:
            raise ValueError("there is nothing to write; give --images, --npz, --digits or --source.")
        name = given.name or _usual_name(sources[0])
        out = given.out or str(pathlib.Path(__file__).parent / "data" / name)
        manifest = write(sources, out, given.shards, given.name, given.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; nothing was written.")
    print("\n".join(report(manifest, os.path.expanduser(out))))


def _parsed(argv):
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=_parsed)
