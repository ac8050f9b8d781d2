"""What every re-ranker does with its input."""

import numpy as np


def unit(query, gallery):
    """Both at length one, float32 or the wider of their types; zero rows stay zero.

    Raises:  ValueError for shapes that do not fit, no row, or values that are not finite.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1] or not query.size or not gallery.size:
        raise ValueError(f"`query` has shape {query.shape} and `gallery` {gallery.shape} but must be [q, D] and "
                         "[N, D], none of them 0; embed both with one model.")
    kind = np.result_type(query.dtype, gallery.dtype, np.float32)
    found = []
    for name, rows in (("query", query.astype(kind)), ("gallery", gallery.astype(kind))):
        largest = np.abs(rows).max(axis=1, keepdims=True)       # taken out, so that no square overflows or vanishes
        wrong = np.flatnonzero(~np.isfinite(largest[:, 0]))
        if len(wrong):
            raise ValueError(f"`{name}` row {wrong[0]} has a value that is not finite but a distance needs numbers; "
                             "check the training run.")
        rows /= np.where(largest > 0, largest, 1)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        found.append(rows / np.where(length > 0, length, 1))
    return found
