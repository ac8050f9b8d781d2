"""Calibration: probabilities that mean what they say, and when an answer is better withheld.

`diagnosis` has the figures of it: `reliability`, `ece`.
"""

import math

import numpy as np
from scipy.optimize import brentq

from keras_apps.metrics import diagnosis

COLDEST, HOTTEST = 1 / 20, 20.0


def fit_temperature(logits, truth):
    """The temperature by which logits must be divided to be calibrated; fit it on images that trained nothing.

    T = argmin_[1/20, 20] sum_i -sum_k y_ik log softmax(z_i / T)_k
    y_ik = (n + 1) / (n + 2) for the true class,  1 / ((n + 2) (K - 1)) for each other

    No answer changes, as the largest logit stays so. The sum is convex in 1 / T: one minimum, found where its slope is
    0. With y of exactly 1 and 0 it would be the negative log likelihood, whose T is 0 if all images are right, however
    few. So one image in n + 2 counts as wrong, as in the rule of succession: n right answers of one logit gap get the
    probability (n + 1) / (n + 2). That vanishes as n grows, holds as well for images of one class, and c z gets c T.
    T is 20 where the answers are worse than chance, and 1 where all logits of an image are equal.

    Args:    logits: [n, K], K >= 2.  truth: [n] int.
    Returns: float in [1/20, 20]; above 1 where the network is too sure.
    Raises:  ValueError for shapes that do not fit, no image, logits that are not finite, numbers that are no class.
    Source:  Guo et al., ICML 2017, arXiv:1706.04599, section 4.2.
    Differs: y is smoothed as in Platt, Advances in Large Margin Classifiers, 1999 (there by the count of each class).
    """
    logits = _logits(logits)
    count, classes = logits.shape
    truth = diagnosis.class_numbers(truth, "truth", classes, count)
    if not logits.any():
        return 1.0
    targets = np.full(logits.shape, 1 / ((count + 2) * (classes - 1)))
    targets[np.arange(count), truth] = (count + 1) / (count + 2)
    wanted = (targets * logits).sum()

    def slope(logarithm):       # by 1 / T; falls as T rises
        return (softmax(logits, math.exp(logarithm)) * logits).sum() - wanted

    low, high = math.log(COLDEST), math.log(HOTTEST)
    if slope(low) <= 0:
        return COLDEST
    if slope(high) >= 0:
        return HOTTEST
    return math.exp(brentq(slope, low, high, xtol=1e-12))


def softmax(logits, temperature=1.0):
    """Probabilities of logits, p_ik = exp(z_ik / T) / sum_j exp(z_ij / T).

    Args:    logits: [n, K].  temperature: T > 0.
    Returns: [n, K] float64, rows that sum to 1.
    Raises:  ValueError for another shape, no image, logits that are not finite, a temperature that is not above 0.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"`temperature` is {temperature} but must be finite and above 0; use 1.")
    powers = np.exp(_logits(logits) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def abstention_threshold(confidence, right, most_abstained):
    """The smallest confidence that is answered if at most this share of the images may go without an answer.

    threshold = max {t in confidence: |{confidence < t}| <= most_abstained n}

    An image is answered if its confidence >= threshold. Images that tie are answered together, and one always is.
    Where the answered images would be wrong more often than all of them, abstaining does harm and the threshold is 0.

    Args:    confidence: [n] in [0, 1].  right: [n] bool.  most_abstained: share in [0, 1].
    Returns: float; 0.0, which answers all, where the share allows for no image.
    Raises:  ValueError for shapes that do not fit, no image, confidences or a share outside [0, 1].
    """
    confidence, right = diagnosis.confidences(confidence, right)
    if not 0 <= most_abstained <= 1:
        raise ValueError(f"`most_abstained` is {most_abstained} but must lie in [0, 1]; use 0.1, or 0 to answer all.")
    allowed = math.floor(round(most_abstained * len(right), 6))     # 0.29 * 100 is 28.999999999999996
    if not allowed:
        return 0.0
    threshold = np.sort(confidence)[min(allowed, len(right) - 1)]
    return float(threshold) if right[confidence >= threshold].mean() >= right.mean() else 0.0


def risk_coverage(confidence, right):
    """How often the answers are wrong if only the more confident images are answered.

    At each distinct confidence t, from the largest down:
    coverage = |{confidence >= t}| / n,  risk = |{confidence >= t, wrong}| / |{confidence >= t}|

    Args:    confidence: [n], larger = surer.  right: [n] bool.
    Returns: coverage [k] rising to 1, risk [k] ending at the share of wrong answers.
    Raises:  ValueError for shapes that do not fit, no image, confidences that are not finite.
    Source:  El-Yaniv, Wiener, JMLR 2010.
    """
    confidence, right = diagnosis.flagged(confidence, right, ("confidence", "right"))
    _, places = np.unique(-confidence, return_inverse=True)
    answered = np.cumsum(np.bincount(places))
    wrong = np.cumsum(np.bincount(places, ~right))
    return answered / len(right), wrong / answered


def aurc(confidence, right):
    """Area under the risk-coverage curve: the mean risk over all numbers of images that may be answered.

    value = 1 / n sum_m wrong(m) / m,  wrong(m) = wrong answers among the m most confident images

    Of images that tie, as many as are answered are any of them: wrong(m) is its mean over their orders. A confidence
    that tells nothing has the share of wrong answers. Smaller is better; the least, with all wrong answers last, is
    above 0 where one is wrong.

    Args, Raises: as `risk_coverage`.
    Returns: float in [0, 1].
    Source:  Geifman, Uziel, El-Yaniv, ICLR 2019, arXiv:1805.08206.
    """
    coverage, risk = risk_coverage(confidence, right)
    many = np.arange(1, len(right) + 1)
    # In a tie the mean grows evenly from the number before it to that after it.
    answered = coverage * len(right)
    return float((np.interp(many, np.r_[0, answered], np.r_[0, answered * risk]) / many).mean())


def _logits(logits):
    """As float64, less each row's largest, which changes no probability."""
    logits = np.asarray(logits)
    if logits.ndim != 2 or not len(logits) or logits.shape[1] < 2:
        raise ValueError(f"`logits` has shape {logits.shape} but must be [n, K], n >= 1 and K >= 2; give each image "
                         "one a class.")
    logits = logits.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(wrong):
        raise ValueError(f"`logits` row {wrong[0]} is {logits[wrong[0]].tolist()} but must be finite; check the model.")
    return logits - logits.max(axis=1, keepdims=True)
