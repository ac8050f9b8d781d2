"""Ranking: how early a gallery search finds a query's identity."""

import numpy as np

from keras_apps.metrics import verification

_BLOCK = 1 << 23  # entries of one block of scores: 32 MB


def ranking(
    query, gallery, query_identities, gallery_identities, query_cameras=None, gallery_cameras=None,
    ranks=(1, 5, 10), same_index=None,
):
    """Cumulative match characteristic and mean average precision of a search by cosine.

    Average precision is the mean, over a query's matches, of the precision at that match's rank (the step
    form; not the trapezoid of some older tools). Ties count against the search: a wrong entry with a match's
    very score stands before it, so a network that maps everything to one point is not rewarded.

    Args:    query: [q, D].  gallery: [N, D].  Any length (normalised here).
             query_identities, gallery_identities: [q], [N], numbers or strings. Gallery entries with a number
             below 0 are unknown and left out of every search; such a query has no match.
             query_cameras, gallery_cameras: [q], [N] or both None. With cameras, entries of the query's
             identity and camera are left out of its search (Market-1501's rule).
             ranks: the k of "rank<k>".
             same_index: [q] int, the gallery row left out for each query, below 0 = none; numpy.arange(n)
             is leave-one-out where the gallery is the query set.
    Returns: {"rank<k>": share of queries with a match among the first k, "map": float, "queries": number of
             queries in these means, "unmatched": number of queries left out for want of any match}.
    Raises:  ValueError for shapes that do not fit, values that are not finite, one camera list without the
             other, a rank below 1, or no query with a match.
    Cost:    one product; the gallery is not sorted, only the entries above a query's last match are counted.
             Memory: the rows as float32 and one block of 32 MB.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    query_identities, gallery_identities = np.asarray(query_identities), np.asarray(gallery_identities)
    _check(query, gallery, query_identities, gallery_identities, "identities")
    if (query_cameras is None) != (gallery_cameras is None):
        missing = "query_cameras" if query_cameras is None else "gallery_cameras"
        raise ValueError(f"`{missing}` is None but the other side has cameras; give both or neither.")
    if query_cameras is not None:
        query_cameras, gallery_cameras = np.asarray(query_cameras), np.asarray(gallery_cameras)
        _check(query, gallery, query_cameras, gallery_cameras, "cameras")
    if min(ranks) < 1:
        raise ValueError(f"`ranks` has {min(ranks)} but ranks count from 1; use (1, 5, 10).")
    if same_index is not None:
        same_index = np.asarray(same_index)
        if same_index.shape != query_identities.shape or (same_index >= len(gallery)).any():
            raise ValueError(
                f"`same_index` must hold gallery rows below {len(gallery)} for {len(query)} queries; "
                "use numpy.arange(n) where both sets are one."
            )

    unknown = gallery_identities < 0 if gallery_identities.dtype.kind in "if" else None
    order = np.argsort(gallery_identities, kind="stable")
    runs = gallery_identities[order]
    starts = np.searchsorted(runs, query_identities, side="left")
    ends = np.searchsorted(runs, query_identities, side="right")
    query, gallery = verification.unit_rows(query, "query"), verification.unit_rows(gallery, "gallery")

    firsts, precisions = [], []
    step = max(1, _BLOCK // len(gallery))
    for begin in range(0, len(query), step):
        block = query[begin : begin + step] @ gallery.T
        if unknown is not None:
            block[:, unknown] = -np.inf
        for at, scores in enumerate(block, start=begin):
            matches = order[starts[at] : ends[at]]
            if query_cameras is not None:
                matches = matches[gallery_cameras[matches] != query_cameras[at]]
            if same_index is not None and same_index[at] >= 0:
                scores[same_index[at]] = -np.inf
                matches = matches[matches != same_index[at]]
            found = np.sort(scores[matches])
            if not len(found) or found[0] == -np.inf:
                continue
            scores[order[starts[at] : ends[at]]] = -np.inf  # what remains is wrong entries only
            wrong = scores[scores >= found[0]]
            if len(found) <= 64:  # a few passes are five times as fast as a sort
                ahead = np.array([np.count_nonzero(wrong >= score) for score in found[::-1]])
            else:
                ahead = len(wrong) - np.searchsorted(np.sort(wrong), found[::-1])
            place = np.arange(1, len(found) + 1)
            precisions.append(np.mean(place / (place + ahead)))
            firsts.append(1 + ahead[0])
    if not firsts:
        raise ValueError(
            f"no query of {len(query)} has a match in the gallery but at least one is needed; check the "
            "identities (and cameras: a match from the query's own camera does not count)."
        )
    firsts = np.array(firsts)
    result = {f"rank{k}": float(np.mean(firsts <= k)) for k in ranks}
    result["map"] = float(np.mean(precisions))
    result["queries"] = len(firsts)
    result["unmatched"] = len(query) - len(firsts)
    return result


def oneshot_accuracy(query, gallery, query_identities, gallery_identities, query_cases, gallery_cases):
    """The share of queries whose nearest gallery entry (cosine, within their case) has their identity.

    A case is one run of an N-way one-shot test. A tie between a right and a wrong entry counts as wrong, and
    so does a query whose identity is not in its case.

    Args:    query: [q, D].  gallery: [N, D].  Any length (normalised here).
             query_identities, query_cases: [q].  gallery_identities, gallery_cases: [N].
    Returns: float in [0, 1], the mean over queries.
    Raises:  ValueError for shapes that do not fit, values that are not finite, or a case without gallery.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    query_identities, gallery_identities = np.asarray(query_identities), np.asarray(gallery_identities)
    query_cases, gallery_cases = np.asarray(query_cases), np.asarray(gallery_cases)
    _check(query, gallery, query_identities, gallery_identities, "identities")
    _check(query, gallery, query_cases, gallery_cases, "cases")
    query, gallery = verification.unit_rows(query, "query"), verification.unit_rows(gallery, "gallery")
    right = 0
    for case in np.unique(query_cases):
        asked, offered = np.flatnonzero(query_cases == case), np.flatnonzero(gallery_cases == case)
        if not len(offered):
            raise ValueError(f"`gallery_cases` has no {case} but {len(asked)} queries ask it; add images.")
        scores = query[asked] @ gallery[offered].T
        match = query_identities[asked][:, None] == gallery_identities[offered]
        best = np.where(match, scores, -np.inf).max(axis=1)
        right += np.count_nonzero(best > np.where(match, -np.inf, scores).max(axis=1))
    return float(right / len(query))


def _check(query, gallery, of_query, of_gallery, name):
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"`query` has shape {query.shape} and `gallery` {gallery.shape} but must be [q, D] and [N, D]; "
            "embed both with one model."
        )
    if not len(query) or not len(gallery):
        raise ValueError(
            f"`query` has {len(query)} rows and `gallery` {len(gallery)} but neither may be 0; add images.")
    for side, rows, values in (("query", query, of_query), ("gallery", gallery, of_gallery)):
        if values.shape != rows.shape[:1]:
            raise ValueError(
                f"`{side}_{name}` has shape {values.shape} but must be [{len(rows)}]; give one a row.")
