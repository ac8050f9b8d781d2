"""Images from folders, zips, tables, arrays or ready sources to TFRecord shards with a manifest.

One sub-folder a class:
    python -m tfrecords.write --images=photos --out=build/data/photos
What the columns are, read from the paths:
    python -m tfrecords.write --images=orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
A table with the columns of `tfrecords/schema.py`, its paths below --images or beside it:
    python -m tfrecords.write --csv=table.csv --images=photos.zip --out=build/data/photos
Several sources in one data folder (--pattern and --images_split once for all --images, or once for each):
    python -m tfrecords.write --images=images_background_small1.zip --images_split=train \\
        --pattern='(?P<identity>[^/]+/character\\d+)/\\d+_(?P<camera>\\d+)\\.png' \\
        --source=omniglot_runs:all_runs.zip --out=build/data/omniglot_small1
The same command goes on where an interrupted one stopped.
"""

import contextlib
import hashlib
import inspect
import itertools
import os
import pathlib
import re
import shlex
import sys

import tensorflow as tf
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tfrecords import command, schema, workers
from tfrecords.cuts import AlignSource, CropSource, TileSource
from tfrecords.decode import size_text
from tfrecords.methods import build, method_class, methods
from tfrecords.read import MANIFEST
from tfrecords.shards import Plan, Workplace, assemble, put_back, require_free, write_file
from tfrecords.sources.csv import CsvSource
from tfrecords.sources.digits import DigitsSource
from tfrecords.sources.folder import FolderSource
from tfrecords.sources.npz import NpzSource
from tfrecords.sources.pairs import PairsSource
from tfrecords.sources.synthetic import SyntheticSource
from tfrecords.sources.tfds import TfdsSource

TILE, PATCH = 144, 72       # of configs/super_resolution/folder.py
MOST_KINDS, LEAST_EACH = 20, 5      # labels that may be diagnosed, and images of each in the mean
WHOLE, LEAST = 512, 16      # pixels a side: the largest images that are learnt from whole, and the smallest


def write(sources, out, shards=0, name=None, overwrite=False, scaling="", split_shares=None, split_by="",
          most_skipped=None, processes=1, writer=None):
    """Writes the images of all sources, in their order, into one data folder.

    `out` appears whole or not at all; equal images give equal bytes, whatever the number of processes. Where the call
    is interrupted its finished shards are kept beside `out`, and the same call goes on with them. Images that cannot be
    used are left out and listed in the manifest. JPEG, PNG, GIF and BMP keep their bytes; other formats of 8 or 16 bits
    with 1 or 3 channels become PNG without loss (a CMYK page becomes RGB); everything else is stored as numbers.

    Args:    sources: iterables of `schema.Item` with `len()` and `description`.
             out: directory to make.  name: what the data are called; default: the last part of `out`.
             overwrite: replace the data folder that lies at `out`. Should the process be killed between the
             two renames of that, the next call for `out` first puts the old data back.
             processes: how many write shards at the same time; more than one need to be started from a module.
             writer: (plan, folder) -> None writes the shards in place of these processes.
             shards, scaling, split_shares, split_by, most_skipped: see `tfrecords.shards.Plan`.
    Returns: the manifest, a dict.
    Raises:  ValueError (then nothing is left behind), FileExistsError or OSError.
    """
    out = os.path.abspath(os.path.expanduser(str(out)))
    put_back(out)
    require_free(out, overwrite)
    with _Bar() as bar:
        bar.start("listing", sum(len(source) for source in sources))
        plan = Plan(sources, name or os.path.basename(out), shards, scaling, split_shares, split_by, most_skipped,
                    bar.tick)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with Workplace(out, plan, overwrite) as place:
            if writer is not None:
                writer(plan, place.folder)
            else:
                bar.start("writing", plan.count)
                workers.write_shards(plan, place.folder, processes, bar)
            manifest = assemble(plan, place.folder)
            place.publish()
    return manifest


def written(location, out, renew=False):
    """The data folder that a location is, or that is written of it: of a folder or zip of images, or a table.

    Args:    location: a data folder; else images as of --images, or a file that ends in .csv or .tsv, as of --csv.
             out: where it is written, and beside it, as <out>.written_of, of what: what was written of the very same
             images and labels is taken as it is.
             renew: whether to write anew what was written of others.
    Returns: (folder, lines for people, of one that was written now or before; [] of a data folder).
    Raises:  as `write`; ValueError where something else was written there.
    """
    location = os.path.expanduser(str(location))
    table = os.path.isfile(location) and location.lower().endswith((".csv", ".tsv"))
    if os.path.exists(os.path.join(location, MANIFEST)) or not os.path.exists(location):
        return location, []
    if os.path.isfile(location) and not table and not location.lower().endswith(".zip"):
        raise ValueError(f"`{location}` is a file but must be a folder written by `python -m tfrecords.write`, or a "
                         "folder, .zip or .csv of images; give one of these.")
    out, place = os.path.abspath(out), f"{out}.written_of"
    put_back(out)
    sources = sources_of(csv=location) if table else sources_of([location])
    digest = hashlib.sha256()
    for item in itertools.chain(*sources):
        digest.update(repr((item.path, sorted(item.columns.items()), item.stamp)).encode("utf-8", "surrogateescape"))
    said = f"{os.path.abspath(location)}\n{digest.hexdigest()}\n"
    there = os.path.exists(os.path.join(out, MANIFEST))
    if there:
        before = _text(place)
        if before == said:
            return out, [f"the records are those written to {out} before."]
        if not renew:
            raise ValueError(f"{out} holds the records of {before.partition(chr(10))[0] or 'something else'} as it was "
                             f"but {os.path.abspath(location)} is given, or its images or labels have changed; use "
                             "another --workdir.")
    name = re.sub(r"[^\w.-]", "_", os.path.splitext(os.path.basename(os.path.normpath(location)))[0])
    lines = report(write(sources, out, name=name, overwrite=there), out, following=False)
    write_file(place, said)
    return out, lines


def _text(path):
    """A file's text, "" where there is none."""
    with contextlib.suppress(OSError), open(path) as file:
        return file.read()
    return ""


class _Bar:
    """A progress bar on a terminal's stderr."""

    def __init__(self):
        self._progress = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                  TimeRemainingColumn(), console=Console(stderr=True),
                                  disable=not sys.stderr.isatty())
        self._task, self._done = None, 0

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def start(self, what, total):
        """Begins the next pass."""
        self._task, self._done = self._progress.add_task(what, total=total), 0

    def at(self, done):
        self._done = done
        self._progress.update(self._task, completed=done)

    def tick(self, steps=1):
        self._done += steps
        if self._done % 64 < steps:
            self._progress.update(self._task, completed=self._done)


def report(manifest, out, following=True):
    """What was written, as lines for people, with the command that may follow."""
    low, median, high = (f"{height} x {width}" for height, width in
                         (manifest["sizes"][key] for key in ("minimum", "median", "maximum")))
    size = sum(shard["bytes"] for shard in manifest["shards"])
    kind = f"{manifest['channels']}-band" if manifest["raw"] else "grey" if manifest["channels"] == 1 else "colour"
    kind += "" if manifest["dtype"] == "uint8" else f" {manifest['dtype']}"
    lines = [f"{manifest['count']:,} {kind} images in {len(manifest['shards'])} shards, {size / 1e6:.1f} MB, at {out}",
             f"  height x width   {low}" if low == high else
             f"  height x width   {low} to {high}, median {median}"]
    for column, names in manifest["names"].items():
        shown = ", ".join(names if len(names) <= 12 else [*names[:9], "...", names[-1]])
        lines.append(f"  {column:<16} {len(names):,}: {shown}")
    if manifest["splits"]:
        lines.append("  images a split   " + ", ".join(
            f"{split} {count:,}" for split, count in manifest["splits"].items()))
    if "pairs" in manifest:
        lines.append(f"  pairs            {manifest['pairs']['count']:,}")
    masks = [source["without_mask"] for source in manifest["created_from"] if "without_mask" in source]
    if masks:
        lines.append(f"  without a mask   {sum(masks):,}")
    if manifest["synthetic"]:
        lines.append("  made up          figures on these images say nothing about photographs")
    repeated = sum(source.get("repeated", 0) for source in manifest["created_from"])
    if repeated:
        lines.append(f"  repeated         {repeated:,} images that came before, or are empty")
    ignored = sum(source.get("ignored", 0) for source in manifest["created_from"]) - repeated
    if ignored:
        lines.append(f"  left out         {ignored:,} images that no pattern, list or box fits")
    skipped = manifest["skipped"]
    if skipped["count"]:
        lines.append(f"  skipped          {skipped['count']:,} images that cannot be used, such as")
        lines += [" " * 19 + f"{entry['path']}: {entry['reason']}" for entry in skipped["unreadable"][:5]]
    if manifest["turned"]:
        lines.append(f"warning: {manifest['turned']:,} images have an EXIF orientation; they are stored as "
                     "they are, not rotated, so that serving sees the same. Where they lie on their side, turn the "
                     "files first, for example by `mogrify -auto-orient`.")
    return [*lines, *(_next(manifest, out) if following else ())]


def _next(manifest, out):
    """The command of the training that the images lend themselves to, or why there is none, as lines for people."""
    names, notes = manifest["names"], []
    if "pairs" in manifest and not {"identity", "label"} & set(names):
        return ["note: same and different are all that is known of these images; no application trains on that alone "
                "yet."]
    least, most = (manifest["sizes"][key] for key in ("minimum", "maximum"))
    own = f"--config.size={shlex.quote(size_text(*least))} " if least == most else ""
    app, config, flags = "vehicle_reid" if len(names.get("camera", ())) > 1 else "verification", "folder", ""
    tiled = any("tile" in source for source in manifest["created_from"])
    unnamed = all(len(names.get(column, ())) < 2 for column in ("identity", "label"))
    fakes = "fake" in names.get("label", ())
    if unnamed:
        notes = ["note: the images are not of 2 or more identities or labels; image_generation and super_resolution "
                 "need none, for all other training put each into a sub-folder of its own or give --pattern."]
    if unnamed or tiled and not fakes:
        if not tiled and (not own or max(most) > WHOLE):
            return [*notes, f"next: write them once more with --tile={TILE}; super_resolution would stretch images of "
                    "many sizes to one, and learns from large ones by tiles."]
        if own and min(least) < LEAST:
            return [*notes, f"note: images below {LEAST} pixels are too small for super_resolution/folder.py."]
        app = "super_resolution"
        if own and least != [TILE, TILE]:       # else tiles, and a few images that are smaller than one
            flags = own + ("--config.patch=0 " if min(least) < PATCH else "")
    elif fakes:
        made = any(source.get("source") == "fakes" for source in manifest["created_from"])
        app, config = "fake_image_detection", "contrastive" if made else "folder"
        # Resampling blurs what a detector looks for, and one of images of one size refuses others.
        flags = "" if least == [28 if made else 64] * 2 else own
    place = os.path.relpath(out)
    place = out if place.startswith("..") else place
    workdir = os.path.join("build", "run" if manifest["name"] == "data" else manifest["name"])
    data, diagnosed = f"--data={shlex.quote(place)} --workdir=", []
    kinds = len(names.get("label", ()))
    if app == "verification" and 2 <= kinds <= MOST_KINDS and manifest["count"] >= LEAST_EACH * kinds:
        diagnosed = ["  python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/folder.py "
                     f"{data}{shlex.quote(workdir + '_labels')}", "which label has an image, and how surely; or which "
                     "images are of the same:"]
    return [*notes, "next:", *diagnosed, f"  python -m keras_apps.train --config=keras_apps/configs/{app}/{config}.py "
            f"{flags}{data}{shlex.quote(workdir)}"]


def named_source(text, lists=None):
    """The source that `NAME`, `NAME:LOCATION` or `NAME(location="...", size=5000)` stands for: a file of
    tfrecords/sources.

    Args:    lists: {split: place of a list}, for sources that take such lists.
    Raises:  ValueError for an unknown name or option, a missing or a superfluous location.
    """
    if re.match(r"\w+\(", text):
        return build("tfrecords/sources", text)
    name, _, location = text.partition(":")
    if name not in methods("tfrecords/sources"):
        raise ValueError(f"`{name}` is not a source; the sources are {', '.join(methods('tfrecords/sources'))}.")
    kind = method_class("tfrecords/sources", name)
    takes = inspect.signature(kind).parameters
    needs = bool(takes) and next(iter(takes.values())).default is inspect.Parameter.empty
    if needs and not location:
        raise ValueError(f"--source={text} lacks a location; write --source={name}:PATH.")
    if location and not takes:
        raise ValueError(f"--source={text} takes no location; write --source={name}.")
    words = {"lists": lists} if lists and "lists" in takes else {}
    return kind(location, **words) if location else kind(**words)


def sources_of(images=(), patterns=(), splits=(), npz=(), digits=False, named=(), csv="", pairs="", tfds=(),
               synthetic=(), lists=None, masks=""):
    """The sources that the command's flags stand for, in the order: images or a table, npz, tfds, digits, others."""
    if (csv or pairs) and (len(images) > 1 or patterns or splits or lists or masks or csv and pairs):
        raise ValueError("--csv and --pairs each stand alone with at most one --images, where their paths lie; "
                         "everything else is a column of the table.")
    if not images and (patterns or splits or masks or lists and not named):
        raise ValueError("--pattern, --images_split, --splits and --masks belong to --images, which is not given.")
    if csv:
        found = [CsvSource(csv, *images)]
    elif pairs:
        found = [PairsSource(pairs, *images)]
    else:
        found = [FolderSource(location, pattern, split, masks=masks, lists=lists) for location, pattern, split in
                 zip(images, _one_each("pattern", patterns, images), _one_each("images_split", splits, images))]
    found += [NpzSource(file) for file in npz]
    found += [TfdsSource(name) for name in tfds]
    found += [DigitsSource()] if digits else []
    found += [SyntheticSource.parse(text) for text in synthetic]
    return found + [named_source(text, lists) for text in named]


def cut(sources, crop="", margin=0.0, crop_size=112, tile=0, overlap=0):
    """The sources with their images cut by box or landmarks, or into tiles."""
    if crop and tile:
        raise ValueError("--crop and --tile are both given; give one of them.")
    if crop == "box":
        return [CropSource(source, margin) for source in sources]
    if crop == "landmarks":
        return [AlignSource(source, crop_size) for source in sources]
    return [TileSource(source, tile, overlap) for source in sources] if tile else sources


def pairs_of(text, flag, kind):
    """{name: value} of "train:0.8,test:0.2"."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition(":")
        with contextlib.suppress(ValueError):
            value = kind(value)
        if not name or not isinstance(value, kind) or value == "" or name in found:
            raise ValueError(f"--{flag} is {text!r} but must be split:value pairs with commas between them, such as "
                             f"{'train:0.8,test:0.2' if kind is float else 'train:train.txt,test:test.txt'}.")
        found[name] = value
    return found


def _one_each(flag, values, images):
    if len(values) not in (0, 1, len(images)):
        raise ValueError(f"--{flag} is given {len(values)} times for {len(images)} --images; give it once "
                         "for all or once for each.")
    return values if len(values) == len(images) else (list(values) or [""]) * len(images)


def _usual_name(source):
    location = source.description.get("location", source.description["source"])
    return re.sub(r"[^\w.-]", "_", os.path.splitext(location)[0])


def define_source_flags():
    """What is written where, for every command that writes."""
    flags.DEFINE_multi_string("images", [], "Folder or zip of images; may be repeated.")
    flags.DEFINE_multi_string("pattern", [], "Regular expression searched in each image's path; its groups "
                              f"are columns: {', '.join(schema.PATTERN_GROUPS)}. Once for all --images or "
                              "for each.")
    flags.DEFINE_multi_string("images_split", [], "Split of the images; once for all --images or for each.")
    flags.DEFINE_string("splits", "", "Split lists, train:train.txt,test:test.txt: files with one name a line, on disk "
                        "or inside --images (or --source=voc).")
    flags.DEFINE_string("masks", "", "How an image's mask is found: a suffix, such as _mask or .png, or a directory "
                        "inside --images with the same names.")
    flags.DEFINE_string("csv", "", f"Table with `path` and any of {', '.join(schema.COLUMNS)}. In pixels: bbox = x y "
                        "width height; landmarks = x y of both eyes, nose, both corners of the mouth. mask = its file.")
    flags.DEFINE_string("pairs", "", "Table with path1, path2, same (1 or 0) and no other labels.")
    flags.DEFINE_multi_string("npz", [], "File with images and labels, or <split>_images and <split>_labels.")
    flags.DEFINE_multi_string("tfds", [], "Name of a prepared tensorflow_datasets set.")
    flags.DEFINE_boolean("digits", False, "scikit-learn's bundled handwritten digits.")
    flags.DEFINE_multi_string("synthetic", [], "Made-up images with known structure: identities, tracks, domains, "
                              "ordinal, tail, cases, bands or clips, with options as identities:images=8,size=32.")
    flags.DEFINE_multi_string("source", [], "NAME or NAME:LOCATION, a file of tfrecords/sources, or with options "
                              "\"veri_wild(location='folder', size=5000)\"; repeatable.")
    flags.DEFINE_enum("crop", "", ["", "box", "landmarks"], "Cut each image by its bbox, or upright by its landmarks.")
    flags.DEFINE_float("crop_margin", 0.0, "Share of the box's sides added on each side.", lower_bound=0.0)
    flags.DEFINE_integer("crop_size", 112, "Side of images cut by landmarks.", lower_bound=8)
    flags.DEFINE_integer("tile", 0, "Cut each image, of 50 million pixels at most, into tiles of this side; 0 = do "
                         "not.", lower_bound=0)
    flags.DEFINE_integer("overlap", 0, "Pixels that neighbouring tiles share.", lower_bound=0)
    flags.DEFINE_string("split_shares", "", "Deal the images by hash, such as train:0.8,val:0.1,test:0.1.")
    flags.DEFINE_string("split_by", "", "Column that is never split apart; default: case, else track, identity.")
    flags.DEFINE_enum("scaling", "", ["", "full", "range", "quantile"], "Which values become 0 and 1: all of the type "
                      "(default of 8 bits), those that occur (default of others), or 1 to 999 per mille of them.")
    flags.DEFINE_float("most_skipped", None, "Share of the images that may be unusable; default: 0.05.",
                       lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_string("out", None, "Data folder to make; default: tfrecords/data/<name>.")
    flags.DEFINE_integer("shards", 0, "Number of shards; several input pipelines need at least one each; 0 = 8, or one "
                         "for 20,000 images.")
    flags.DEFINE_string("name", None, "What the data are called; default: the last part of --out, else the "
                        "first source.")
    flags.DEFINE_boolean("overwrite", False, "Replace the data folder at --out.")


def given():
    """(sources, out, words for `Plan`) by the flags."""
    values = flags.FLAGS
    sources = sources_of(values.images, values.pattern, values.images_split, values.npz, values.digits, values.source,
                         values.csv, values.pairs, values.tfds, values.synthetic,
                         pairs_of(values.splits, "splits", str), values.masks)
    if not sources:
        raise ValueError("there is nothing to write; give --images, --csv, --pairs, --npz, --tfds, --digits, "
                         "--synthetic or --source.")
    sources = cut(sources, values.crop, values.crop_margin, values.crop_size, values.tile, values.overlap)
    name = values.name or _usual_name(sources[0])
    out = values.out or str(pathlib.Path(__file__).parent / "data" / name)
    shares = pairs_of(values.split_shares, "split_shares", float)
    return sources, out, {"shards": values.shards, "name": values.name, "scaling": values.scaling,
                          "split_shares": shares, "split_by": values.split_by, "most_skipped": values.most_skipped}


def define_flags():
    define_source_flags()
    flags.DEFINE_integer("processes", os.cpu_count(), "How many write at the same time.", lower_bound=1)


def main(_):
    values = flags.FLAGS
    sources, out, words = given()
    try:
        manifest = write(sources, out, overwrite=values.overwrite, processes=values.processes, **words)
    except tf.errors.OpError as error:
        raise OSError(f"`{out}` cannot be written: {error.message}") from error
    except KeyboardInterrupt:
        sys.exit("error: interrupted; the same command goes on with the shards that are finished.")
    print("\n".join(report(manifest, os.path.expanduser(out))))


if __name__ == "__main__":
    command.run(main, define_flags)
