"""Sensitivity: how much a network's output moves when its input is moved a little; needs no labels."""

import math
import numbers

import numpy as np


def output_sensitivity(score, images, seed, sigma=0.05, draws=8):
    """Movement of the logits under normal noise on the images.

    d_ie = f(x_i + e) - f(x_i),  e ~ N(0, sigma^2 I)
    variance = Var_{i,e} [mean_k d_iek]
    relative = mean_{i,e} |d_ie|^2 / sigma^2        of a linear f the sum of its squared weights

    Both grow with the square of f's gain, so a temperature on the logits changes them. `variance` misses what moves the
    classes against each other: after a softmax it would be 0. Noise leaves [0, 1]; it is not clipped, lest bright and
    dark images be moved less.

    Args:    score: images -> logits [n, K], NumPy; each image by itself, without dropout.
             images: [n, ...] float, [n, H, W, C] in [0, 1].  seed: int, fixes the noise.
             sigma: s > 0, in the images' units.  draws: of the noise, for each image, >= 1.
    Returns: {"variance", "relative"}, floats >= 0.  Memory: the images twice.
    Raises:  ValueError for no image, images that are no floats, sigma that is not above 0, draws below 1, logits of
             another shape or that are not finite.
    Cost:    draws + 1 calls of `score` with all images.
    Source:  inspired by Forouzesh, Salehi, Thiran, ICPR 2020, arXiv:2007.15378.
    """
    images = np.asarray(images)
    if not images.ndim or not len(images) or images.dtype.kind != "f":
        raise ValueError(f"`images` is {images.dtype} {images.shape} but must be floats [n, ...], n >= 1; divide 8 "
                         "bits by 255.")
    if not 0 < sigma < math.inf:
        raise ValueError(f"`sigma` is {sigma} but must be finite and above 0; use 0.05.")
    if not isinstance(draws, numbers.Integral) or draws < 1:
        raise ValueError(f"`draws` is {draws} but must be a whole number of at least 1; use 8.")
    kind = np.float64 if images.dtype == np.float64 else np.float32
    generator, still, means, squares = np.random.default_rng(seed), _logits(score(images), len(images)), [], []
    for _ in range(draws):
        moved = generator.standard_normal(images.shape, kind)
        moved *= sigma
        moved += images
        moves = _logits(score(moved), len(images)) - still
        means.append(moves.mean(axis=1))
        squares.append(np.square(moves).sum(axis=1))
    return {"variance": float(np.var(means)), "relative": float(np.mean(squares) / sigma**2)}


def _logits(logits, count):
    logits = np.asarray(logits, np.float64)     # their differences are small
    if logits.ndim != 2 or len(logits) != count or not logits.size:
        raise ValueError(f"`score` gave the shape {logits.shape} but must give logits [{count}, K]; return a row an "
                         "image.")
    if not np.isfinite(logits).all():
        raise ValueError(f"`score` gave {np.count_nonzero(~np.isfinite(logits))} values that are not finite but logits "
                         "must be; check the model.")
    return logits
