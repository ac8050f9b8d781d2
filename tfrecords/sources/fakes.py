"""Real images beside generated ones, both through one codec and one framing: what a detector is trained on."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from tfrecords import schema
from tfrecords.decode import Decoder
from tfrecords.read import Records

REAL, FAKE = "real", "fake"
ORDER = "train", "val", "test"


class FakesSource:
    """The images of a data folder as `real`, those of pools as `fake`, as many of each; `source` = real or the pool's.

    Every image, real or fake, is decoded, brought to one size as the generators saw the real ones, rounded to 8 bits
    and written as PNG by the same lines: neither file format, nor size, nor resampling can tell the two apart. Where a
    pool does not say how its generator saw the images (it is not of `keras_apps.sample`), its images and the real ones
    must have one size already.

    A pool's last images are for the test, those before for validation. Of the real images those of the split `test`
    are, where there is one, as many in each split as there are fakes; where they are dealt here, a track (else case) of
    them lies in one split.

    Args:    reals: data folder of real images.  pools: data folders of generated ones, each of one `source`; or one
             folder that holds them.
             test, validation: shares of a pool.
    Columns: label (real, fake), source, split (train, val, test); of real images also track and case.
    Raises:  ValueError for pools of another size, number of channels or depth than the real images as the generators
             saw them, for pools trained on other data, or for two pools of one generator.
    """

    def __init__(self, reals, pools, test=0.25, validation=0.15):
        pools = _below(pools) if isinstance(pools, str) else pools
        if not pools:
            raise ValueError("`pools` is empty but must name data folders of generated images, such as "
                             "pools=('build/pools/dcgan',).")
        if not (0 < test and 0 <= validation and test + validation < 1):
            raise ValueError(f"`test` is {test} and `validation` {validation} but they must be shares that leave "
                             "something to train on; use 0.25 and 0.15.")
        real = Records(reals)
        found = [_Pool(place) for place in pools]
        frame = _frame(real, found)
        _require_apart(real, found)
        _require_one_codec(real, found)
        self._rows = []         # (directory, row, columns)
        counts = dict.fromkeys(ORDER, 0)
        for pool in found:
            ends = [round(pool.count * share) for share in (1 - test - validation, 1 - test)]
            for row in range(pool.count):
                split = ORDER[np.searchsorted(ends, row, side="right")]
                counts[split] += 1
                self._rows.append((pool.directory, row, {"label": FAKE, "source": pool.name, "split": split}))
        for row, split in _real_rows(real, counts):
            kept = {name: value for name in ("track", "case") if real.has(name)
                    if (value := real.values(name, [row])[0])}
            self._rows.append((real.directory, row, {"label": REAL, "source": REAL, "split": split, **kept}))
        self._frame = frame
        self._stamps = {entry.directory: entry.manifest["data_sha256"] for entry in (real, *found)}
        size, fit = frame
        self.description = {"source": "fakes", "location": real.manifest["name"], "size": list(size), "fit": fit,
                            "codec": "decoded, framed, rounded to 8 bits and written as PNG alike",
                            "families": [pool.name for pool in found], "reals": real.manifest["name"],
                            "reals_sha256": real.manifest["data_sha256"],
                            "checkpoints": [pool.facts.get("weights_sha256", "") for pool in found]}
        if real.synthetic:
            self.description["synthetic"] = True

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        return self.between(0, len(self._rows))

    def between(self, start, stop):
        for directory, row, columns in self._rows[start:stop]:
            yield schema.Item(f"{columns['source']}/{row:07d}.png",
                              functools.partial(_image, directory, row, self._frame, self._stamps[directory]), columns,
                              stamp=f"{self._stamps[directory]}-{row}")


def _below(folder):
    """The data folders directly below a folder, or the folder itself where it is one."""
    here = pathlib.Path(folder)
    if (here / "manifest.json").exists():
        return [folder]
    found = sorted(str(path.parent) for path in here.glob("*/manifest.json"))
    if not found:
        raise ValueError(f"`pools` is {folder} but holds no data folder; write pools there by "
                         "`python -m keras_apps.sample`.")
    return found


class _Pool:
    """A data folder of generated images of one source."""

    def __init__(self, place):
        records = Records(place)
        self.directory, self.manifest, self.count = records.directory, records.manifest, records.count
        names = records.names("source") if records.has("source") else []
        if len(names) != 1:
            raise ValueError(f"the pool {place} has the sources {names} but must have one, its generator; write it by "
                             "`python -m keras_apps.sample`, or with a `source` column.")
        self.name = names[0]
        if self.name == REAL:
            raise ValueError(f"the pool {place} has the source `{REAL}`, which is that of the real images; name its "
                             "generator.")
        self.facts = next((entry for entry in self.manifest["created_from"] if entry.get("source") == "generator"), {})


def _frame(real, pools):
    """((H, W), fit) that all images are brought to."""
    told = {(tuple(pool.facts["size"]), pool.facts["fit"]) for pool in pools if pool.facts}
    for pool in pools:
        if _one_size(pool) == (0, 0):
            raise ValueError(f"the pool {pool.directory} has images of several sizes but must have one, as a generator "
                             "makes them; write each size as a pool of its own.")
    sizes = {pool.name: _one_size(pool) for pool in pools}
    if len(told) > 1 or len(set(sizes.values())) > 1:
        told = ", ".join(f"{height} x {width} ({name})" for name, (height, width) in sizes.items())
        raise ValueError(f"the pools have images of {told} but all must have one size and framing; train the "
                         "generators with one `size` and `data.fit`.")
    size, fit = told.pop() if told else (next(iter(sizes.values())), "stretch")
    if not all(pool.facts for pool in pools) and _one_size(real) != size:
        raise ValueError(f"the pools have images of {size[0]} x {size[1]}, the real ones of other sizes, and one pool "
                         "does not say how its generator saw them: resampling one side alone would give it away. Bring "
                         "the real images to that size as the generator's training did.")
    for entry in (real, *pools):
        manifest = entry.manifest
        if manifest["raw"] or manifest["dtype"] != "uint8" or manifest["channels"] != real.manifest["channels"]:
            raise ValueError(f"{entry.directory} has images of {manifest['channels']} channels, {manifest['dtype']}, "
                             "but all must be of 8 bits and, as the real ones, of "
                             f"{real.manifest['channels']} channels.")
    return size, fit


def _require_one_codec(real, pools):
    """Refuses a pool of unknown making that is stored as another format: JPEG leaves its blocks in the pixels."""
    for pool in pools:
        if not pool.facts and _is_jpeg(real.directory) != _is_jpeg(pool.directory):
            raise ValueError(f"the images in {real.directory} and {pool.directory} are stored as JPEG on one side "
                             "only: its traces would tell real and fake apart; bring both through one codec before.")


def _is_jpeg(directory):
    return Records(directory).images([0])[0][:3] == b"\xff\xd8\xff"


def _one_size(entry):
    low, high = (tuple(entry.manifest["sizes"][key]) for key in ("minimum", "maximum"))
    return low if low == high else (0, 0)


def _require_apart(real, pools):
    """A generator must not stand under two names: it would lie on both sides when one is held out."""
    for place, pool in enumerate(pools):
        for other in pools[:place]:
            weights = pool.facts.get("weights_sha256")
            if pool.name == other.name or weights and weights == other.facts.get("weights_sha256") or (
                    pool.manifest["data_sha256"] == other.manifest["data_sha256"]):
                raise ValueError(f"the pools {other.directory} and {pool.directory} are of one generator: a source "
                                 "that is held out would be trained on under the other name. Leave one out.")
        trained = pool.facts.get("trained_on_sha256")
        if trained and trained != real.manifest["data_sha256"]:
            raise ValueError(f"the pool {pool.directory} is of a generator that was trained on "
                             f"`{pool.facts['trained_on']}`, not on the real images in {real.directory}: what they "
                             "show would tell real and fake apart. Give those.")


def _real_rows(real, counts):
    """(row, split) of the real images: as many in each split as fakes, while there are."""
    random = np.random.default_rng(0)
    names = real.names("split") if real.has("split") else []
    held = np.zeros(real.count, bool)
    if "test" in names:
        held = real.column("split") == names.index("test")
    units = _units(real)
    test, rest = (_shuffled(np.flatnonzero(mask), units, random) for mask in (held, ~held))
    if not held.any():
        test, rest = _cut(rest, units, min(len(rest) // 4, counts["test"]))
    validation, train = _cut(rest, units, min(len(rest) // 4, counts["val"]))
    for split, rows in zip(ORDER, (train, validation, test)):
        for row in np.sort(rows[:counts[split]]).tolist():
            yield row, split


def _units(real):
    """[N]: what must not be split apart, the track, else the case, else the image."""
    rows = np.arange(real.count)
    column = next((name for name in ("track", "case") if real.has(name)), None)
    if not column:
        return rows
    values = real.column(column)
    return np.where(values < 0, values.max() + 1 + rows, values)


def _shuffled(rows, units, random):
    """The rows unit by unit, the units in random order."""
    found, own = np.unique(units[rows], return_inverse=True)
    place = np.empty(len(found), int)
    place[np.searchsorted(found, random.permutation(found))] = np.arange(len(found))
    return rows[np.argsort(place[own], kind="stable")]


def _cut(rows, units, count):
    """The first `count` rows, and what else is of the last one's unit, and the rest."""
    while 0 < count < len(rows) and units[rows[count]] == units[rows[count - 1]]:
        count += 1
    return np.split(rows, [count])


@functools.lru_cache(maxsize=64)
def _opened(directory, frame, stamp):
    records = Records(directory)
    if records.manifest["data_sha256"] != stamp:
        raise ValueError(f"the data in {directory} were written anew while they were read; begin again.")
    size, fit = frame
    decoder = Decoder.of(records.manifest, size, fit)
    return records, tf.function(decoder.image, input_signature=[tf.TensorSpec([], tf.string)])


def _image(directory, row, frame, stamp):
    """The one way of every image, real or fake: uint8 [H,W,C]."""
    records, image = _opened(directory, frame, stamp)
    pixels = image(records.images([row])[0]).numpy()
    return np.uint8(np.round(pixels * 255))
