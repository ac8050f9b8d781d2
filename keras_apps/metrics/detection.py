"""Detection of fakes: how well a score tells generated or forged images from real ones.

Fake is the positive class: larger scores = more fake, and an image is called fake if score >= threshold. The figures
without a threshold are those of `verification` with `fake` in the place of `same`: its `roc`, `eer` and `calibrate` can
be called so.
"""

import math

import numpy as np

from keras_apps.metrics import verification


def auc(scores, fake):
    """P(a fake scores above a real image), ties at 1/2 = the area under the ROC.

    Args:    scores: [n], larger = more fake.  fake: [n] bool.
    Returns: float in [0, 1]; exact, from ranks.
    Raises:  ValueError for shapes that do not fit, scores that are not finite, no fake or no real image.
    """
    scores, fake = _pairs(scores, fake)
    for kind, there in (("fake", fake.any()), ("real", not fake.all())):
        if not there:
            raise ValueError(f"`fake` tells of no {kind} image but both kinds are needed; add images.")
    return verification.auc(scores, fake)


def at_threshold(scores, fake, threshold):
    """Decisions at one threshold, counted for fakes and for real images as the class that is looked for.

    precision = |called fake and fake| / |called fake|,  recall = the same / |fake|,  f = 2 p r / (p + r)

    The keys with `_real` are the same of the images called real. A share of nothing is 0.0: precision where no image
    is called so, recall where none is so, f where both are 0.

    Args:    scores, fake: as `auc`; one kind may be missing.  threshold: float.
    Returns: {"precision", "recall", "f", "precision_real", "recall_real", "f_real", "accuracy"}, floats in [0, 1].
    Raises:  ValueError for no image, shapes that do not fit, scores that are not finite, a threshold that is NaN.
    """
    scores, fake = _pairs(scores, fake)
    called, found = _called(scores, threshold), {}
    for suffix, truth, said in (("", fake, called), ("_real", ~fake, ~called)):
        right, all_true, all_said = (int(np.count_nonzero(mask)) for mask in (truth & said, truth, said))
        found["precision" + suffix] = right / all_said if all_said else 0.0
        found["recall" + suffix] = right / all_true if all_true else 0.0
        found["f" + suffix] = 2 * right / (all_true + all_said) if right else 0.0
    return {**found, "accuracy": float(np.mean(called == fake))}


def attack_errors(scores, sources, threshold):
    """Errors by kind of attack; the worst kind counts, so that an easy generator hides no hard one.

    apcer_s = |{source = s, score < threshold}| / |{source = s}|,  apcer = max_s apcer_s
    bpcer   = |{real, score >= threshold}| / |{real}|,             acer  = (apcer + bpcer) / 2

    Args:    scores: [n], larger = more fake.  sources: [n] int, the generator of a fake, -1 = real (bona fide).
             threshold: float.
    Returns: {"apcer", "bpcer", "acer": floats in [0, 1], "apcer_by_source": {source: float}}, by rising source.
    Raises:  ValueError for shapes that do not fit, scores that are not finite, sources that are no whole numbers >= -1,
             no fake or no real image, a threshold that is NaN.
    Source:  ISO/IEC 30107-3 for APCER and BPCER; ACER as evaluations of face anti-spoofing add them up.
    """
    scores = _scores(scores)
    sources = _numbers(sources, "sources", len(scores))
    called, real = _called(scores, threshold), sources < 0
    if real.all() or not real.any():
        raise ValueError(f"`sources` names {np.count_nonzero(real)} real images (-1) of {len(real)} but both kinds are "
                         "needed; add images.")
    by_source = {int(source): float(np.mean(~called[sources == source])) for source in np.unique(sources[~real])}
    apcer, bpcer = max(by_source.values()), float(np.mean(called[real]))
    return {"apcer": apcer, "bpcer": bpcer, "acer": (apcer + bpcer) / 2, "apcer_by_source": by_source}


def by_track(scores, tracks):
    """One score a track: the mean and the worst (largest = most fake) of its frames.

    Args:    scores: [n], larger = more fake.  tracks: [n] int, -1 = of no track: such a frame stands alone.
    Returns: mean [t] float64, worst [t], first index [t] int: where the track's first frame lies, which gives its
             truth and source. Ordered by it, whatever the tracks' numbers; no frames give three empty arrays.
    Raises:  ValueError for shapes that do not fit, scores that are not finite, tracks that are no whole numbers >= -1.
    """
    scores = _scores(scores, least=0)
    tracks = _numbers(tracks, "tracks", len(scores))
    codes = np.unique(tracks, return_inverse=True)[1].reshape(-1)
    codes = np.where(tracks < 0, len(codes) + np.arange(len(codes)), codes)
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    first, group = first[order], np.argsort(order)[group]       # both by first frame
    worst = scores[first]
    np.maximum.at(worst, group, scores)
    mean = np.bincount(group, scores, len(first)) / np.bincount(group, minlength=len(first))
    return np.minimum(mean, worst), worst, first        # three times 0.1 have a mean of 0.1 and a bit


def threshold_at_false_alarms(scores, fake, share=0.01):
    """The smallest threshold at which at most `share` of the real images are called fake.

    threshold = min {t: |{real, score >= t}| <= share |{real}|}

    It is the next number above the highest real score that must not be called, so it hangs on real images alone: no
    known generator moves it. Real images that tie are called together or not at all: where not all of a tie may be
    called none is, and fewer than `share` are called. If all may be called (share 1) it is the lowest score given.
    `verification.threshold_at_far` moves up from here into the gap below the lowest fake it accepts.

    Args:    scores: [n], larger = more fake, in the dtype that is served: the next float64 is rounded down in float32.
             fake: [n] bool; only real images count.  share: in [0, 1].
    Returns: float, exact in the scores' own dtype (float64 for whole numbers); none so small that a server which
             flushes subnormal numbers takes it for 0.
    Raises:  ValueError for shapes that do not fit, scores that are not finite, no real image, share outside [0, 1].
    """
    scores, fake = _pairs(scores, fake)
    if not 0 <= share <= 1:
        raise ValueError(f"`share` is {share} but must lie in [0, 1]; use 0.01.")
    real = np.sort(scores[~fake])
    if not len(real):
        raise ValueError("`fake` tells of no real image but a share of them is needed; add real images.")
    allowed = math.floor(round(share * len(real), 6))       # 0.29 * 100 is 28.999999999999996
    if allowed >= len(real):
        return float(scores.min())
    bound = real[len(real) - 1 - allowed]
    above, tiny = np.nextafter(bound, real.dtype.type(np.inf)), np.finfo(real.dtype).tiny
    return float(tiny if -tiny < above < tiny else above)


def mass_in_box(maps, boxes):
    """How much of a map of fakeness falls where the image was forged.

    share = sum of the map inside the box / sum of the map

    Chance is the box's share of the area, which a map of zeros gets.

    Args:    maps: [n, H, W], >= 0.  boxes: [n, 4] int, (top, left, height, width) in pixels of the map, inside it.
    Returns: [n] float64 in [0, 1].
    Raises:  ValueError for shapes that do not fit, maps with values that are negative or not finite, boxes that are
             empty, leave the map or are no whole numbers.
    """
    maps, boxes = np.asarray(maps), np.asarray(boxes)
    if maps.ndim != 3 or not maps[:1].size or boxes.shape != (len(maps), 4) or boxes.dtype.kind not in "iu":
        raise ValueError(f"`maps` has shape {maps.shape} and `boxes` is {boxes.dtype} {boxes.shape} but they must be "
                         "[n, H, W] and whole numbers [n, 4]; give each map a box.")
    size, shares = maps.shape[1:], np.empty(len(maps))
    for i, (values, box) in enumerate(zip(maps, boxes.tolist())):
        top, left, height, width = box
        if min(top, left) < 0 or min(height, width) < 1 or top + height > size[0] or left + width > size[1]:
            raise ValueError(f"`boxes` row {i} is {box} (top, left, height, width) but must hold a pixel and lie in "
                             f"the map's {list(size)}; clip it.")
        values = values.astype(np.float64)
        least, most = values.min(), values.max()
        if not (least >= 0 and np.isfinite(most)):
            raise ValueError(f"`maps` row {i} has values from {least} to {most} but they must be finite and >= 0; use "
                             "probabilities.")
        values = values / most if most else np.ones(size)   # divided first, lest a sum overflow
        shares[i] = min(1.0, values[top:top + height, left:left + width].sum() / values.sum())
    return shares


def _scores(scores, least=1):
    """As floats; ValueError unless they are finite and at least so many."""
    scores = np.asarray(scores)
    if scores.ndim != 1 or len(scores) < least:
        raise ValueError(f"`scores` has shape {scores.shape} but must be [n], n >= {least}; give one an image.")
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise ValueError(f"`scores` row {wrong[0]} is {scores[wrong[0]]} but must be finite; check the model.")
    return scores


def _pairs(scores, fake):
    """Scores and their truth; ValueError for what is no yes or no, such as the number of a source."""
    scores, fake = _scores(scores), np.asarray(fake)
    if fake.shape != scores.shape:
        raise ValueError(f"`scores` has shape {scores.shape} and `fake` {fake.shape} but both must be [n]; give one "
                         "truth an image.")
    if not np.isin(fake, (0, 1)).all():
        raise ValueError(f"`fake` has the value {fake[~np.isin(fake, (0, 1))][0]} but must be True for a fake and "
                         "False for a real image; compare first.")
    return scores, fake.astype(bool)


def _numbers(values, name, count):
    values = np.asarray(values)
    if not values.size:
        values = values.astype(np.int64)    # [] is of floats
    if values.shape != (count,) or values.dtype.kind not in "iu" or (values < -1).any():
        raise ValueError(f"`{name}` is {values.dtype} {values.shape} from {values.min(initial=0)} but must be whole "
                         f"numbers >= -1 [{count}]; use -1 for none.")
    return values


def _called(scores, threshold):
    if math.isnan(threshold):
        raise ValueError("`threshold` is NaN but must be a number; use `threshold_at_false_alarms`.")
    return scores >= float(threshold)       # a NumPy float64 would widen float32 scores, a float is rounded to them
