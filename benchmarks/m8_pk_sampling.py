"""M8: P x K sampling of an epoch."""

import functools

import numpy as np

from benchmarks.row import Peer, Row

IMAGES, BATCH = 4, 128      # K of an identity, P K of a batch
TINY = {"samples": 600, "identities": 100}


def inputs(samples, identities):
    """Every identity has samples / identities images, in random order."""
    return {"labels": np.random.default_rng(0).permutation(np.arange(samples) % identities)}


class Ours:
    """Epochs of our sampler until as many samples as there are images are drawn."""

    def __init__(self, arrays):
        from tfrecords.batch import Table
        from tfrecords.samplers.pk import PkSampler

        labels = arrays["labels"]
        self.table, self.sampler = Table(np.arange(len(labels)), labels), PkSampler(BATCH, IMAGES)
        self.epoch = 0

    def _epoch(self):
        self.epoch += 1
        return self.sampler(self.table, seed=0, epoch=self.epoch)

    def call(self):
        items = 0
        while items < len(self.table.labels):
            items += self._epoch().size
        return items

    def result(self):
        return {"rows": self._epoch()}

    def bound(self):
        """All rows in random order once: no sampler draws less."""
        return np.random.default_rng(0).permutation(self.table.rows).size


class MetricLearning:
    def __init__(self, arrays):
        from pytorch_metric_learning.samplers import MPerClassSampler

        labels = arrays["labels"]
        self.sampler = MPerClassSampler(labels, IMAGES, BATCH, length_before_new_iter=len(labels))

    def call(self):
        return len(list(self.sampler))

    def result(self):
        return {"rows": np.array(list(self.sampler)).reshape(-1, BATCH)}


def equal(arrays, ours, peer):
    """The larger share of batches that are not P different identities times K different images."""
    def share(rows):
        groups = np.sort(rows.reshape(len(rows), -1, IMAGES), axis=2)
        labels = arrays["labels"][groups]
        alike = (labels == labels[..., :1]).all(axis=(1, 2)) & (np.diff(groups, axis=2) > 0).all(axis=(1, 2))
        different = (np.diff(np.sort(labels[..., 0], axis=1), axis=1) > 0).all(axis=1)
        return 1.0 - np.mean(alike & different)
    return max(share(ours["rows"]), share(peer["rows"]))


def row(samples=200_000, identities=20_000):
    return Row(
        work=f"{samples} samples of {identities} identities, {IMAGES} images each, batches of {BATCH}; limit: one "
             "permutation of the rows, measured; equal: share of batches that are not P x K",
        unit="us/sample",
        inputs=functools.partial(inputs, samples, identities),
        ours=Ours,
        peers={"pytorch-metric-learning": Peer(MetricLearning, tolerance=0.0)},
        headline="pytorch-metric-learning",
        equal=equal,
    )
