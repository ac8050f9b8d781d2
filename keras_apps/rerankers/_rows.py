"""What every re-ranker does with its input."""

import numpy as np

from keras_apps.metrics.verification import unit_rows


def unit(query, gallery):
    """Both at length one, float32 or the wider of their types; zero rows stay zero.

    Raises:  ValueError for shapes that do not fit, no row, or values that are not finite.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1] or not query.size or not gallery.size:
        raise ValueError(f"`query` has shape {query.shape} and `gallery` {gallery.shape} but must be [q, D] and "
                         "[N, D], none of them 0; embed both with one model.")
    kind = np.result_type(query.dtype, gallery.dtype, np.float32)
    return unit_rows(query, "query", kind), unit_rows(gallery, "gallery", kind)
