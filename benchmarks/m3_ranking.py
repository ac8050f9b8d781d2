"""M3: cumulative match characteristic and mean average precision with the camera filter."""

import functools
import importlib.util
import pathlib
import sys

import numpy as np

from benchmarks.row import Peer, Row

RANKS = (1, 5, 10)
CAMERAS, DIMENSION = 6, 256
TINY = {"queries": 30, "entries": 200, "identities": 20}


def inputs(queries, entries, identities):
    """Unit vectors about a centre each identity; identity 0 is of the gallery alone, the last of the queries alone."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((identities, DIMENSION), np.float32)
    found = {}
    for side, count, ids in (("query", queries, random.integers(1, identities, queries)),
                             ("gallery", entries, random.integers(0, identities - 1, entries))):
        rows = centres[ids] + 3 * random.standard_normal((count, DIMENSION), np.float32)
        found.update({side: rows / np.linalg.norm(rows, axis=1, keepdims=True), f"{side}_identities": ids,
                      f"{side}_cameras": random.integers(0, CAMERAS, count)})
    return found


class Ours:
    def __init__(self, arrays):
        self.arrays = arrays

    def _figures(self):
        from keras_apps.metrics.protocols import evaluate

        return evaluate(**self.arrays, protocol="market1501", ranks=RANKS)

    def call(self):
        self._figures()
        return 1

    def result(self):
        found = self._figures()
        return {"figures": np.array([*(found[f"rank{k}"] for k in RANKS), found["map"]])}

    def bound(self):
        """The product in blocks of 32 MB, which no search goes without."""
        query, gallery = self.arrays["query"], self.arrays["gallery"].T
        step = max(1, (1 << 23) // gallery.shape[1])
        for start in range(0, len(query), step):
            query[start:start + step] @ gallery
        return 1


class Torchreid:
    """`eval_market1501` of its ranking's file alone: the package imports all of itself, and tools of no use here."""

    def __init__(self, arrays):
        package = pathlib.Path(importlib.util.find_spec("torchreid").submodule_search_locations[0])
        sys.modules["torchreid"] = None     # the file looks for its compiled part, which the package does not hold
        spec = importlib.util.spec_from_file_location("torchreid_rank", package / "reid" / "metrics" / "rank.py")
        self.rank = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.rank)
        self.arrays = arrays

    def _figures(self):
        arrays = self.arrays
        facts = (arrays[f"{side}_{name}"] for name in ("identities", "cameras") for side in ("query", "gallery"))
        return self.rank.eval_market1501(-(arrays["query"] @ arrays["gallery"].T), *facts, max_rank=max(RANKS))

    def call(self):
        self._figures()
        return 1

    def result(self):
        shares, mean = self._figures()
        return {"figures": np.array([*(shares[k - 1] for k in RANKS), mean])}


def equal(arrays, ours, peer):
    return np.abs(ours["figures"] - peer["figures"]).max()


def row(queries=1000, entries=20_000, identities=751):
    return Row(
        work=f"rank-1, 5, 10, mAP of {queries} queries in a gallery of {entries}, {identities} identities, {CAMERAS} "
             f"cameras, {DIMENSION} dimensions, from unit vectors; limit: the product, measured; equal: largest "
             "difference of these figures",
        unit="ms",
        inputs=functools.partial(inputs, queries, entries, identities),
        ours=Ours,
        peers={"torchreid": Peer(Torchreid, tolerance=1e-6)},
        headline="torchreid",
        equal=equal,
    )
