"""Generation: are generated images good and of many kinds, seen in a space of features?

Features are rows of numbers: the embeddings of an encoder, or the points themselves where the data are points.
"""

import numpy as np
from scipy.spatial.distance import cdist

THREE_DEVIATIONS = 1 - np.exp(-4.5)     # the share of a round Gaussian in the plane that lies within them
_BLOCK = 1 << 22  # entries of one block of squared distances: 32 MB


def frechet(real, fake):
    """Squared Frechet distance of the two normal distributions that have the sets' means and covariances.

    value = |mu_r - mu_f|^2 + tr(S_r + S_f - 2 (S_r S_f)^(1/2)),  S with n - 1 in the divisor

    Its square root is a distance. The value falls as rows are added, more so where D is large: compare only what has
    the same number of rows.

    Args:    real: [n, D], features of real images.  fake: [m, D], of generated ones.
    Returns: float >= 0, in squared units of the features; infinite only where it exceeds float64.
    Raises:  ValueError for shapes that do not fit, fewer than two rows, values that are not finite.
    Source:  Heusel et al., NeurIPS 2017, arXiv:1706.08500, section 3 (the FID).
    Differs: features of an encoder of our own, so values compare with nobody else's.
    """
    (real, fake), exponent = _features(real, fake, 2, 2)
    means = real.mean(axis=0), fake.mean(axis=0)
    roots = [_root(rows - mean) for rows, mean in zip((real, fake), means)]
    # With S = R^T R the trace is min |R_r - Q R_f|^2 over orthogonal Q. As a sum of squares it is never negative,
    # and sets that nearly agree keep their digits, which the difference of the traces and of a root of eigenvalues
    # would lose below 1e-8 of the trace.
    left, _, right = np.linalg.svd(roots[0] @ roots[1].T)
    value = np.square(means[0] - means[1]).sum() + np.square(roots[0] - left @ right @ roots[1]).sum()
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, 2 * exponent))


def precision_recall(real, fake, neighbours=5):
    """How many fakes lie among the reals (precision), how many reals lie among the fakes (recall).

    precision = mean_j [min_i |f_j - r_i| / radius_i <= 1],  radius_i = |r_i - its k-th nearest other real|
    recall    = the same with the roles exchanged

    Noise and blur cost precision, kinds that are never drawn cost recall. Equal rows are others of each other: where
    k + 1 are equal the radius is 0 and only the same point lies inside. One outlier covers a wide ball, so look at both
    figures and many rows.

    Args:    real: [n, D], features of real images.  fake: [m, D], of generated ones.  neighbours: k >= 1.
    Returns: (precision, recall), floats in [0, 1].
             Memory: both sets as float64 and two blocks of 32 MB; time: 4 s at 5000 x 5000 x 128, more at larger D.
    Raises:  ValueError for shapes that do not fit, fewer than neighbours + 1 rows, values that are not finite,
             neighbours below 1.
    Source:  Kynkaanniemi et al., NeurIPS 2019, arXiv:1904.06991, section 2.   Differs: k = 5, there 3.
    """
    if neighbours != int(neighbours) or neighbours < 1:
        raise ValueError(f"`neighbours` is {neighbours} but must be a whole number of at least 1; use 5.")
    (real, fake), _ = _features(real, fake, neighbours + 1, neighbours + 1)
    around_real, around_fake = _radii(real, neighbours), _radii(fake, neighbours)
    precise, recalled = np.empty(len(fake), bool), np.zeros(len(real), bool)
    for part, squares in _blocks(fake, real):
        precise[part] = (squares <= around_real).any(axis=1)
        recalled |= (squares <= around_fake[part, None]).any(axis=0)
    return float(precise.mean()), float(recalled.mean())


def nearest_mode(real, labels, fake, share=THREE_DEVIATIONS):
    """The class of the mean that is nearest to each fake, where the fake lies as near as the class's own points do.

    class_j = k if |f_j - mean_k| <= reach_k else -1,  k = argmin_k |f_j - mean_k|
    reach_k = the distance from mean_k that `share` of the class's reals keep

    The usual rule for points from Gaussian clouds, without having to know the clouds: of a round cloud in the plane the
    default is a reach of three deviations. Of means that are equally near the smaller class counts.

    Args:    real: [n, D].  labels: [n] int.  fake: [m, D].  share: in (0, 1].
    Returns: [m] int; -1 = of no class.
    Raises:  ValueError for shapes that do not fit, labels that are no whole numbers, no real, no fake, values that are
             not finite, a share outside (0, 1].
    Source:  Srivastava et al., NeurIPS 2017, arXiv:1705.07761, section 4 (within three deviations of a mode).
    Differs: mean and reach are those of the real points.
    """
    if not 0 < share <= 1:
        raise ValueError(f"`share` is {share} but must lie in (0, 1]; use {THREE_DEVIATIONS:.4f}.")
    (real, fake), _ = _features(real, fake, 1, 1)
    labels = np.asarray(labels)
    if labels.shape != (len(real),) or labels.dtype.kind not in "iu":
        raise ValueError(f"`labels` is {labels.dtype} {labels.shape} but must be whole numbers [{len(real)}]; give one "
                         "a real.")
    classes = np.unique(labels)
    means = np.stack([real[labels == one].mean(axis=0) for one in classes])
    reach = np.array([np.quantile(np.linalg.norm(real[labels == one] - mean, axis=1), share)
                      for one, mean in zip(classes, means)])
    distance = cdist(fake, means)
    nearest = distance.argmin(axis=1)
    return np.where(distance[np.arange(len(fake)), nearest] <= reach[nearest], classes[nearest], -1).astype(np.int64)


def class_shares(predicted, classes):
    """How the generated images spread over the classes.

    share_k = |{j: predicted_j = k}| / m

    Args:    predicted: [m] int, the classes a classifier or `nearest_mode` saw; -1 = none: it counts in m, so the
             shares add up to less than 1.  classes: K >= 1.
    Returns: [K] float64 in [0, 1].
    Raises:  ValueError for no image, predictions that are no whole numbers in [-1, K), classes below 1.
    """
    predicted = np.asarray(predicted)
    if classes < 1:
        raise ValueError(f"`classes` is {classes} but must be at least 1; use the number of classes of the data.")
    if predicted.ndim != 1 or not len(predicted) or predicted.dtype.kind not in "iu":
        raise ValueError(f"`predicted` is {predicted.dtype} {predicted.shape} but must be whole numbers [m], m >= 1; "
                         "give one class an image.")
    wrong = predicted[(predicted < -1) | (predicted >= classes)]
    if len(wrong):
        raise ValueError(f"`predicted` has the class {wrong[0]} but must lie in [-1, {classes}); raise `classes` or "
                         "use -1 for none.")
    return np.bincount(predicted[predicted >= 0], minlength=classes) / len(predicted)


def coverage(shares, least=0.03):
    """How many classes are generated at all, and the share of the rarest.

    classes_covered = |{k: share_k >= least}|,  least_class_share = min_k share_k

    Args:    shares: [K] in [0, 1], as `class_shares` returns them.  least: the share in (0, 1] a class needs.
    Returns: {"classes_covered": int in [0, K], "least_class_share": float}.
    Raises:  ValueError for no share, shares outside [0, 1], least outside (0, 1].
    """
    shares = np.asarray(shares, np.float64)
    if shares.ndim != 1 or not len(shares) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"`shares` is {np.array2string(shares, threshold=9)} but must be [K] with values in [0, 1]; "
                         "use `class_shares`.")
    if not 0 < least <= 1:
        raise ValueError(f"`least` is {least} but must lie in (0, 1]; use 0.03.")
    return {"classes_covered": int(np.count_nonzero(shares >= least)), "least_class_share": float(shares.min())}


def _features(real, fake, least_real, least_fake):
    """Both sets as float64 divided by 2^exponent, which is exact and keeps squares of huge rows finite; exponent."""
    sets = {"real": np.asarray(real, np.float64), "fake": np.asarray(fake, np.float64)}
    shapes = [rows.shape for rows in sets.values()]
    if any(len(shape) != 2 or not shape[1] for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"`real` has shape {shapes[0]} and `fake` {shapes[1]} but they must be [n, D] and [m, D]; "
                         "embed both with one model.")
    largest = 0.0
    for (name, rows), least in zip(sets.items(), (least_real, least_fake)):
        if len(rows) < least:
            raise ValueError(f"`{name}` has {len(rows)} rows but must have at least {least}; add images.")
        most = np.abs(rows).max(axis=1)
        wrong = np.flatnonzero(~np.isfinite(most))
        if len(wrong):
            raise ValueError(f"`{name}` row {wrong[0]} has a value that is not finite but a distance needs numbers; "
                             "check the training run.")
        largest = max(largest, most.max())
    exponent = int(np.frexp(largest)[1])
    return [np.ldexp(rows, -exponent) for rows in sets.values()], exponent


def _root(centred):
    """R [D, D] with R^T R = the covariance."""
    root = np.linalg.qr(centred / np.sqrt(len(centred) - 1), mode="r")
    return np.pad(root, ((0, root.shape[1] - root.shape[0]), (0, 0)))


def _blocks(rows, others):
    """Slices of the rows, and their squared distances to all others [block, len(others)].

    From differences, as those from products would move points that lie exactly on the rim of a ball.
    """
    step = max(1, _BLOCK // len(others))
    for first in range(0, len(rows), step):
        part = slice(first, min(first + step, len(rows)))
        yield part, cdist(rows[part], others, "sqeuclidean")


def _radii(rows, neighbours):
    """Squared distance of each row to its k-th nearest other."""
    radii = np.empty(len(rows))
    for part, squares in _blocks(rows, rows):
        own = np.arange(part.start, part.stop)
        squares[own - part.start, own] = np.inf
        squares.partition(neighbours - 1, axis=1)
        radii[part] = squares[:, neighbours - 1]
    return radii
