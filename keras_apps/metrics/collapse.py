"""Collapse: do the embeddings fill their space, or do all images look alike to the network?"""

import numpy as np


def collapse(vectors, labels):
    """All four figures below as {name: float}; `alignment` is left out where no class has two rows."""
    found = {"effective_rank": effective_rank(vectors), "uniformity": uniformity(vectors), "spread": spread(vectors)}
    close = alignment(vectors, labels)
    if close is not None:
        found["alignment"] = close
    return found


def effective_rank(vectors):
    """How many directions the rows fill: exp of the entropy of their energies along the principal ones.

    rank = exp(-sum_k p_k log p_k),  p_k = s_k^2 / sum s^2,  s = singular values of the rows at length one

    1 = all rows are one point, or one point and its opposite. Classes that are one point each, as far apart as they
    can be, fill K - 1, however large D is.

    Args:    vectors: [n, D], any length (normalised here; a zero row stays zero).
    Returns: float in [1, min(n, D)].
    Raises:  ValueError for fewer than two rows or values that are not finite.
    Source:  Roy and Vetterli, EUSIPCO 2007, eq. 4; of s^2: Friedman and Dieng, TMLR 2023, arXiv:2210.02410, eq. 4 for
             the cosine.
    Differs: s^2 in place of s, which lets the many small directions of a collapsed network count for much. Not centred:
             without the common point what is left of it is noise that fills its space.
    """
    rows = _unit(vectors)
    # Eigenvalues of the smaller product are the squares, for less than a singular value decomposition.
    energies = np.linalg.eigvalsh(rows.T @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.T).clip(0)
    if not energies.any():
        return 1.0
    shares = energies[energies > 0] / energies.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def alignment(vectors, labels):
    """Mean squared distance of the pairs of one class, in [0, 4]; 0 = every class is one point.

    Args:    vectors: [n, D], any length (normalised here).  labels: [n] int.
    Returns: float, None where no class has two rows.
    Raises:  ValueError for fewer than two rows, values that are not finite or another number of labels.
    Source:  Wang and Isola, ICML 2020, arXiv:2005.10242, eq. 4, alpha = 2.
    """
    squares, (first, second) = _pairs(vectors)
    labels = np.asarray(labels)
    if labels.shape != (len(vectors),):
        raise ValueError(f"`labels` has shape {labels.shape} but there are {len(vectors)} vectors; give one each.")
    same = labels[first] == labels[second]
    return float(squares[same].mean()) if same.any() else None


def uniformity(vectors):
    """log mean exp(-2 d^2) over all pairs, in [-8, 0]; 0 = all in one point, about -4 = spread over the sphere.

    Args:    vectors: [n, D], any length (normalised here).
    Raises:  as `effective_rank`.
    Source:  Wang and Isola, ICML 2020, arXiv:2005.10242, eq. 5, t = 2.
    """
    return float(np.log(np.exp(-2.0 * _pairs(vectors)[0]).mean()))


def spread(vectors):
    """Mean distance of all pairs of unit vectors, in [0, 2]; 0 = all in one point, about 1.4 = over the sphere.

    Args:    vectors: [n, D], any length (normalised here).
    Raises:  as `effective_rank`.
    """
    return float(np.sqrt(_pairs(vectors)[0]).mean())


def _pairs(vectors):
    """Squared distances of the pairs i < j of the rows at length one, and (i, j)."""
    rows = _unit(vectors)
    # 2 - 2 cos would lose what is left of near-equal rows; their differences do not.
    squares = np.concatenate([np.square(row - rows[i + 1:]).sum(axis=1) for i, row in enumerate(rows[:-1])])
    return squares, np.triu_indices(len(rows), 1)


def _unit(vectors):
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"`vectors` has shape {vectors.shape} but must be [n, D] with at least 2 rows.")
    if not np.isfinite(vectors).all():
        raise ValueError("`vectors` has values that are not finite but a distance needs numbers; check the training "
                         "run.")
    vectors = _divided(vectors, np.abs(vectors).max(axis=1, keepdims=True))     # lest a square overflow or vanish
    return _divided(vectors, np.linalg.norm(vectors, axis=1, keepdims=True))


def _divided(vectors, length):
    return vectors / np.where(length > 0, length, 1)
