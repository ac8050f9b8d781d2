"""Examples -> sampled, augmented, prefetched batches with O(1) seek."""

import dataclasses
import sys

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from tfrecords.read import DamagedError


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

    def load(self, rows, describe=None):
        """float32 [n,H,W,C]; a progress bar named `describe` when there is much to decode.

        Raises:  DamagedError where one of them cannot be read.
        """
        rows = np.asarray(rows)
        missing = [row for row in dict.fromkeys(rows.tolist()) if row not in self._cache]
        out = np.empty((len(rows), *self.decoder.size, self.decoder.channels), np.float32)
        keep = len(self._cache) + len(missing) <= self.limit
        fresh = self._cache if keep else {}
        blocks = [missing[i:i + 256] for i in range(0, len(missing), 256)]
        if describe and len(blocks) > 8 and sys.stderr.isatty():
            blocks = track(blocks, describe, transient=True, console=Console(stderr=True))
        for block in blocks:
            for row, image in zip(block, self._decode(block)):
                fresh[row] = image
        for place, row in enumerate(rows.tolist()):
            image = fresh.get(row)
            out[place] = self._cache[row] if image is None else image
        return out

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
        return rows[~np.isin(rows, list(self.damaged))] if self.damaged else rows

    def skip(self, error):
        """Takes note of a damaged record.   Raises: the error itself beyond `most_damaged`."""
        if len(self.damaged) >= self.most_damaged:
            raise error
        self.damaged[error.row] = str(error)
        print(f"warning: {error} It is skipped, as {len(self.damaged)} of at most {self.most_damaged}.",
              file=sys.stderr)

    def _decode(self, rows):
        dataset = tf.data.Dataset.from_tensor_slices(self.records.images(rows))
        dataset = dataset.map(self.decoder.image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return list(dataset.as_numpy_iterator())


class Batches:
    """The global batches of a stage: draw d is the same whatever the number of replicas, readers or restarts.

    The sampler yields global index rows; replica r takes the r-th contiguous slice, and a group (P x K identity, pair,
    episode) is never split. The seed of a batch is a function of run seed, draw and replica, so that a restart goes on
    with the very next batch. In place of a damaged record comes the next sound row of the same label.

    Args:    images: an `Images`.  table: what the sampler sees.  sampler: (table, seed, epoch) -> [steps, B].
             augment: (images, seed, strength) -> images, in order.  mixing: (batch, seed) -> batch, in order.
             seed: of the run.
             crop: an augmentation with `boxes(heights, widths, seed, strength)`: each image is cut from its stored
             pixels and brought to the size, of a JPEG without decoding the rest; nothing is kept in memory then.
             views: (images, seed, strength) -> tuple of [b,V,h,w,C], of the augmented images.
    Batch:   image [b,H,W,C] float32, label [b] int32, index [b] int64 (rows), memo {name: [b, ...]}, views if any.
    """

    def __init__(self, images, table, sampler, augment=(), mixing=(), seed=0, crop=None, views=None):
        self.images, self.table, self.sampler, self.seed = images, table, sampler, seed
        self.augment, self.mixing, self.crop, self.views = augment, mixing, crop, views
        self._epoch = (-1, None)

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

        def slices():
            draw = start
            while True:
                rows = self.rows(draw)
                for replica in here:
                    part, data = self._read(rows[replica * share:(replica + 1) * share], cached)
                    yield np.int64([draw, replica]), part, data
                draw += 1

        kind = (tf.TensorSpec([share, *self.images.decoder.size, self.images.decoder.channels], tf.float32) if cached
                else tf.TensorSpec([share], tf.string))
        labels = tf.constant(self.table.labels, tf.int32)
        memo = {name: tf.constant(values) for name, values in (memo or {}).items()}
        sizes = None if self.crop is None else tf.constant(
            np.stack([self.images.records.column(side) for side in ("height", "width")], 1), tf.int32)

        def finish(place, rows, data):
            # Folded, not added: runs of neighbouring seeds must not share streams shifted by a draw.
            fold = tf.random.experimental.stateless_fold_in
            seed = fold(fold(tf.constant([self.seed, 0], tf.int64), place[0]), place[1])
            if self.crop is not None:
                height, width = tf.unstack(tf.gather(sizes, rows), axis=1)
                images = self.images.decoder.crops(data, self.crop.boxes(height, width, fold(seed, 2000), 1.0))
            else:
                images = data if cached else self.images.decoder.images(data, most_pixels=None)
            for number, method in enumerate(self.augment):
                images = method(images, fold(seed, number), 1.0)
            batch = {"image": images, "label": tf.gather(labels, rows), "index": rows,
                     "memo": {name: tf.gather(values, rows) for name, values in memo.items()}}
            if self.views is not None:
                batch["views"] = self.views(images, fold(seed, 3000), 1.0)
            for number, method in enumerate(self.mixing):
                batch = method(batch, fold(seed, 1000 + number))
            return batch

        dataset = tf.data.Dataset.from_generator(slices, output_signature=(
            tf.TensorSpec([2], tf.int64), tf.TensorSpec([share], tf.int64), kind))
        return dataset.map(finish, num_parallel_calls=2, deterministic=True).prefetch(2)

    def _read(self, rows, cached):
        """The rows, damaged ones replaced, and their images: decoded where they are kept in memory."""
        while True:
            rows = np.array([self._in_place_of(row) if row in self.images.damaged else row for row in rows.tolist()])
            try:
                return rows, self.images.load(rows) if cached else self.images.records.images(rows)
            except DamagedError as error:
                self.images.skip(error)

    def _in_place_of(self, row):
        """The next row of the same label that is not known to be damaged."""
        alike = np.sort(self.table.rows[self.table.labels[self.table.rows] == self.table.labels[row]])
        alike = alike[~np.isin(alike, list(self.images.damaged))]
        if not len(alike):
            raise ValueError(f"{self.images.damaged[row]} No other image of its label is left to take its place.")
        return alike[np.searchsorted(alike, row) % len(alike)]
