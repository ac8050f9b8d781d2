"""Consistency: does a search answer the same when its query is moved a little?"""

import numpy as np

from keras_apps.metrics import verification

_BLOCK = 1 << 23  # entries of one block of scores: 32 MB


def shift_consistency(first, second, gallery, gallery_identities, left_out=None):
    """The share of queries whose nearest gallery entry (cosine) has the same identity for both of their shifts.

    share = mean_i [identity(argmax_j first_i . gallery_j) = identity(argmax_j second_i . gallery_j)]

    Right or wrong plays no part. Of entries that tie the earlier counts, for both shifts.

    Args:    first, second: [q, D], embeddings of two shifts of the same images.  gallery: [N, D].  Any length
             (normalised here).  gallery_identities: [N], numbers or strings.
             left_out: (start, stop) -> mask [stop - start, N] of the entries that these queries do not search, such as
             the query itself; None = all are searched. A query that searches none is left out of the share.
    Returns: float in [0, 1].  Memory: the rows as float32 and one block of 32 MB.
    Raises:  ValueError for shapes that do not fit, no row, or values that are not finite.
    Source:  Zhang, ICML 2019, arXiv:1904.11486, section 4.1, for the class of a classifier.
    Differs: the identity found in a gallery in place of the class, so that unseen identities are judged.
    """
    first, second, gallery = (np.asarray(rows) for rows in (first, second, gallery))
    gallery_identities = np.asarray(gallery_identities)
    if first.ndim != 2 or second.shape != first.shape or gallery.ndim != 2 or gallery.shape[1] != first.shape[1]:
        raise ValueError(f"`first` has shape {first.shape}, `second` {second.shape} and `gallery` {gallery.shape} but "
                         "they must be [q, D], [q, D] and [N, D]; embed all with one model.")
    if not len(first) or not len(gallery):
        raise ValueError(f"`first` has {len(first)} rows and `gallery` {len(gallery)} but neither may be 0; add "
                         "images.")
    if gallery_identities.shape != (len(gallery),):
        raise ValueError(f"`gallery_identities` has shape {gallery_identities.shape} but must be [{len(gallery)}]; "
                         "give one a row.")
    gallery = verification.unit_rows(gallery, "gallery")
    first, second = verification.unit_rows(first, "first"), verification.unit_rows(second, "second")
    step, same = max(1, _BLOCK // len(gallery)), []
    for start in range(0, len(first), step):
        stop = min(start + step, len(first))
        out = None if left_out is None else left_out(start, stop)
        asked = slice(None) if out is None else ~out.all(axis=1)
        answers = [_nearest(rows[start:stop], gallery, out)[asked] for rows in (first, second)]
        same.append(gallery_identities[answers[0]] == gallery_identities[answers[1]])
    same = np.concatenate(same)
    return float(same.mean()) if len(same) else float("nan")


def _nearest(rows, gallery, out):
    scores = rows @ gallery.T
    if out is not None:
        scores[out] = -np.inf
    return scores.argmax(axis=1)
