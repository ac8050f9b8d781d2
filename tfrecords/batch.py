"""Examples -> sampled, augmented, prefetched batches with O(1) seek."""

import dataclasses
import sys

import numpy as np
import tensorflow as tf
from rich.progress import track


@dataclasses.dataclass(frozen=True)
class Table:
    """What a sampler may look at: the eligible rows [n] and, by global row, the labels [N] (-1 = none)."""

    rows: np.ndarray
    labels: np.ndarray


class Images:
    """Decoded images by row; kept in memory once decoded while the whole selection fits.

    Args:    records: a `tfrecords.read.Records`.  decoder: a `tfrecords.decode.Decoder`.
             cache_mb: no more decoded pixels than this are kept (float32).
    """

    def __init__(self, records, decoder, cache_mb=1024):
        self.records, self.decoder = records, decoder
        height, width = decoder.size
        self.bytes = 4 * height * width * decoder.channels
        self.limit = int(cache_mb * 1e6 / self.bytes)
        self._cache = {}

    def load(self, rows, describe=None):
        """float32 [n,H,W,C]; a progress bar named `describe` when there is much to decode."""
        rows = np.asarray(rows)
        missing = [row for row in dict.fromkeys(rows.tolist()) if row not in self._cache]
        out = np.empty((len(rows), *self.decoder.size, self.decoder.channels), np.float32)
        keep = len(self._cache) + len(missing) <= self.limit
        fresh = self._cache if keep else {}
        blocks = [missing[i:i + 256] for i in range(0, len(missing), 256)]
        if describe and len(blocks) > 8 and sys.stderr.isatty():
            blocks = track(blocks, describe, transient=True)
        for block in blocks:
            for row, image in zip(block, self._decode(block)):
                fresh[row] = image
        for place, row in enumerate(rows.tolist()):
            image = fresh.get(row)
            out[place] = self._cache[row] if image is None else image
        return out

    def _decode(self, rows):
        dataset = tf.data.Dataset.from_tensor_slices(self.records.images(rows))
        dataset = dataset.map(self.decoder.image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return list(dataset.as_numpy_iterator())


class Batches:
    """The global batches of a stage: draw d is the same whatever the number of replicas, readers or restarts.

    The sampler yields global index rows; replica r takes the r-th contiguous slice, and a group (P x K identity, pair,
    episode) is never split. The seed of a batch is a function of run seed, draw and replica, so that a restart goes on
    with the very next batch.

    Args:    images: an `Images`.  table: what the sampler sees.  sampler: (table, seed, epoch) -> [steps, B].
             augment: (images, seed, strength) -> images, in order.  mixing: (batch, seed) -> batch, in order.
             seed: of the run.
    Batch:   image [b,H,W,C] float32, label [b] int32, index [b] int64, memo {name: [b, ...]}.
    """

    def __init__(self, images, table, sampler, augment=(), mixing=(), seed=0):
        self.images, self.table, self.sampler, self.seed = images, table, sampler, seed
        self.augment, self.mixing = augment, mixing
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
        height, width = self.images.decoder.size
        cached = len(self.table.rows) <= self.images.limit

        def slices():
            draw = start
            while True:
                rows = self.rows(draw)
                for replica in here:
                    part = rows[replica * share:(replica + 1) * share]
                    data = self.images.load(part) if cached else self.images.records.images(part)
                    yield np.int64([draw, replica]), part, data
                draw += 1

        kind = (tf.TensorSpec([share, height, width, self.images.decoder.channels], tf.float32) if cached
                else tf.TensorSpec([share], tf.string))
        labels = tf.constant(self.table.labels, tf.int32)
        memo = {name: tf.constant(values) for name, values in (memo or {}).items()}

        def finish(place, rows, data):
            # Folded, not added: runs of neighbouring seeds must not share streams shifted by a draw.
            seed = tf.random.experimental.stateless_fold_in(tf.constant([self.seed, 0], tf.int64), place[0])
            seed = tf.random.experimental.stateless_fold_in(seed, place[1])
            images = data if cached else self.images.decoder.images(data, most_pixels=None)
            for number, method in enumerate(self.augment):
                images = method(images, tf.random.experimental.stateless_fold_in(seed, number), 1.0)
            batch = {"image": images, "label": tf.gather(labels, rows), "index": rows,
                     "memo": {name: tf.gather(values, rows) for name, values in memo.items()}}
            for number, method in enumerate(self.mixing):
                batch = method(batch, tf.random.experimental.stateless_fold_in(seed, 1000 + number))
            return batch

        dataset = tf.data.Dataset.from_generator(slices, output_signature=(
            tf.TensorSpec([2], tf.int64), tf.TensorSpec([share], tf.int64), kind))
        return dataset.map(finish, num_parallel_calls=2, deterministic=True).prefetch(2)
