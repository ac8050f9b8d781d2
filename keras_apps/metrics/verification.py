"""Verification: how well a score tells pairs of one identity from pairs of two."""

import math

import numpy as np

_BLOCK = 1 << 22  # entries of one block of products: 16 MB
_DENSE = 16  # a block of products costs no more than gathering the rows of one in so many of its pairs


def pair_scores(embeddings, identities, max_pairs=None, seed=0, asked=None):
    """Cosine and truth of every pair of rows.

    Args:    embeddings: [n, D], any length (normalised here; a zero row has cosine 0 with all).
             identities: [n], numbers or strings; rows with a number below 0 are unknown and left out.
             max_pairs: None for all pairs i < j, row by row; else at most so many: all pairs of one identity
             if they fit in half of it (else a uniform sample of them), then a uniform sample of the others,
             drawn without replacement.
             seed: int, fixes the sample.
             asked: [n, D], the rows of the first image of a pair, where they differ from those of the second; of a
             sample's pairs either image may be the first.  None = the same.
    Returns: scores [m] float32 in [-1, 1], same [m] bool.  Memory: 5 m bytes and one block of 16 MB;
             a sample takes about 30 m bytes while it is drawn and the rows once more.
    Raises:  ValueError for shapes that do not fit, NaN embeddings, fewer than two known rows, max_pairs < 2.
    """
    embeddings, identities = np.asarray(embeddings), np.asarray(identities)
    if embeddings.ndim != 2 or identities.shape != embeddings.shape[:1]:
        raise ValueError(
            f"`embeddings` has shape {embeddings.shape} and `identities` {identities.shape} but they must be "
            "[n, D] and [n]; give one identity a row."
        )
    if asked is not None and np.shape(asked) != embeddings.shape:
        raise ValueError(f"`asked` has shape {np.shape(asked)} but must have that of `embeddings`, {embeddings.shape}; "
                         "give each image a row in both.")
    if identities.dtype.kind in "if":
        known = identities >= 0
        embeddings, identities = embeddings[known], identities[known]
        asked = None if asked is None else np.asarray(asked)[known]
    if len(embeddings) < 2:
        raise ValueError(f"`embeddings` has {len(embeddings)} known rows but a pair needs 2; add images.")
    if max_pairs is not None and max_pairs < 2:
        raise ValueError(f"`max_pairs` is {max_pairs} but must be at least 2; use 1000000.")
    rows = unit_rows(embeddings, "embeddings")
    first_rows = rows if asked is None else unit_rows(np.asarray(asked), "asked")
    codes = np.unique(identities, return_inverse=True)[1].reshape(-1)
    count = len(rows)
    total = count * (count - 1) // 2
    if max_pairs is not None and total > max_pairs:
        return _sampled_scores(first_rows, rows, codes, max_pairs, np.random.default_rng(seed))

    scores, same = np.empty(total, np.float32), np.empty(total, bool)
    filled = 0
    step = max(1, _BLOCK // count)
    for first in range(0, count, step):
        products = first_rows[first : first + step] @ rows[first:].T
        for i in range(first, min(first + step, count)):
            pairs = slice(filled, filled + count - i - 1)
            scores[pairs] = products[i - first, i - first + 1 :]
            same[pairs] = codes[i + 1 :] == codes[i]
            filled = pairs.stop
    return np.clip(scores, -1, 1, out=scores), same


def _sampled_scores(asked, rows, codes, max_pairs, generator):
    # With rows sorted by identity, row i's later partners are first its own identity's, up to `end`, then all
    # others: both kinds of pairs have a dense index and can be drawn without being listed.
    order = np.argsort(codes, kind="stable")
    same, rows, codes = asked is rows, rows[order], codes[order]
    asked = rows if same else asked[order]      # no copy of what is one
    after = np.arange(1, len(rows) + 1)
    end = np.searchsorted(codes, codes, side="right")
    kinds = (after, end - after), (end, len(rows) - end)
    positives, negatives = (int(counts.sum()) for _, counts in kinds)
    kept = min(positives, max(max_pairs // 2, max_pairs - negatives))
    scores = np.empty(max_pairs, np.float32)
    filled = 0
    for (starts, counts), wanted in zip(kinds, (kept, max_pairs - kept)):
        sums = np.cumsum(counts)
        chosen = _draw(generator, int(sums[-1]), wanted)
        step = max(1, _BLOCK // _DENSE)
        for first in range(0, wanted, step):
            part = chosen[first : first + step]
            i = np.searchsorted(sums, part, side="right")
            j = starts[i] + part - (sums[i] - counts[i])
            _fill(scores[filled : filled + len(part)], asked, rows, i, j)
            filled += len(part)
    return np.clip(scores, -1, 1, out=scores), np.arange(max_pairs) < kept


def _fill(scores, asked, rows, i, j):
    """Writes asked[i] . rows[j] of pairs sorted by i, then j."""
    first, low = i[0], j.min()
    many, wide = int(i[-1] - first) + 1, int(j.max() - low) + 1
    if many * wide <= _DENSE * len(i):
        products = asked[first : first + many] @ rows[low : low + wide].T
        scores[:] = products[i - first, j - low]
    elif 2 * len(i) * rows.shape[1] <= _BLOCK or len(i) == 1:
        scores[:] = np.einsum("nd,nd->n", asked[i], rows[j])
    else:  # halves lie closer together
        half = len(i) // 2
        _fill(scores[:half], asked, rows, i[:half], j[:half])
        _fill(scores[half:], asked, rows, i[half:], j[half:])


def _draw(generator, population, wanted):
    """`wanted` different numbers below `population`, sorted; memory O(wanted), not O(population)."""
    if wanted > population // 2:
        keep = np.ones(population, bool)
        keep[_draw(generator, population, population - wanted)] = False
        return np.flatnonzero(keep)
    chosen = np.empty(0, np.int64)
    while len(chosen) < wanted:  # repeats drop out and are drawn anew, which leaves the draw uniform
        chosen = np.union1d(chosen, generator.integers(population, size=wanted - len(chosen)))
    return chosen


def unit_rows(embeddings, name, dtype=np.float32):
    """The rows at length one; zero rows stay zero.  ValueError for a NaN or infinity."""
    result = np.empty(embeddings.shape, dtype)
    step = max(1, _BLOCK // max(1, embeddings.shape[1]))
    for first in range(0, len(embeddings), step):
        rows = embeddings[first : first + step]
        rows = rows.astype(np.result_type(rows.dtype, dtype))
        # The largest entry is taken out before squaring, so that no row overflows or vanishes.
        largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
        wrong = np.flatnonzero(~np.isfinite(largest[:, 0]))
        if len(wrong):
            raise ValueError(
                f"`{name}` row {first + wrong[0]} has a value that is not finite but a cosine needs numbers; "
                "check the training run."
            )
        rows /= np.where(largest > 0, largest, 1)
        length = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
        result[first : first + step] = rows / np.where(length > 0, length, 1)
    return result


def roc(scores, same):
    """The receiver operating characteristic at every distinct score.

    A pair is accepted if score >= threshold.
    Args:    scores: [m], larger = more alike.  same: [m] bool.
    Returns: far, tar, thresholds, each [k]: the shares of different and of same pairs accepted, from
             threshold inf (0, 0) down to the smallest score (1, 1).
    Raises:  ValueError for NaN scores, no same pair or no different pair.
    """
    positives, negatives = _sorted(scores, same)
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    far = (len(negatives) - np.searchsorted(negatives, thresholds)) / len(negatives)
    tar = (len(positives) - np.searchsorted(positives, thresholds)) / len(positives)
    return np.r_[0.0, far], np.r_[0.0, tar], np.r_[np.inf, thresholds]


def auc(scores, same):
    """P(a same pair scores above a different pair), ties at 1/2 = the area under the ROC.

    Args, Raises: as `roc`.  Returns: float in [0, 1].
    """
    return _auc(*_sorted(scores, same))


def eer(scores, same):
    """The equal error rate: where FAR = FRR (= 1 - TAR) on the ROC drawn with straight lines.

    Between the last ROC point with FAR < FRR and the first with FAR >= FRR both are interpolated linearly.
    Args, Raises: as `roc`.  Returns: float in [0, 1].
    """
    return _eer(*_sorted(scores, same))


def tar_at_far(scores, same, far):
    """The largest share of same pairs accepted by a threshold that accepts at most far x different pairs.

    Nothing is interpolated. Different pairs with equal scores are accepted together or not at all.
    Args:    scores, same: as `roc`.  far: in [0, 1].
    Returns: float in [0, 1].
    Raises:  as `roc`; ValueError for far outside [0, 1].
    """
    positives, negatives = _split(scores, same)
    bound = _bound(negatives, far)
    return 1.0 if bound is None else float(np.count_nonzero(positives > bound) / len(positives))


def threshold_at_far(scores, same, far):
    """The threshold of `tar_at_far`: accept a pair if score >= threshold.

    Of the thresholds that accept the most same pairs, those that accept the fewest different ones, and of these the
    middle: half way between the lowest same pair accepted and the next score below. So nothing is accepted that gains
    no same pair (where the kinds are far apart, the middle of the gap), and rounding on a server changes no decision.
    The lowest same pair itself if no score lies below; just above all scores if no same pair may be accepted.
    Args, Raises: as `tar_at_far`.  Returns: float, exact in the scores' own dtype.
    """
    positives, negatives = _split(scores, same)
    bound = _bound(negatives, far)
    accepted = positives if bound is None else positives[positives > bound]
    if not len(accepted):
        highest = max(positives.max(), negatives.max())
        return float(np.nextafter(highest, highest.dtype.type(np.inf)))
    lowest = accepted.min()
    under = [side[side < lowest] for side in (positives, negatives)]
    under = [side.max() for side in under if len(side)]
    if not under:
        return float(lowest)
    below = max(under)
    middle = below.dtype.type(below + (lowest - below) / 2)
    return float(middle if middle > below else lowest)


def accuracy_10_fold(scores, same, folds=10, seed=0):
    """Balanced accuracy of deciding pairs, each by a threshold fitted on the other folds.

    accuracy = (share of same pairs accepted + share of different pairs refused) / 2, over all folds; refusing
    everything has 1/2, however rare same pairs are. Same and different pairs are dealt to the folds
    separately and at random. The threshold is the one with the highest balanced accuracy on the other folds
    (the highest such threshold if several), half way between the lowest score it accepts and the highest it
    refuses. A kind that the other folds lack does not count in the choice.
    Args:    scores, same: as `roc`; their order plays no part.  folds: >= 2.  seed: int, fixes the folds.
    Returns: float in [0, 1].
    Raises:  as `roc`; ValueError for folds < 2.
    """
    return _accuracy(*_sorted(scores, same), folds, seed)


def calibrate(scores, same):
    """Logistic map of a score to the probability of "same" at equal priors.

    probability = 1 / (1 + exp(-(scale score + bias))); same and different pairs weigh alike in the fit,
    however many there are. A weak ridge keeps the scale finite where one threshold separates all pairs.
    Args, Raises: as `roc`.  More than 50,000 pairs of a kind are thinned to as many evenly spaced quantiles.
    Returns: {"scale": float, "bias": float}.
    """
    from sklearn.linear_model import LogisticRegression  # a second of import that other metrics do without

    sides = []
    for side in _sorted(scores, same):
        most = min(len(side), 50_000)
        sides.append(side[((np.arange(most) + 0.5) * len(side) / most).astype(np.int64)])
    values = np.concatenate(sides).astype(np.float64)[:, None]
    truth = np.repeat([1, 0], [len(side) for side in sides])
    model = LogisticRegression(C=100.0, class_weight="balanced", tol=1e-8, max_iter=1000).fit(values, truth)
    return {"scale": float(model.coef_[0, 0]), "bias": float(model.intercept_[0])}


def all_metrics(scores, same):
    """Every figure of this file that needs no choice, from one sort.

    Args, Raises: as `roc`.
    Returns: {"auc", "eer", "tar_at_far_1e-2", "tar_at_far_1e-3", "accuracy_10_fold"}, floats in [0, 1].
    """
    positives, negatives = _sorted(scores, same)
    result = {"auc": _auc(positives, negatives), "eer": _eer(positives, negatives)}
    for name, far in (("tar_at_far_1e-2", 1e-2), ("tar_at_far_1e-3", 1e-3)):
        bound = negatives[len(negatives) - 1 - _allowed(len(negatives), far)]
        accepted = len(positives) - int(np.searchsorted(positives, bound, side="right"))
        result[name] = accepted / len(positives)
    result["accuracy_10_fold"] = _accuracy(positives, negatives, 10, 0)
    return result


def _split(scores, same):
    """The scores of same and of different pairs, as floats."""
    scores, same = np.asarray(scores), np.asarray(same)
    if scores.ndim != 1 or same.shape != scores.shape:
        raise ValueError(
            f"`scores` has shape {scores.shape} and `same` {same.shape} but both must be [m]; give one truth "
            "a score."
        )
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    wrong = np.count_nonzero(np.isnan(scores))
    if wrong:
        raise ValueError(f"`scores` has {wrong} NaN of {len(scores)} but must be numbers; check the model.")
    same = same.astype(bool)
    positives, negatives = scores[same], scores[~same]
    if not len(positives):
        raise ValueError("`same` has no True but a pair of one identity is needed; add images.")
    if not len(negatives):
        raise ValueError("`same` has no False but a pair of two identities is needed; add images.")
    return positives, negatives


def _sorted(scores, same):
    positives, negatives = _split(scores, same)
    positives.sort()
    negatives.sort()
    return positives, negatives


def _auc(positives, negatives):
    few, many = sorted((positives, negatives), key=len)
    below = int(np.searchsorted(many, few, side="left").sum())
    tied = int(np.searchsorted(many, few, side="right").sum()) - below
    share = (below + tied / 2) / (len(few) * len(many))  # P(few > many)
    return share if few is positives else 1 - share


def _eer(positives, negatives):
    def rates(threshold):
        far = (len(negatives) - int(np.searchsorted(negatives, threshold))) / len(negatives)
        return far, int(np.searchsorted(positives, threshold)) / len(positives)

    # FAR - FRR falls as the threshold rises, so the crossing is found by bisection over both sorted arrays.
    crossing = -math.inf
    for side in (positives, negatives):
        low, high = 0, len(side)  # side[:low] are known to have FAR >= FRR, side[high:] not to
        while low < high:
            middle = (low + high) // 2
            far, frr = rates(side[middle])
            low, high = (middle + 1, high) if far >= frr else (low, middle)
        if low:
            crossing = max(crossing, side[low - 1])
    before = [side[at] for side in (positives, negatives)
              if (at := int(np.searchsorted(side, crossing, side="right"))) < len(side)]
    far_0, frr_0 = rates(min(before)) if before else (0.0, 1.0)
    far_1, frr_1 = rates(crossing)
    share = (frr_0 - far_0) / ((frr_0 - far_0) + (far_1 - frr_1))
    return far_0 + share * (far_1 - far_0)


def _allowed(count, far):
    """How many of `count` different pairs may be accepted; below `count`."""
    if not 0 <= far <= 1:
        raise ValueError(f"`far` is {far} but must lie in [0, 1]; use 0.01.")
    return math.floor(round(far * count, 6))  # 0.29 * 100 is 28.999999999999996


def _bound(negatives, far):
    """The highest score that must be refused; None if none must."""
    allowed = _allowed(len(negatives), far)
    if allowed >= len(negatives):
        return None
    at = len(negatives) - 1 - allowed
    return np.partition(negatives, at)[at]


def _below(values, thresholds):
    """How many sorted values lie below each sorted threshold; for long lists a merge beats a search each."""
    first = np.searchsorted(thresholds, values, side="right")
    return np.cumsum(np.bincount(first, minlength=len(thresholds) + 1)[:-1], dtype=np.int32)


def _accuracy(positives, negatives, folds, seed):
    if folds < 2:
        raise ValueError(f"`folds` is {folds} but must be at least 2; use 10.")
    generator = np.random.default_rng(seed)
    parts = [
        [np.sort(part) for part in np.array_split(generator.permutation(side), folds)]
        for side in (positives, negatives)
    ]
    # Accuracy rises with a lower threshold only when a positive is passed: those are the candidates, and inf.
    candidates = np.append(np.unique(positives), np.inf).astype(positives.dtype)
    refused_same, refused_different = (_below(side, candidates) for side in (positives, negatives))
    accepted_right = refused_right = 0
    for fold, (alike, unlike) in enumerate(zip(*parts)):
        # Balanced accuracy of the other folds times a constant, so that equal ones are exactly equal.
        best = (refused_different - _below(unlike, candidates)).astype(np.int64)
        best *= max(1, len(positives) - len(alike))
        lost = (refused_same - _below(alike, candidates)).astype(np.int64)
        lost *= max(1, len(negatives) - len(unlike))
        best -= lost
        at = len(best) - 1 - int(np.argmax(best[::-1]))
        threshold = candidates[at]
        refused = []
        for side in parts:
            for part in side[:fold] + side[fold + 1 :]:
                refused.extend(part[:int(np.searchsorted(part, threshold))][-1:])
        if refused and not math.isinf(threshold):
            threshold = (float(threshold) + float(max(refused))) / 2
        accepted_right += np.count_nonzero(alike >= threshold)
        refused_right += np.count_nonzero(unlike < threshold)
    return float(accepted_right / len(positives) + refused_right / len(negatives)) / 2
