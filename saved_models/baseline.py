"""What held-out images are answered with, stored in a version: with it a server compares what it answers.

assets/monitoring.json: {"images": n, "default": the default signature, "signatures": {signature: {figure: facts}}}.
Facts of a number (`score`, `confidence` = the largest probability, `distance` = 1 - cosine to `centre`): `count`,
`quantiles` {"0.01": value, ...} and `above`, the share above the median; of a flag (`abstain`, `unknown`, `decision`):
`count` and `share`. `effective` is how many independent images the `count` are worth: fewer where images of one
identity are answered alike and other identities will be asked about. What is not stored is not compared.
"""
import json
import math

import numpy as np
import tensorflow as tf

FILE = "monitoring.json"
MOST_IMAGES = 500
BLOCK = 64                                        # images answered at a time
LEAST = 20                                        # rows, of fewer nothing is stored
FILE_BYTES = 16 * 2**20                           # larger than any that is written here
LEAST_GROUPS = 10
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
NUMBERS, FLAGS = ("score", "confidence", "distance"), ("abstain", "unknown", "decision")


def measured(outputs):
    """{figure: (output it is read from, rows -> [n] numbers)} of a signature by the types of what it answers.

    `score` [n], or the best of the `scores` [n,k] of a search; `confidence`: the largest of the `probabilities`
    [n,K], or of the `scores` beside `classes`; flags are outputs of booleans [n]. `embedding` [n,D] is told as
    `distance` with None for the function, as that needs a centre.

    Args:    outputs: {output: array}.
    """
    def fits(name, kind, ndim):
        return name in outputs and outputs[name].dtype.kind == kind and outputs[name].ndim == ndim

    found = {name: (name, _plain) for name in FLAGS if fits(name, "b", 1)}
    if fits("score", "f", 1):
        found["score"] = ("score", _plain)
    elif fits("scores", "f", 2) and "classes" not in outputs:
        found["score"] = ("scores", _largest)
    for name in ("probabilities", *(["scores"] if "classes" in outputs else [])):
        if fits(name, "f", 2):
            found.setdefault("confidence", (name, _largest))
    if fits("embedding", "f", 2):
        found["distance"] = ("embedding", None)
    return found


def _plain(values):
    return values


def _largest(values):
    if len(values) == 1 and values.size:          # most requests; an eighth of the time of what stands below
        row = values[0]
        return [float(row[row.argmax()])]
    return values.max(axis=1) if values.size else values.reshape(-1)[:0]


def distances(vectors, centre):
    """1 - cosine of each of the vectors [n,D] to the centre [D] of length 1; NaN for a vector without a direction."""
    if len(vectors) == 1:                         # most requests; half the time of what stands below
        vector = vectors[0]
        length = math.sqrt(vector.dot(vector))
        return [1.0 - float(vector.dot(centre)) / length if length else math.nan]
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1.0 - vectors @ centre / np.sqrt(np.square(vectors).sum(axis=1))


def baseline(signatures, count, load, identities=None, grouped=False):
    """What is stored of live signatures; {} where none of them has a watched output, or for few images.

    Of signatures on two images only how far the `score` reaches is stored: half of the pairs are of one identity, which
    says nothing about how many will be asked about.

    Args:    signatures: {name: entry} as for signatures.build_module.
             count: held-out images, of which at most the first MOST_IMAGES are asked about.
             load: (places) -> float32 [n,H,W,C] of them.
             identities: [count], by which pairs are made; None = pairs of neighbours.
             grouped: whether what is asked about will be of other identities.
    """
    count, found = min(count, MOST_IMAGES), {}
    if count < LEAST:
        return {}
    identities = None if identities is None else np.asarray(identities)[:count]
    groups = identities if grouped else None
    for name, entry in signatures.items():
        if "images" not in entry:
            continue
        places = [np.arange(count)]
        if entry["images"] == 2:
            places.append(_partners(np.arange(count) if identities is None else identities))
        outputs = _answers(entry["function"], load, places)
        facts = outputs and facts_of(outputs, entry["images"] == 2, groups)
        if facts:
            found[name] = facts
    return {"images": count, "default": next(iter(signatures)), "signatures": found} if found else {}


def _partners(identities):
    """For each place another one: of its own identity where there is one at every second place, else of another."""
    count, partners = len(identities), np.roll(np.arange(len(identities)), -1)
    for place in range(count):
        others = (place + 1 + np.arange(count - 1)) % count
        wanted = others[(identities[others] == identities[place]) == (place % 2 == 0)]
        if len(wanted):
            partners[place] = wanted[0]
    return partners


def _answers(function, load, places):
    """{output: array} of all places, those that are watched alone; {} where none is."""
    def answered(block):
        outputs = function(*(tf.constant(load(part[block])) for part in places))
        return {key: np.asarray(value) for key, value in outputs.items() if tf.as_dtype(value.dtype) != tf.string}

    # One image says which outputs there are: maps and the like would be made 500 times for nothing.
    wanted = {output for output, _ in measured(answered(slice(0, 1))).values()}
    if not wanted:
        return {}
    parts = [answered(slice(start, start + BLOCK)) for start in range(0, len(places[0]), BLOCK)]
    return {key: np.concatenate([part[key] for part in parts]) for key in wanted}


def facts_of(outputs, pairs=False, groups=None):
    """{figure: facts} of the answers of one signature.

    Args:    outputs: {output: array [n, ...]}.  pairs: whether each answer is about two images.
             groups: [n], equal for rows that may be alike; None = every row stands for itself.
    """
    facts = {}
    for figure, (output, read) in measured(outputs).items():
        values = outputs[output]
        if figure in FLAGS:
            if not pairs:
                facts[figure] = {"count": len(values), "share": float(values.mean()),
                                 "effective": _effective(values, groups)}
            continue
        centre = {}
        if read is None:
            mean = _directions(values).sum(axis=0)
            if not np.linalg.norm(mean) > 0:
                continue
            mean = mean / np.linalg.norm(mean)
            centre, values = {"centre": [float(number) for number in mean]}, distances(values, mean)
        else:
            values = read(values)
        values = np.asarray(values, np.float64)
        sound = np.isfinite(values)
        if sound.sum() >= LEAST:
            facts[figure] = {**_spread(values[sound], pairs, None if groups is None else groups[sound]), **centre}
    return facts


def _directions(vectors):
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    sound = np.isfinite(lengths) & (lengths > 0)
    return vectors[sound] / lengths[sound, None]


def _effective(hits, groups):
    """How many independent rows know a share as well as these do, at least one a group.

    The variance of the share over groups (as of clusters drawn together) against that of single rows.
    """
    count, share = len(hits), np.mean(hits)
    if groups is None or not 0 < share < 1:
        return float(count if groups is None else len(np.unique(groups)))
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.bincount(numbers, hits - share)
    if len(sums) < LEAST_GROUPS:                  # the variance of so few would be a guess
        return float(len(sums))
    variance = np.square(sums).sum() * len(sums) / (len(sums) - 1) / count ** 2
    return float(np.clip(share * (1 - share) / max(variance, 1e-12), len(sums), count))


def _spread(values, pairs, groups):
    # Values that occurred: how many of n others fall outside of two of them does not depend on what is measured.
    quantiles = np.quantile(values, LEVELS, method="inverted_cdf")
    above = values > quantiles[LEVELS.index(0.5)]
    return {"count": len(values), "quantiles": dict(zip(map(str, LEVELS), map(float, quantiles))),
            "effective": _effective(above, groups), **({} if pairs else {"above": float(above.mean())})}


def read_baseline(file):
    """The content of a monitoring.json, checked; {} where there is no such file.

    Args:    file: its path, which may be a URI that TensorFlow reads.
    Raises:  ValueError naming what is wrong; tf.errors.OpError.
    """
    if not tf.io.gfile.exists(file):
        return {}
    if tf.io.gfile.stat(file).length > FILE_BYTES:
        raise ValueError(f"`{file}` has more than the {FILE_BYTES:,} bytes it may have; export the version again.")
    try:
        with tf.io.gfile.GFile(file) as stream:
            found = json.load(stream)
        for facts in found["signatures"].values():
            for figure, fact in facts.items():
                _require_sound(figure, fact)
        str.strip(found["default"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"`{file}` does not hold what an export writes ({error!r}); export the version "
                         "again.") from None
    return found


def _require_sound(figure, fact):
    if figure not in (*NUMBERS, *FLAGS):
        raise ValueError(f"unknown figure {figure}")
    if not (isinstance(fact["count"], int) and fact["count"] > 0):
        raise ValueError(f"count {fact['count']} of {figure}")
    if not 0 < fact["effective"] <= fact["count"]:
        raise ValueError(f"{fact['effective']} effective images of {figure}")
    shares = [fact["share"]] if figure in FLAGS else [fact["above"]] if "above" in fact else []
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"share {shares} of {figure}")
    if figure in NUMBERS:
        levels = [float(fact["quantiles"][str(level)]) for level in LEVELS]
        if not (np.isfinite(levels).all() and sorted(levels) == levels):
            raise ValueError(f"quantiles {levels} of {figure}")
    if figure == "distance" and not (np.ndim(fact["centre"]) == 1 and np.isfinite(fact["centre"]).all()):
        raise ValueError("centre of the distance")
