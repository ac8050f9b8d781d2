"""What a served signature answers, without a server, over as many images as there are.

    python -m saved_models.predict --model=DIR --data=SHARDS_OR_FOLDER --signature=embed --out=DIR

--model is a version folder or the folder of versions, of which the newest is taken; --data a folder that
`tfrecords.write` wrote, or a folder or zip of images. Images stream through the same function that a server runs, so
that the numbers are those of the served answer. --out gets shards and, at the end, manifest.json; the same command goes
on where a killed one stopped. Batches of another size change the last bits of a float, as they do in a server: vectors
of length 1 of a small network differ by 6e-8 between --batch=1 and 64, and by nothing between 64 and 256.
"""

import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import itertools
import os
import sys
import time
import typing

import numpy as np
import tensorflow as tf
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from saved_models import gallery, outputs, verify
from tfrecords import command
from tfrecords.read import MANIFEST, Records

BATCH, IN_FLIGHT = 64, 2        # while one batch is decoded, mostly on one core, another goes through the network
BATCH_BYTES = 64 * 2**20        # largest sum of a batch of several
BATCH_PIXELS = 200_000_000      # as many as our own signatures decode in one call
SHARD_BYTES = 64 * 2**20        # of answers, where neither --shards nor --rows_per_shard is given
PROBED = 8                      # images whose answers tell how large these are
MOST_ROWS = 10_000              # then: what a kill may cost
READ_BYTES = 2 * 2**20          # that a thread reads at a time, of records
READ_TOGETHER = 16              # images, at most
NOTE_EVERY = 60.0               # seconds between lines where stderr is no terminal


class Loaded(typing.NamedTuple):
    """An image read, or why it cannot be.

    Args:    index: place in the data.  path: in its source.  image: encoded bytes, or float32 [h, w, C]; None where
             there is a `fault`.  pixels: by its header.
    """

    index: int
    path: str
    image: object = None
    pixels: int = 0
    fault: str = ""

    @property
    def bytes(self):
        return len(self.image) if isinstance(self.image, bytes) else self.image.nbytes


class RecordImages:
    """The images of a data folder, by row.   Args: split: name of the only split to take; "" = all."""

    def __init__(self, directory, split=""):
        self._records = Records(directory)
        manifest = self._records.manifest
        self.raw, self._dtype = manifest["raw"], np.dtype(manifest["dtype"]).newbyteorder("<")
        self.sha256 = manifest["data_sha256"]
        self.facts = {"name": manifest["name"], **({"split": split} if split else {})}
        self.rows = np.arange(len(self._records))
        self._pixels = self._records.column("height") * self._records.column("width")
        self.together = int(np.clip(READ_BYTES // self._records.column("bytes").mean(), 1, READ_TOGETHER))
        if split:
            names = self._records.names("split") if self._records.has("split") else []
            self.rows = np.flatnonzero(self._records.column("split") == _place_of(split, names, directory))

    def load(self, rows):
        """[Loaded] of these rows."""
        try:
            found = self._records.rows(rows)
        except ValueError as error:
            if len(rows) > 1:                       # one damaged record does not take the others along
                return [one for row in rows for one in self.load([row])]
            return [Loaded(int(rows[0]), f"row {rows[0]}", fault=str(error))]
        return [Loaded(int(row), one["path"], self._numbers(one["image"]) if self.raw else one["image"],
                       int(self._pixels[row])) for row, one in zip(rows, found)]

    def _numbers(self, data):
        shape = np.frombuffer(data, "<i4", 3)
        return np.frombuffer(data, self._dtype, offset=12).reshape(shape).astype(np.float32)


class FolderImages:
    """The images of a folder or zip, by their place in the sorted paths; taken as `tfrecords.write` takes them."""

    raw, together = False, 4        # photos may have several MB each

    def __init__(self, location, pattern="", split=""):
        self._source = gallery.folder_images(location, pattern)
        self.facts = {"name": self._source.description["location"], "ignored": self._source.ignored,
                      **({"split": split} if split else {})}
        digest, splits = hashlib.sha256(), []
        for item in self._source:
            digest.update(f"{item.path}\0{item.stamp}\n".encode("utf-8", "surrogateescape"))
            splits.append(sys.intern(item.columns.get("split", "")) if split else "")
        self.sha256 = digest.hexdigest()            # of names, sizes and times: reading every byte would take too long
        self.rows = np.arange(len(self._source))
        if split:
            names = sorted(set(splits) - {""})
            _place_of(split, names, location)
            self.rows = np.flatnonzero(np.array(splits) == split)
        self._kind = self._first_kind()

    def _first_kind(self):
        """What all images must be: what the first is that can be read; None where none of a thousand can."""
        for item in itertools.islice(self._source, 1000):
            try:
                return gallery.decodable(item.read(), None)[1]
            except (ValueError, OSError):
                continue
        return None

    def load(self, rows):
        """[Loaded] of these rows."""
        return [self._loaded(int(row), item) for row in rows for item in self._source.between(row, row + 1)]

    def _loaded(self, row, item):
        try:
            image, _, pixels = gallery.sendable(item.read(), self._kind)
        except (ValueError, OSError) as error:
            return Loaded(row, item.path, fault=getattr(error, "strerror", None) or str(error))
        return Loaded(row, item.path, image, pixels)


def _place_of(split, names, data):
    if split not in names:
        raise ValueError(f"`--split` is `{split}` but the images of `{data}` have "
                         f"{'the splits ' + ', '.join(names) if names else 'no splits'}; name one of them or leave it "
                         "away.")
    return names.index(split)


def images_of(data, pattern="", split=""):
    """What `--data` names: RecordImages of a folder with a manifest.json, else FolderImages."""
    if not os.path.isfile(os.path.join(data, MANIFEST)):
        return FolderImages(data, pattern, split)
    if pattern:
        raise ValueError(f"`--pattern` is {pattern!r} but `{data}` holds records, whose paths were read when they were "
                         "written; leave it away, or use --split.")
    return RecordImages(data, split)


class Signature:
    """A signature on one image a row, as a server would run it.

    Args:    model: version folder.  name: of the signature.  wanted: outputs; () = all.
             given: {input beside the image: number}, the same for every image.
             raw: whether the images are numbers, not encoded.
    Raises:  ValueError for what is no such signature.
    """

    def __init__(self, model, name, wanted=(), given=None, raw=False):
        described = verify.describe(verify.serve_graph(verify.read_saved_model(model)))
        if name not in described:
            raise ValueError(f"`{model}` has no signature `{name}`; give --signature={' or '.join(described)}.")
        self.name, inputs, found = name, described[name]["inputs"], described[name]["outputs"]
        self.image = _image_input(name, inputs, described)
        if raw != self.image.startswith("image_tensor"):
            kind, other = ("numbers", f"{name}_tensor") if raw else ("encoded images", name.removesuffix("_tensor"))
            raise ValueError(f"the signature `{name}` takes `{self.image}` but the data are {kind}; "
                             + (f"give --signature={other}." if other in described else "the model takes no such."))
        self._given = _given_inputs(name, {key: spec for key, spec in inputs.items() if key != self.image}, given or {})
        unknown = [one for one in wanted if one not in found]
        if unknown:
            raise ValueError(f"`--outputs` names `{unknown[0]}` but `{name}` gives {', '.join(found)}.")
        self.outputs = {key: found[key] for key in (wanted or found)}
        own = [key for key in self.outputs if key in outputs.OWN or key.endswith(outputs.BYTES + outputs.ENDS)]
        if own:
            raise ValueError(f"the output `{own[0]}` of `{name}` has the name of a column beside the outputs; leave it "
                             "out by --outputs.")
        self._model = model

    @functools.cached_property
    def _loaded(self):
        try:
            return tf.saved_model.load(self._model)
        except Exception as error:                  # damaged files raise anything, even IndexError
            raise ValueError(f"`{self._model}` cannot be loaded ({verify.core_message(error)}); export the version "
                             "again.") from error

    def ask(self, rows):
        """Answers of a batch of Loaded: ([(rows, {output: array [n, ...]})], [(row, reason) that it refuses]).

        A batch that is refused is asked again in halves, down to the images at fault.
        """
        if not rows:
            return [], []
        images = [row.image for row in rows]
        images = tf.constant(images if isinstance(images[0], bytes) else np.stack(images))
        numbers = {key: tf.fill([len(rows)], value) for key, value in self._given.items()}
        try:
            found = self._loaded.signatures[self.name](**{self.image: images}, **numbers)
            found = {key: _array(found[key]) for key in self.outputs}
        except tf.errors.OpError as error:
            if len(rows) > 1:
                halves = self.ask(rows[:len(rows) // 2]), self.ask(rows[len(rows) // 2:])
                return tuple(first + second for first, second in zip(*halves))
            if not isinstance(error, tf.errors.InvalidArgumentError):
                raise ValueError(f"`{rows[0].path}` cannot be answered ({verify.core_message(error)}); leave the image "
                                 "out or give the process more memory.") from error
            return [], [(rows[0], f"the model cannot read it: {verify.core_message(error)}")]
        for key, value in found.items():
            if value.ndim < 1 or len(value) != len(rows):
                raise ValueError(f"the output `{key}` of `{self.name}` has shape {list(value.shape)} for {len(rows)} "
                                 "images but must have a row for each; leave it out by --outputs.")
        return [(rows, found)], []

    def empty(self):
        """{output: array of no rows}."""
        found = {}
        for key, (dtype, shape) in self.outputs.items():
            dtype = object if dtype == "string" else np.float32 if "float8" in dtype or dtype == "bfloat16" else dtype
            found[key] = np.zeros([0, *(size or 0 for size in (shape or [0])[1:])], dtype)
        return found


def _image_input(name, inputs, described):
    """The one input of a signature that is the image."""
    images = [key for key, (dtype, shape) in inputs.items()
              if key.startswith("image_bytes") and (dtype, shape) == ("string", [None])
              or key.startswith("image_tensor") and dtype == "float32" and shape and len(shape) == 4]
    if len(images) == 1:
        return images[0]
    if images:
        raise ValueError(f"the signature `{name}` takes {len(images)} images a row ({', '.join(images)}) but the data "
                         "give one; give --signature=embed and compare the vectors, or send pairs by "
                         "`python -m serving.client`.")
    able = [key for key, one in described.items() if any(part.startswith("image_") for part in one["inputs"])]
    raise ValueError(f"the signature `{name}` takes {', '.join(inputs) or 'nothing'} but the data are images; "
                     + (f"give --signature={' or '.join(able)}." if able else "the model has none that takes images."))


def _given_inputs(name, wanted, given):
    """{input: scalar of its type} beside the images."""
    found = {}
    for key, (dtype, shape) in wanted.items():
        if shape != [None] or not (tf.as_dtype(dtype).is_floating or tf.as_dtype(dtype).is_integer):
            raise ValueError(f"the signature `{name}` also takes `{key}` ({dtype} {shape}), which is not one number an "
                             "image; send such images by `python -m serving.client`.")
        if key not in given:
            raise ValueError(f"the signature `{name}` also takes `{key}`; give --set={key}=NUMBER, which then holds "
                             "for every image.")
        try:
            found[key] = tf.constant(float(given[key]) if tf.as_dtype(dtype).is_floating else int(given[key]), dtype)
        except (ValueError, TypeError):
            raise ValueError(f"`--set` gives `{key}` the value {given[key]!r} but it must be {dtype}.") from None
    unknown = [key for key in given if key not in wanted]
    if unknown:
        raise ValueError(f"`--set` names `{unknown[0]}` but beside the images `{name}` takes "
                         f"{', '.join(wanted) or 'nothing'}.")
    return found


def _array(tensor):
    value = np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)
    return value.astype(np.float32) if value.dtype.kind == "V" else value       # bfloat16 is no type of NumPy's own


def predict(model, data, out, signature="serving_default", batch=BATCH, in_flight=IN_FLIGHT, shards=0,
            rows_per_shard=0, form="npz", wanted=(), given=None, pattern="", split="", show=None):
    """Answers of one signature for every image, in shards in `out`; goes on where an earlier call was interrupted.

    Memory holds the batches in flight, the images read ahead and one shard of answers. Images that cannot be read or
    that the model refuses are left out and listed in the manifest.

    Args:    model: version folder.  data: as `images_of`, with pattern and split.
             batch: images that go to the model together; fewer where they are large or the shard ends.
             in_flight: batches that the model answers at the same time; more do not change a number.
             shards, rows_per_shard: how many shards, or images in each; 0 = about 64 MB of answers each.
             form: of outputs.FORMATS.  wanted, given: as Signature.
             show: (images done before, images in all) -> context manager that gives a function of images more; None =
             nothing is shown.
    Returns: the manifest.
    Raises:  ValueError for what does not fit, an `out` of another job, and where more than 5 % of the images cannot be
             used.
    """
    for name, value, least in (("batch", batch, 1), ("in_flight", in_flight, 1), ("shards", shards, 0),
                               ("rows_per_shard", rows_per_shard, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` is {value!r} but must be a whole number of at least {least}.")
    if form not in outputs.FORMATS:
        raise ValueError(f"`format` is {form!r} but must be {' or '.join(outputs.FORMATS)}.")
    if shards and rows_per_shard:
        raise ValueError("`shards` and `rows_per_shard` are both given but one follows from the other; keep one.")
    images = images_of(data, pattern, split)
    function = Signature(model, signature, wanted, given, images.raw)
    wide = [key for key, (_, shape) in function.outputs.items() if shape is None or len(shape) > 2]
    if form == "jsonl" and wide:
        raise ValueError(f"the output `{wide[0]}` of `{signature}` is no row of numbers, for which jsonl is no format; "
                         "give --format=npz, or leave it out by --outputs.")
    job = {"model_sha256": gallery.folder_hash(model), "data_sha256": _hash_of(images), "signature": signature,
           "outputs": function.outputs, "inputs": given or {}, "format": form}
    with outputs.Shards(out) as there:
        there.require(job)                          # before the model is loaded
        if shards:
            rows_per_shard = -(-len(images.rows) // shards)
        elif not rows_per_shard:
            rows_per_shard = there.job["rows_per_shard"] if there.job else _fitting_rows(function, images, batch)
        job["rows_per_shard"] = rows_per_shard
        there.require(job)
        work = _Work(function, images, there, job, batch, in_flight)
        if there.finished and not work.missing:
            return there.manifest()
        there.start(job)
        work.run(show)
        return there.finish({"model": "/".join(os.path.abspath(model).split(os.sep)[-2:]), **work.facts()})


def _hash_of(images):
    """The data's hash, of a part of them that of this part."""
    split = images.facts.get("split")
    return hashlib.sha256(f"{images.sha256} {split}".encode()).hexdigest() if split else images.sha256


def _fitting_rows(function, images, batch):
    """Images a shard for about SHARD_BYTES of answers, by those of the first images."""
    first = next(_batches(images.load(images.rows[:PROBED]), batch), ([], []))[0]
    parts, _ = function.ask(first)
    size = sum(sum(map(len, value.ravel())) if value.dtype == object else value.nbytes
               for _, found in parts for value in found.values())
    rows = min(SHARD_BYTES * max(1, len(first)) // max(1, size), MOST_ROWS)
    return max(rows // batch, 1) * batch


class _Work:
    """The shards of a job that are missing, made one after the other."""

    def __init__(self, function, images, there, job, batch, in_flight):
        self._function, self._images, self._there, self._job = function, images, there, job
        self._batch, self._in_flight = batch, in_flight
        self._rows = job["rows_per_shard"]
        self._count = -(-len(images.rows) // self._rows)
        self.missing = [number for number in range(self._count) if number not in there.done]

    def run(self, show):
        done = sum(entry["count"] + entry["skipped"]["count"] for entry in self._there.done.values())
        workers = min(8, os.cpu_count() or 1)
        show = show or (lambda done, total: contextlib.nullcontext(lambda count: None))
        threads = concurrent.futures.ThreadPoolExecutor
        with show(done, len(self._images.rows)) as advance, threads(workers) as reading, \
                threads(self._in_flight) as asking:
            loaded = _ahead(reading, self._images.load, self._chunks(), 2 * workers)
            for number, chunks in itertools.groupby(loaded, key=lambda chunk: chunk[0]):
                batches = _batches((one for _, chunk in chunks for one in chunk), self._batch)
                answered = _ahead(asking, self._function.ask, ((whole, whole[0]) for whole in batches),
                                  self._in_flight)
                self._make(number, answered, advance)
                self._judge(final=False)
        self._judge(final=True)

    def _chunks(self):
        for number in self.missing:
            rows = self._images.rows[number * self._rows:(number + 1) * self._rows]
            for start in range(0, len(rows), self._images.together):
                yield number, rows[start:start + self._images.together]

    def _make(self, number, answered, advance):
        """One shard: index, paths and answers of the images that can be used."""
        index, paths, found, skipped = [], [], {key: [] for key in self._function.outputs}, gallery.Skipped()
        for (batch, faults), (parts, refused) in answered:
            for rows, values in parts:
                index += [row.index for row in rows]
                paths += [row.path for row in rows]
                for key, value in values.items():
                    found[key].append(value)
            for row, reason in [*((row, row.fault) for row in faults), *refused]:
                skipped.add(row.path, reason)
            advance(len(batch) + len(faults))
        answers = {key: _joined(key, parts) for key, parts in found.items()} if index else self._function.empty()
        form = self._job["format"]
        name = f"{self._function.name}-{number:05d}-of-{self._count:05d}.{form}"
        self._there.add(number, name, outputs.packed(form, index, paths, answers), count=len(index), batch=self._batch,
                        skipped=skipped.facts())

    def _skipped(self):
        skipped, used = gallery.Skipped(), 0
        for _, entry in sorted(self._there.done.items()):
            skipped.extend(entry["skipped"]["count"], entry["skipped"]["unreadable"])
            used += entry["count"]
        return skipped, used

    def _judge(self, final):
        """Raises: ValueError as soon as too many images cannot be used, whatever the others are."""
        skipped, used = self._skipped()
        skipped.judge(used if final else len(self._images.rows) - skipped.count)

    def facts(self):
        skipped, used = self._skipped()
        return {"data": self._images.facts, "count": used, "skipped": skipped.facts()}


def _ahead(pool, work, pairs, most):
    """(tag, work(argument)) for each (tag, argument), in their order, at most so many begun ahead of what is taken."""
    waiting = collections.deque()
    for tag, argument in pairs:
        waiting.append((tag, pool.submit(work, argument)))
        if len(waiting) > most:
            tag, future = waiting.popleft()
            yield tag, future.result()
    while waiting:
        tag, future = waiting.popleft()
        yield tag, future.result()


def _batches(loaded, most):
    """(images that go to the model together, images that cannot be read) in the order of the data."""
    batch, faults, size, pixels = [], [], 0, 0
    for one in loaded:
        if one.fault:
            faults.append(one)
            continue
        if batch and (len(batch) == most or size + one.bytes > BATCH_BYTES or pixels + one.pixels > BATCH_PIXELS
                      or not _stackable(batch[0].image, one.image)):
            yield batch, faults
            batch, faults, size, pixels = [], [], 0, 0
        batch.append(one)
        size, pixels = size + one.bytes, pixels + one.pixels
    if batch or faults:
        yield batch, faults


def _stackable(one, other):
    return isinstance(one, bytes) or one.shape == other.shape


def _joined(name, parts):
    try:
        return np.concatenate(parts)
    except ValueError:
        shapes = sorted({str(list(part.shape[1:])) for part in parts})
        raise ValueError(f"the output `{name}` has rows of {len(shapes)} shapes, such as {' and '.join(shapes[:2])}, "
                         "which make no array; leave it out by --outputs.") from None


class Shown:
    """Progress on stderr: a bar on a terminal, else a line a minute; at the end one with images a second."""

    def __init__(self, what, done, total):
        self._what, self._total, self._count = what, total, done
        self._done = done                           # before this process
        console = Console(stderr=True)
        self._bar = Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                             TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True,
                             disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=total, completed=done, rate="")

    def __enter__(self):
        self._start = self._noted = time.monotonic()
        self._bar.start()
        return self._advance

    def _advance(self, count):
        self._count += count
        self._bar.update(self._task, completed=self._count, rate=f"{self._rate():,.0f} images/s")
        if self._bar.disable and time.monotonic() > self._noted + NOTE_EVERY:
            self._noted = time.monotonic()
            self._say()

    def _rate(self):
        return (self._count - self._done) / max(time.monotonic() - self._start, 1e-9)

    def _say(self):
        print(f"{self._what}: {self._count:,} of {self._total:,} images, {time.monotonic() - self._start:.1f} s, "
              f"{self._rate():,.0f} images/s", file=sys.stderr, flush=True)

    def __exit__(self, kind, error, trace):
        self._bar.stop()
        self._say()


def define_flags():
    flags.DEFINE_string("model", None, "Version folder, such as models/verification/1, or the folder above it, of "
                        "which the newest version is taken.", required=True)
    flags.DEFINE_string("data", None, "Folder written by `tfrecords.write`, or folder or zip of images.", required=True)
    flags.DEFINE_string("out", None, "New folder for the answers, or the one of the same command before.",
                        required=True)
    flags.DEFINE_string("signature", "serving_default", "What to ask, such as embed or classify.")
    flags.DEFINE_list("outputs", [], "Only these of the signature's outputs.")
    flags.DEFINE_multi_string("set", [], "name=number: an input beside the images, the same for all (repeatable).")
    flags.DEFINE_integer("batch", BATCH, "Images that go to the model together.", lower_bound=1)
    flags.DEFINE_integer("in_flight", IN_FLIGHT, "Batches at the same time; more take more memory and cores.",
                         lower_bound=1)
    flags.DEFINE_integer("shards", 0, "Files of answers; 0 = as --rows_per_shard says.", lower_bound=0)
    flags.DEFINE_integer("rows_per_shard", 0, "Images in each file; 0 = about 64 MB of answers.", lower_bound=0)
    flags.DEFINE_enum("format", "npz", outputs.FORMATS, "npz: an array an output; jsonl: a line of JSON an image.")
    flags.DEFINE_string("pattern", "", "Of a folder or zip: as in `tfrecords.write`; images it does not match are left "
                        "out.")
    flags.DEFINE_string("split", "", "Only the images of this split.")


def main(_):
    given = {}
    for text in flags.FLAGS.set:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"`--set` is `{text}` but must be name=number, such as scale=2.")
        given[name] = value
    model, signature, out = verify.newest_version(flags.FLAGS.model), flags.FLAGS.signature, flags.FLAGS.out
    started = []

    def show(done, total):
        started.append(done)
        if done:
            print(f"going on in {out}: {done:,} of {total:,} images are done", file=sys.stderr)
        return Shown(signature, done, total)

    found = predict(model, flags.FLAGS.data, out, signature, flags.FLAGS.batch,
                    flags.FLAGS.in_flight, flags.FLAGS.shards, flags.FLAGS.rows_per_shard, flags.FLAGS.format,
                    tuple(flags.FLAGS.outputs), given, flags.FLAGS.pattern, flags.FLAGS.split, show)
    if not started:
        print(f"{out} is finished; give another --out to ask anew.", file=sys.stderr)
    left_out = found["skipped"]["count"]
    print(f"{found['count']:,} answers of {found['signature']} by {model} in {len(found['shards'])} files, "
          f"{os.path.join(out, outputs.MANIFEST)}" + (f"; {left_out:,} images left out, see there" if left_out else ""))


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
