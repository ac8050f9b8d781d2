"""What one version answers, row by row: in come the outputs of requests, out go histograms, shares and warnings.

A share of rows (a flag, or numbers outside the range that is stored) is compared, over the last WINDOW rows, with what
the held-out images gave at export. As their share is itself known from n images only, the number of hits among the
rows of a window is beta-binomial; the band leaves out tails of LEAVES each. What has left it is back inside a narrower
band of RETURNS, and each share tells of itself at most once in NOTICE_SECONDS.
"""

import itertools
import math
import threading
import time

import numpy as np
from absl import logging

from saved_models.baseline import FLAGS, distances, measured
from serving.histogram import Histogram

WINDOW = 256  # rows
LEAVES, RETURNS = 1e-6, 1e-2
NOTICE_SECONDS = 60.0
LEAST_KNOWN = 10  # independent held-out images; with what fewer say nothing is compared
FORMS = ("_tensor", "_landmarks", "_examples")  # of a signature: the same answers to images given otherwise
EDGES = {
    "score": (-10.0, -5.0, -2.0, *(number / 10 for number in range(-10, 11)), 2.0, 5.0, 10.0),
    "confidence": tuple(number / 20 for number in range(1, 21)),
    "distance": (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
                 1.25, 1.5, 2.0),
}


def band(hits, misses, rows, tail):
    """(fewest, most) of `rows` that are hits, but for tails of probability `tail`, where the share of hits is
    Beta(hits, misses).
    """
    def logs(k):
        return (math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1) + math.lgamma(k + hits)
                + math.lgamma(rows - k + misses) - math.lgamma(rows + hits + misses)
                + math.lgamma(hits + misses) - math.lgamma(hits) - math.lgamma(misses))  # fmt: skip

    chances = [math.exp(logs(k)) for k in range(rows + 1)]
    fewest = sum(total <= tail for total in itertools.accumulate(chances))
    most = rows - sum(total <= tail for total in itertools.accumulate(reversed(chances)))
    return fewest, most


class Share:
    """How many of the last WINDOW rows are hits, and whether that is as it was at export.

    Args:    what: names the hits in the log.
             stored: (hits, misses) of a Beta distribution; None = nothing to compare with.
             more_only: whether fewer hits than stored are no matter.
             clock: seconds.
    """

    def __init__(self, what, stored=None, more_only=False, clock=time.monotonic):
        self.what, self.out, self._clock = what, False, clock
        self.expected = stored and stored[0] / sum(stored)
        self._bands = stored and [band(*stored, WINDOW, tail) for tail in (LEAVES, RETURNS)]
        if stored and more_only:
            self._bands = [(0, most) for _, most in self._bands]
        self._ring, self._at, self._hits, self._full = bytearray(WINDOW), 0, 0, False
        self._told = -math.inf

    @property
    def share(self):
        """Of the last rows; None before there is one."""
        rows = WINDOW if self._full else self._at
        return self._hits / rows if rows else None

    def add(self, hits):
        """A row each.   Args: hits: list of bool.   Returns: what to log about it, "" for nothing."""
        ring, at = self._ring, self._at
        for hit in hits[-WINDOW:]:
            self._hits += hit - ring[at]
            ring[at] = hit
            at += 1
            if at == WINDOW:
                at, self._full = 0, True
        self._at = at
        if not self._full or self._bands is None:
            return ""
        fewest, most = self._bands[self.out]
        if (fewest <= self._hits <= most) != self.out:
            return ""
        now = self._clock()
        if now - self._told < NOTICE_SECONDS:
            return ""
        self._told, self.out = now, not self.out
        return (
            f"{self.what} {'has left' if self.out else 'is back in'} its band: {self._hits / WINDOW:.1%} of the last "
            f"{WINDOW} answers, {self.expected:.1%} of the held-out images at export."
        )


class Number:
    """A histogram of a figure, and its shares of rows outside the stored range and above the stored median.

    Args:    name: the figure's.  stored: its facts in monitoring.json; None = there are none.
    """

    def __init__(self, name, stored=None, clock=time.monotonic):
        self.histogram = Histogram(EDGES[name])
        self.shares, self._low, self._high, self._median = {}, None, None, None
        if stored and stored["effective"] >= LEAST_KNOWN:
            known, quantiles = stored["effective"], stored["quantiles"]
            self._low, self._high, self._median = quantiles["0.01"], quantiles["0.99"], quantiles["0.5"]
            # Of the n + 1 gaps between n numbers each gets as many of others; so many lie between the two stored ones.
            inside = max(math.ceil(0.99 * known) - math.ceil(0.01 * known), 0.5)
            self.shares["outside"] = Share(
                f"{name} outside [{self._low:.4g}, {self._high:.4g}]", (known + 1 - inside, inside), True, clock
            )
            if "above" in stored:
                self.shares["above_median"] = Share(
                    f"{name} above {self._median:.4g}", _beta(stored["above"], known), False, clock
                )

    def add(self, values):
        """Args: values: list of floats.   Returns: [what to log]."""
        for value in values:
            self.histogram.add(value)
        if not self.shares:
            return ()
        low, high, median = self._low, self._high, self._median
        told = [self.shares["outside"].add([not low <= value <= high for value in values])]
        if "above_median" in self.shares:
            told.append(self.shares["above_median"].add([value > median for value in values]))
        return told


class Flag:
    """How many rows have a flag.   Args: as of Number."""

    def __init__(self, name, stored=None, clock=time.monotonic):
        self.rows = self.hits = 0
        known = stored["effective"] if stored else 0
        beta = _beta(stored["share"], known) if known >= LEAST_KNOWN else None
        self.shares = {"flagged": Share(f"share of {name}", beta, False, clock)}

    def add(self, values):
        self.rows += len(values)
        self.hits += sum(values)
        return (self.shares["flagged"].add(values),)


def _beta(share, count):
    """What is known of a share that was `share` of `count`: Jeffreys' Beta distribution."""
    return share * count + 0.5, (1 - share) * count + 0.5


class Figures:
    """All figures of one version.

    Args:    name, number: model and version, for the log.
             stored: content of its monitoring.json, {} = none.
             clock: seconds.
    """

    def __init__(self, name, number, stored=None, clock=time.monotonic):
        self._place, self._clock = f"Model {name} version {number}", clock
        self._stored, self._default = (stored or {}).get("signatures", {}), (stored or {}).get("default")
        self._lock, self._plans, self._figures = threading.Lock(), {}, {}

    def see(self, key, outputs):
        """Args: key: the signature that answered.  outputs: {output: array [n, ...]} as answered."""
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = self._plan(key, outputs)
            told = []
            for output, read, figure in plan:
                values = read(outputs[output])
                told += figure.add(values if type(values) is list else values.tolist())
        for line in filter(None, told):
            logging.warning("%s, signature %s: %s", self._place, self._signature(key), line)

    def all(self):
        """[(signature, figure's name, Number or Flag)], under the lock that `see` takes."""
        with self._lock:
            return [(*names, figure) for names, figure in self._figures.items()]

    def lock(self):
        return self._lock

    def _plan(self, key, outputs):
        signature, plan = self._signature(key), []
        stored = self._stored.get(signature, {})
        for name, (output, read) in measured(outputs).items():
            facts = stored.get(name)
            if read is None:
                if not facts or len(facts["centre"]) != outputs[output].shape[1]:
                    continue
                read = _distance(np.asarray(facts["centre"], np.float32))
            figure = self._figures.get((signature, name))
            if figure is None:
                figure = (Flag if name in FLAGS else Number)(name, facts, clock=self._clock)
                self._figures[signature, name] = figure
            plan.append((output, read, figure))
        return plan

    def _signature(self, key):
        """The name under which the answers of a signature are counted."""
        if key == "serving_default":
            return self._default or key
        stem = next((key.removesuffix(form) for form in FORMS if key.endswith(form)), key)
        return stem if stem in self._stored else key


def _distance(centre):
    return lambda vectors: distances(vectors.astype(np.float32, copy=False), centre)
