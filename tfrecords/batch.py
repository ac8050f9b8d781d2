"""Examples -> sampled, augmented, prefetched batches with O(1) seek."""

import dataclasses
import sys

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from tfrecords.read import DamagedError

BLOCK_BYTES = 2 ** 25       # of decoded images that are loaded together
FEW = 128                   # images that are decoded one by one: to begin a pipeline takes longer


@dataclasses.dataclass(frozen=True)
class Table:
    """What a sampler may look at.

    Args:    rows: the eligible rows [n].  labels: by global row [N], -1 = none.
             columns: {category column: int64 [N]}, -1 = none.  names: {category column: its names}.
             pairs: (first [M], second [M], same [M]) rows of listed pairs, or None.
    """

    rows: np.ndarray
    labels: np.ndarray
    columns: dict = dataclasses.field(default_factory=dict)
    names: dict = dataclasses.field(default_factory=dict)
    pairs: tuple | None = None


class Images:
    """Decoded images by row; kept in memory once decoded while the whole selection fits.

    Records that are damaged are skipped: counted in `damaged` {row: fault} and told once each.

    Args:    records: a `tfrecords.read.Records`.  decoder: a `tfrecords.decode.Decoder`.
             cache_mb: no more decoded pixels than this are kept (float32).
             most_damaged: records that may be skipped; one more is an error that names its shard and number.
    """

    def __init__(self, records, decoder, cache_mb=1024, most_damaged=0):
        self.records, self.decoder, self.most_damaged = records, decoder, most_damaged
        height, width = decoder.size
        self.bytes = 4 * height * width * decoder.channels
        self.limit = int(cache_mb * 1e6 / self.bytes)
        self.damaged = {}
        self._cache = {}
        self._image = None

    @property
    def unresized(self):
        """Whether all images are stored in the size they are decoded to."""
        sizes = self.records.manifest["sizes"]
        return tuple(sizes["minimum"]) == tuple(sizes["maximum"]) == self.decoder.size

    @property
    def unmixed(self):
        """Whether all images are stored with as many channels, alpha apart, as they are decoded to."""
        if self.decoder.raw:
            return True
        channels = self.records.column("channels")
        return bool((channels - 1 + channels % 2 == self.decoder.channels).all())

    def load(self, rows, describe=None):
        """float32 [n,H,W,C]; a progress bar named `describe` when there is much to decode.

        Raises:  DamagedError where one of them cannot be read.
        """
        rows = np.asarray(rows)
        return self._stacked(rows, self._fresh(rows, describe, self._decode))

    def load_sound(self, rows, describe=None):
        """(rows, images): those of the rows that can be read, as `sound` tells, and what `load` gives; in one pass.

        Raises:  DamagedError beyond `most_damaged`.
        """
        rows = self._undamaged(np.asarray(rows))
        fresh = self._fresh(rows, describe, self._decode_sound)
        rows = self._undamaged(rows)
        return rows, self._stacked(rows, fresh)

    def sound(self, rows):
        """Those of the rows that can be read; every one of them is read once.

        Raises:  DamagedError beyond `most_damaged`.
        """
        rows = np.asarray(rows)
        for row in rows.tolist():
            if row not in self.damaged and row not in self._cache:
                try:
                    self.records.serialized([row])
                except DamagedError as error:
                    self.skip(error)
        return self._undamaged(rows)

    def skip(self, error):
        """Takes note of a damaged record.   Raises: the error itself beyond `most_damaged`."""
        if len(self.damaged) >= self.most_damaged:
            raise error
        self.damaged[error.row] = str(error)
        print(f"warning: {error} It is skipped, as {len(self.damaged)} of at most {self.most_damaged}.",
              file=sys.stderr)

    def _undamaged(self, rows):
        return rows[~np.isin(rows, list(self.damaged))] if self.damaged else rows

    def _fresh(self, rows, describe, decode):
        """{row: image} of those not kept in memory, kept from now on where they fit."""
        missing = [row for row in dict.fromkeys(rows.tolist()) if row not in self._cache]
        fresh = self._cache if len(self._cache) + len(missing) <= self.limit else {}
        # To begin a pipeline costs as much as to decode hundreds of small images.
        block = min(max(256, BLOCK_BYTES // self.bytes), 8192)
        blocks = [missing[i:i + block] for i in range(0, len(missing), block)]
        if describe and len(missing) > 2000 and len(blocks) > 1 and sys.stderr.isatty():
            blocks = track(blocks, describe, transient=True, console=Console(stderr=True))
        for block in blocks:
            fresh.update(decode(block))
        return fresh

    def _stacked(self, rows, fresh):
        out = np.empty((len(rows), *self.decoder.size, self.decoder.channels), np.float32)
        for place, row in enumerate(rows.tolist()):
            image = fresh.get(row)
            out[place] = self._cache[row] if image is None else image
        return out

    def _decode_sound(self, rows):
        """As `_decode`, without those that are damaged."""
        while True:
            try:
                return self._decode(rows)
            except DamagedError as error:
                self.skip(error)
                rows = [row for row in rows if row != error.row]

    def _decode(self, rows):
        """{row: image}"""
        if self._image is None:         # traced once for all blocks
            self._image = tf.function(self.decoder.image, input_signature=[tf.TensorSpec([], tf.string)])
            self._image.get_concrete_function()
        if len(rows) < FEW:
            return {row: self._image(data).numpy() for row, data in zip(rows, self.records.images(rows))}
        dataset = tf.data.Dataset.from_tensor_slices(self.records.images(rows))
        dataset = dataset.map(self._image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return dict(zip(rows, dataset.as_numpy_iterator()))


class Batches:
    """The global batches of a stage: draw d is the same whatever the number of replicas, readers or restarts.

    The sampler yields global index rows; replica r takes the r-th contiguous slice, and a group (P x K identity, pair,
    episode) is never split. The seed of a batch is a function of run seed, draw and replica, so that a restart goes on
    with the very next batch. In place of a group with a damaged record comes the next sound group of the epoch, so that
    whatever the sampler promises of a group still holds.

    Args:    images: an `Images`.  table: what the sampler sees.  sampler: (table, seed, epoch) -> [steps, B].
             augment: (images, seed, strength) -> images, in order.  mixing: (batch, seed) -> batch, in order.
             seed: of the run.
             crop: an augmentation with `boxes(heights, widths, seed, strength, result)`: each image is cut from its
             stored pixels and brought to the size, of a JPEG without decoding the rest; nothing is kept in memory then.
             views: (images, seed, strength) -> tuple of [b,V,h,w,C], of the augmented images.
    Batch:   image [b,H,W,C] float32, label [b] int32, index [b] int64 (rows), memo {name: [b, ...]}, views if any.
    """

    def __init__(self, images, table, sampler, augment=(), mixing=(), seed=0, crop=None, views=None):
        self.images, self.table, self.sampler, self.seed = images, table, sampler, seed
        self.augment, self.mixing, self.crop, self.views = augment, mixing, crop, views
        self._epoch = (-1, None)
        self._sound = (None, None)      # (epoch, damaged records), the groups without one

    def rows(self, draw):
        """Global index rows [B] of draw d."""
        if self._epoch[1] is None:
            self._epoch = (0, self.sampler(self.table, self.seed, 0))
        steps = len(self._epoch[1])
        epoch, place = divmod(int(draw), steps)
        if epoch != self._epoch[0]:
            self._epoch = (epoch, self.sampler(self.table, self.seed, epoch))
        return self._epoch[1][place]

    def dataset(self, start, replicas=1, here=(0,), memo=None):
        """The batches of the replicas `here` (in order) from draw `start` on, without end.

        Raises:  ValueError where the batch cannot be dealt to the replicas in whole groups.
        """
        batch = len(self.rows(start))
        if batch % (replicas * self.sampler.group):
            unit = replicas * self.sampler.group
            raise ValueError(f"`batch` is {batch} but must be a multiple of {unit} ({replicas} replicas x groups of "
                             f"{self.sampler.group}); use {max(unit, batch - batch % unit)}.")
        share = batch // replicas
        cached = self.crop is None and len(self.table.rows) <= self.images.limit

        def read(number):
            draw, replica = start + number // len(here), here[number % len(here)]
            part, data = self._read(draw, slice(replica * share, (replica + 1) * share), cached)
            return np.int64([draw, replica]), part, data

        kind = tf.float32 if cached else tf.string
        shape = [*self.images.decoder.size, self.images.decoder.channels]
        labels = tf.constant(self.table.labels, tf.int32)
        memo = {name: tf.constant(values) for name, values in (memo or {}).items()}
        fold = tf.random.experimental.stateless_fold_in

        def load(number):
            place, rows, data = tf.numpy_function(read, [number], [tf.int64, tf.int64, kind])
            place, rows = tf.ensure_shape(place, [2]), tf.ensure_shape(rows, [share])
            # Folded, not added: runs of neighbouring seeds must not share streams shifted by a draw.
            seed = fold(fold(tf.constant([self.seed, 0], tf.int64), place[0]), place[1])
            return seed, rows, tf.ensure_shape(data, [share, *(shape if cached else [])])

        def finish(seed, rows, images):
            for number, method in enumerate(self.augment):
                images = method(images, fold(seed, number), 1.0)
            batch = {"image": images, "label": tf.gather(labels, rows), "index": rows,
                     "memo": {name: tf.gather(values, rows) for name, values in memo.items()}}
            if self.views is not None:
                batch["views"] = self.views(images, fold(seed, 3000), 1.0)
            for number, method in enumerate(self.mixing):
                batch = method(batch, fold(seed, 1000 + number))
            return batch

        dataset = tf.data.Dataset.counter().map(load)
        if not cached:
            dataset = self._decoded(dataset, share, fold)
        return dataset.map(finish, num_parallel_calls=2, deterministic=True).prefetch(2)

    def _decoded(self, dataset, share, fold):
        """The images of each element decoded one by one, on all cores."""
        decoder = self.images.decoder
        if self.crop is None:
            def part(seed, rows, data):
                return tf.data.Dataset.from_tensor_slices((tf.repeat(seed[None], share, 0), rows, data))

            def one(seed, row, data):
                return seed, row, decoder.image(data)
        else:
            records = self.images.records
            sizes = tf.constant(np.stack([records.column(side) for side in ("height", "width")], 1), tf.int32)

            def part(seed, rows, data):
                height, width = tf.unstack(tf.gather(sizes, rows), axis=1)
                boxes = self.crop.boxes(height, width, fold(seed, 2000), 1.0, decoder.size)
                return tf.data.Dataset.from_tensor_slices((tf.repeat(seed[None], share, 0), rows, data, boxes))

            def one(seed, row, data, box):
                return seed, row, decoder.crop(data, box)
        dataset = dataset.flat_map(part).map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return dataset.batch(share, drop_remainder=True).map(lambda seeds, rows, images: (seeds[0], rows, images))

    def _read(self, draw, share, cached):
        """The rows of a share of the batch, damaged groups replaced, and their images: decoded where kept in memory."""
        while True:
            rows = self._without_damage(draw, share)
            try:
                return rows, self.images.load(rows) if cached else self.images.records.images(rows)
            except DamagedError as error:
                self.images.skip(error)

    def _without_damage(self, draw, share):
        """Of the records known to be damaged. Which come instead does not depend on when the damage was found."""
        rows, group = self.rows(draw), self.sampler.group
        if not self.images.damaged:
            return rows[share]
        epoch = self._epoch[1]
        groups = epoch.reshape(-1, group)
        known = self._epoch[0], len(self.images.damaged)
        if self._sound[0] != known:
            self._sound = known, np.flatnonzero(~np.isin(groups, list(self.images.damaged)).any(axis=1))
        sound = self._sound[1]
        if not len(sound):
            raise ValueError(f"{next(iter(self.images.damaged.values()))} Every group of {group} of the sampler has "
                             "such a record.")
        first = draw % len(epoch) * (len(rows) // group)
        own = np.arange(first, first + len(rows) // group)
        own = sound[np.searchsorted(sound, own) % len(sound)]
        return groups[own].reshape(-1)[share]
