"""Diagnosis: how well a classifier's probabilities tell classes apart, and whether they mean what they say.

What is not defined is NaN, such as the AUC where there is one class only: a resample of few images may have just one,
and `bootstrap` leaves such draws out.
"""

import math
import numbers

import numpy as np

from keras_apps.metrics import verification

BINS = 15
LEAST = 1e-12       # a probability of 0 counts as this where its logarithm is taken
_SUM = 1e-2         # how far probabilities of half precision may sum up beside 1


def confusion(decisions, truth, classes):
    """How often each class was taken for each.

    Args:    decisions, truth: [n] int in [0, classes); no row is a table of zeros.  classes: K >= 1.
    Returns: [K, K] int64: row = truth, column = decision.
    Raises:  ValueError for shapes that do not fit, numbers that are no class.
    """
    truth = class_numbers(truth, "truth", classes)
    decisions = class_numbers(decisions, "decisions", classes, len(truth))
    return _table(decisions, truth, classes)


def figures(probabilities, truth, positive=None, decisions=None):
    """Every figure of a classifier that needs no choice.

    With table = `confusion`, for one class against all others:
    precision = right / called,  recall = right / true,  f = 2 right / (true + called),
    specificity = (others not called) / others,  auc = P(p_k of an image of class k > p_k of another), ties at 1/2
    accuracy  = right of all classes / n
    qwk       = 1 - sum_jk (j - k)^2 table_jk n / sum_jk (j - k)^2 true_j called_k      class numbers taken as grades
    ece       = that of p_max and whether its class is the true one, in 15 bins
    brier     = mean_i sum_k (p_ik - [k = t_i])^2, in [0, 2]: for two classes twice what tools for them give
    nll       = mean_i -log max(p_i,t_i, 1e-12)

    With `positive` precision, recall, specificity, f and auc are those of that class, which makes specificity the other
    one's recall. Without it they are the mean over the classes that are in `truth`, each against all others.
    0 / 0 is NaN: specificity and auc where all images are of one class, recall and auc of a `positive` that is not
    there, qwk where one class is all truth and all decisions. But the precision of a class that is there and never
    called is 0.

    Args:    probabilities: [n, K], K >= 2, rows that sum to 1.  truth: [n] int.
             positive: class number where K = 2; None = the mean over the classes.
             decisions: [n] int, such as those of a threshold; None = the largest probability. They change accuracy,
             precision, recall, specificity, f and qwk; the other figures are of the probabilities.
    Returns: {"accuracy", "precision", "recall", "specificity", "f", "auc", "qwk", "ece", "brier", "nll"}, floats.
    Raises:  ValueError for shapes that do not fit, no image, rows that are no probabilities, numbers that are no class,
             a `positive` that is none or one of more than two.
    """
    probabilities = _probabilities(probabilities)
    count, classes = probabilities.shape
    truth = class_numbers(truth, "truth", classes, count)
    if positive is not None and (classes != 2 or positive not in (0, 1)):
        raise ValueError(f"`positive` is {positive} of {classes} classes but must be 0 or 1, of two; leave it out for "
                         "the mean over the classes.")
    best = probabilities.argmax(axis=1)
    decided = best if decisions is None else class_numbers(decisions, "decisions", classes, count)
    table = _table(decided, truth, classes)
    right, true, called = np.diagonal(table), table.sum(axis=1), table.sum(axis=0)
    chosen = np.flatnonzero(true) if positive is None else np.array([positive])
    with np.errstate(invalid="ignore"):
        parts = {"precision": np.where((called == 0) & (true > 0), 0, right / called),
                 "recall": right / true,
                 "specificity": (count - true - called + right) / (count - true),
                 "f": 2 * right / (true + called)}
    confidence = probabilities[np.arange(count), best]
    errors = probabilities.astype(np.float64)       # a copy
    own = errors[np.arange(count), truth]
    errors[np.arange(count), truth] -= 1
    return {"accuracy": int(right.sum()) / count,
            **{name: float(values[chosen].mean()) for name, values in parts.items()},
            "auc": float(np.mean([_auc(probabilities[:, k], truth == k) for k in chosen])),
            "qwk": _kappa(table),
            "ece": _ece(confidence, best == truth, BINS),
            "brier": float(np.square(errors).sum() / count),
            "nll": float(-np.log(np.maximum(own, LEAST)).mean())}


def reliability(confidence, right, bins=BINS):
    """What a diagram of reliability shows: how sure and how often right, by bins of the confidence.

    Bin b holds the confidences in (b / bins, (b + 1) / bins], the first also 0.

    Args:    confidence: [n] in [0, 1], the largest probability.  right: [n] bool.  bins: >= 1.
    Returns: mean confidence [bins], accuracy [bins], count [bins] int; the first two NaN where the count is 0.
    Raises:  ValueError for shapes that do not fit, no image, confidences outside [0, 1], bins below 1.
    Source:  Guo et al., ICML 2017, arXiv:1706.04599, section 2.
    """
    confidence, right = confidences(confidence, right)
    return _reliability(confidence, right, _bins(bins))


def ece(confidence, right, bins=BINS):
    """Expected calibration error: how far confidence and accuracy lie apart, by bins of the confidence.

    value = sum_b count_b / n |accuracy_b - mean confidence_b|

    Few images raise it: accuracies of bins with few of them are mostly chance. Compare on the same images.

    Args, Raises, Source: as `reliability`.
    Returns: float in [0, 1].
    """
    confidence, right = confidences(confidence, right)
    return _ece(confidence, right, _bins(bins))


def sensitivity_at_specificity(scores, truth, specificity):
    """The best sensitivity of a threshold that keeps to a specificity. An image is called positive if score >= it.

    sensitivity = max {|positive, score >= t| / |positive|: |negative, score < t| / |negative| >= specificity}

    The threshold is in the middle of the gap below the lowest positive it calls, as `verification.threshold_at_far`
    tells; negatives that tie are called together or not at all.

    Args:    scores: [n], larger = more positive, in the dtype that is served.  truth: [n] bool.
             specificity: in [0, 1].
    Returns: (sensitivity, threshold), floats; both NaN where there are no positive or no negative images.
    Raises:  ValueError for shapes that do not fit, no image, scores that are not finite, specificity outside [0, 1].
    """
    scores, truth = flagged(scores, truth, ("scores", "truth"))
    if not 0 <= specificity <= 1:
        raise ValueError(f"`specificity` is {specificity} but must lie in [0, 1]; use 0.95.")
    if truth.all() or not truth.any():
        return math.nan, math.nan
    called = 1 - specificity
    return (verification.tar_at_far(scores, truth, called), verification.threshold_at_far(scores, truth, called))


def decision_curve(probability, truth, thresholds):
    """Net benefit of treating who is called positive, beside treating all and none.

    benefit(t) = tp / n - fp / n  t / (1 - t),  positive: probability >= t

    A threshold says what a false alarm costs: at t one that is rightly treated outweighs (1 - t) / t that are not.
    A model is of use where it lies above both of the others.

    Args:    probability: [n] in [0, 1], of the positive class.  truth: [n] bool.  thresholds: [t] in [0, 1).
    Returns: {"model", "all", "none"}, each [t] float64, at most the share of positives.
    Raises:  ValueError for shapes that do not fit, no image, values outside these ranges.
    Source:  Vickers, Elkin, Medical Decision Making 2006.
    """
    probability, truth = flagged(probability, truth, ("probability", "truth"))
    _in_unit(probability, "probability")
    thresholds = np.asarray(thresholds, np.float64)
    if thresholds.ndim != 1 or not ((thresholds >= 0) & (thresholds < 1)).all():
        raise ValueError(f"`thresholds` is {thresholds.tolist()} but must be [t] in [0, 1); use np.arange(1, 100) / "
                         "100.")
    costs, count = thresholds / (1 - thresholds), len(truth)
    places = thresholds.astype(probability.dtype)       # as `scores >= 0.7` compares: float32 0.7 reaches it
    tp, fp = (len(side) - np.searchsorted(np.sort(side), places) for side in (probability[truth], probability[~truth]))
    positives = np.count_nonzero(truth)
    return {"model": tp / count - fp / count * costs,
            "all": positives / count - (count - positives) / count * costs,
            "none": np.zeros(len(costs))}


def vote(gallery, labels, queries, classes, neighbours):
    """What the most similar images are, in shares: the nearest by the cosine, each with one voice.

    Args:    gallery: [N, D], queries: [n, D], vectors of length one.  labels: [N] int of the gallery.
             classes: K.  neighbours: k >= 1; all of the gallery where it has fewer.
    Returns: [n, K], rows that sum to 1.
    """
    nearest = np.argsort(-queries @ gallery.T, axis=1, kind="stable")[:, :neighbours]
    return np.eye(classes)[labels[nearest]].mean(axis=1)


def bootstrap(function, arrays, units=None, draws=1000, seed=0, level=0.95):
    """Percentile intervals of figures, from sets drawn anew out of the images with replacement.

    interval = the (1 - level) / 2 and the (1 + level) / 2 quantile of function(*arrays of a draw), over all draws

    Images of one patient are alike: as single images they would make the interval too narrow, so whole patients are
    drawn. A draw in which a figure is NaN does not count for it. With few units the intervals are too narrow still.

    Args:    function: (*arrays) -> {name: float}, always the same names.
             arrays: tuple of [n, ...], drawn together.  units: [n] numbers or strings; None = each row is its own.
             draws: >= 1.  seed: int, fixes the draws.  level: in (0, 1).
    Returns: {name: (low, high)}, floats; NaN where a figure is so in every draw.
    Raises:  ValueError for no arrays, lengths that differ, no row, draws below 1, level outside (0, 1).
    Cost:    draws calls of `function`.
    Source:  Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    arrays = tuple(np.asarray(array) for array in arrays)
    lengths = [len(array) if array.ndim else 0 for array in arrays]
    if not arrays or len(set(lengths)) > 1 or not lengths[0]:
        raise ValueError(f"`arrays` have the lengths {lengths} but must all be [n, ...], n >= 1; give each image a row "
                         "in each.")
    if units is not None and np.shape(units) != (lengths[0],):
        raise ValueError(f"`units` has shape {np.shape(units)} but must be [{lengths[0]}]; give each row its unit.")
    if not isinstance(draws, numbers.Integral) or draws < 1:
        raise ValueError(f"`draws` is {draws} but must be a whole number of at least 1; use 1000.")
    if not 0 < level < 1:
        raise ValueError(f"`level` is {level} but must lie in (0, 1); use 0.95.")
    generator, rows = np.random.default_rng(seed), _unit_rows(units, lengths[0])
    found = {name: np.empty(draws) for name in function(*arrays)}
    for draw in range(draws):
        chosen = rows(generator)
        for name, value in function(*(array[chosen] for array in arrays)).items():
            found[name][draw] = value
    ends, result = ((1 - level) / 2, (1 + level) / 2), {}
    for name, values in found.items():
        values = values[~np.isnan(values)]
        result[name] = tuple(map(float, np.quantile(values, ends))) if len(values) else (math.nan, math.nan)
    return result


def class_numbers(values, name, classes, count=None):
    """Class numbers [n] as an array.

    Raises:  ValueError where they are not [n] (or [count]) whole numbers in [0, classes).
    """
    values = np.asarray(values)
    if not values.size:
        values = values.astype(np.int64)        # [] is of floats
    if values.ndim != 1 or values.dtype.kind not in "iu" or (count is not None and len(values) != count):
        raise ValueError(f"`{name}` is {values.dtype} {values.shape} but must be whole numbers "
                         f"[{'n' if count is None else count}]; give each image one class number.")
    if len(values) and not 0 <= values.min() <= values.max() < classes:
        wrong = values[(values < 0) | (values >= classes)][0]
        raise ValueError(f"`{name}` has the value {wrong} but must lie in [0, {classes - 1}]; leave out images of no "
                         "class.")
    return values


def confidences(confidence, right):
    """`flagged` of confidences and whether they were right; ValueError also for those outside [0, 1]."""
    confidence, right = flagged(confidence, right, ("confidence", "right"))
    _in_unit(confidence, "confidence")
    return confidence, right


def flagged(values, flags, names):
    """Values [n] as floats and a yes or no for each as bool.

    Raises:  ValueError for shapes that do not fit, no value, values that are not finite, flags that are no bool or
             0 and 1; `names` are the two that it uses.
    """
    values, flags = np.asarray(values), np.asarray(flags)
    if values.ndim != 1 or flags.shape != values.shape or not len(values):
        raise ValueError(f"`{names[0]}` has shape {values.shape} and `{names[1]}` {flags.shape} but both must be [n], "
                         "n >= 1; give each image one of both.")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(f"`{names[0]}` row {wrong[0]} is {values[wrong[0]]} but must be finite; check the model.")
    if flags.dtype != bool:
        odd = flags[~((flags == 0) | (flags == 1))]
        if len(odd):
            raise ValueError(f"`{names[1]}` has the value {odd[0]} but must be True or False; compare first.")
        flags = flags.astype(bool)
    return values, flags


def _in_unit(values, name):
    if values.min() < 0 or values.max() > 1:
        wrong = int(np.argmax((values < 0) | (values > 1)))
        raise ValueError(f"`{name}` row {wrong} is {values[wrong]} but must lie in [0, 1]; use a probability.")


def _bins(bins):
    if not isinstance(bins, numbers.Integral) or bins < 1:
        raise ValueError(f"`bins` is {bins} but must be a whole number of at least 1; use {BINS}.")
    return bins


def _probabilities(probabilities):
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or not len(probabilities) or probabilities.shape[1] < 2:
        raise ValueError(f"`probabilities` has shape {probabilities.shape} but must be [n, K], n >= 1 and K >= 2; give "
                         "each image one a class.")
    if probabilities.dtype.kind != "f":
        probabilities = probabilities.astype(np.float64)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if not (probabilities.min() >= 0 and abs(sums - 1).max() <= _SUM):      # NaN is neither
        wrong = int(np.argmin((probabilities >= 0).all(axis=1) & (abs(sums - 1) <= _SUM)))
        raise ValueError(f"`probabilities` row {wrong} has values from {probabilities[wrong].min()} that sum to "
                         f"{sums[wrong]} but they must be >= 0 and sum to 1; take the softmax of logits first.")
    return probabilities


def _table(decisions, truth, classes):
    places = truth.astype(np.int64) * classes + decisions.astype(np.int64)
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def _auc(scores, positive):
    if positive.all() or not positive.any():
        return math.nan
    return verification.auc(scores, positive)


def _kappa(table):
    grades = np.arange(len(table))
    weights = np.square(np.subtract.outer(grades, grades)).astype(np.float64)
    chance = (weights * np.multiply.outer(table.sum(axis=1), table.sum(axis=0))).sum()
    return float(1 - (weights * table).sum() * table.sum() / chance) if chance else math.nan


def _reliability(confidence, right, bins):
    places = np.searchsorted(np.arange(1, bins) / bins, confidence)
    count = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        return (np.bincount(places, confidence, bins) / count, np.bincount(places, right, bins) / count, count)


def _ece(confidence, right, bins):
    mean, accuracy, count = _reliability(confidence, right, bins)
    return float(np.nansum(count * abs(accuracy - mean)) / len(confidence))


def _unit_rows(units, count):
    """generator -> the rows of as many units as there are, drawn with replacement."""
    if units is None:
        return lambda generator: generator.integers(count, size=count)
    codes = np.unique(np.asarray(units), return_inverse=True)[1].reshape(-1)
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    starts = np.cumsum(sizes) - sizes

    def rows(generator):
        chosen = generator.integers(len(sizes), size=len(sizes))
        many = sizes[chosen]
        # The rows of the units one after another: each unit's start, and on from there.
        return order[np.repeat(starts[chosen] - (np.cumsum(many) - many), many) + np.arange(many.sum())]
    return rows
