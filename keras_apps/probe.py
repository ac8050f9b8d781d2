"""A linear classifier fitted in one go on features, as strongly regularised as cross-validation asks for."""

import warnings

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from keras_apps.metrics.calibration import softmax
from keras_apps.metrics.diagnosis import LEAST

STRENGTHS = 10.0 ** np.arange(-5, 2)        # C, inverse of the penalty
FOLDS = 5
MANY = 1000     # images from which on one of the folds says enough
SIDE = 14       # pixels of a thumbnail
NEVER = -1e4    # the bias of a class without an image


def fit(features, labels, classes, units=None, seed=0):
    """Multinomial logistic regression on standardised features, regularised as strongly as five folds allow.

    The penalty is the strongest whose loss on held-out images is within one standard error of the least: images that
    are served are seldom quite those of the training. Of more than 1,000 images one fold says enough.

    value = sum_i CE(W (x_i - mean) / deviation + b, y_i) + |W|^2 / (2 C)

    Args:    features: [n,F].  labels: int [n].  classes: K; of each two images at least, or none: it is never answered.
             units: int [n], images of one unit (a patient) lie in one fold; None = each by itself.
             seed: of the folds.
    Returns: weights [F,K], bias [K] of the features as they come, C.
    Raises:  ValueError for a class of one image, or fewer than two classes.
    """
    counts = np.bincount(labels, minlength=classes)
    there = np.flatnonzero(counts)
    if counts[there].min() < 2 or len(there) < 2:
        raise ValueError(f"{len(there)} classes have images to fit a linear classifier on, one of them "
                         f"{counts[there].min()}, but there must be 2 classes of 2 images each; add images.")
    labels = np.searchsorted(there, labels)
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.where(deviation > 1e-6 * max(1e-12, deviation.max()), deviation, np.inf)      # constant ones: out
    x = (features - mean) / deviation
    chosen = _strength(x, labels, np.arange(len(labels)) if units is None else units, seed)
    model = _model(chosen).fit(x, labels)
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:       # two classes: scikit-learn keeps the difference alone
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = (weights / deviation).T
    whole, shift = np.zeros([len(weights), classes]), np.full(classes, NEVER)
    whole[:, there], shift[there] = weights, bias - mean @ weights
    return whole, shift, float(chosen)


def _strength(x, labels, units, seed):
    folds = min(FOLDS, np.bincount(labels).min(), len(np.unique(units)))
    if folds < 2:
        return 1e-2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)    # of classes with fewer units than folds
        parts = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(x, labels, units))
    known = np.unique(labels)
    parts = [(train, test) for train, test in parts if set(labels[train]) == set(known) and len(test)]
    if not parts:
        return 1e-2
    losses = [[] for _ in STRENGTHS]        # of each held-out image
    for train, test in parts[:1] if len(x) > MANY else parts:
        model = _model(STRENGTHS[0], warm_start=True)       # from the strongest penalty on: the next starts near
        places = np.searchsorted(known, labels[test])
        for own, strength in zip(losses, STRENGTHS):
            own.extend(-np.log(np.maximum(model.set_params(C=strength).fit(x[train], labels[train]).predict_proba(
                x[test])[np.arange(len(test)), places], LEAST)))
    losses = np.array(losses)
    best = losses.mean(axis=1).argmin()
    error = losses[best].std() / np.sqrt(losses.shape[1])
    return STRENGTHS[int(np.argmax(losses.mean(axis=1) <= losses[best].mean() + error))]


def _model(strength, warm_start=False):
    return LogisticRegression(C=strength, max_iter=200, tol=1e-4, warm_start=warm_start)


def thumbnail_floor(images, labels, classes, units=None, seed=0):
    """The floor of a classification: a probe on the pixels of small thumbnails.

    Args:    images: [n,H,W,C]; the others as of `fit`.
    Returns: a function of images [n,H,W,C] -> probabilities [n,K].
    """
    weights, bias, _ = fit(_thumbnails(images), labels, classes, units, seed)
    return lambda images: softmax(_thumbnails(images) @ weights + bias)


def _thumbnails(images):
    side = [min(SIDE, length) for length in images.shape[1:3]]
    return np.reshape(tf.image.resize(images, side, antialias=True), [len(images), -1]).astype(np.float64)
