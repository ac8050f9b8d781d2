"""Ranking: how early a gallery search finds a query's identity."""

import numpy as np

from keras_apps.metrics import verification

_BLOCK = 1 << 23  # entries of one block of scores: 32 MB


def ranking(
    query, gallery, query_identities, gallery_identities, query_cameras=None, gallery_cameras=None,
    ranks=(1, 5, 10), same_index=None, query_cases=None, gallery_cases=None,
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
             query_cases, gallery_cases: [q], [N] or both None. With cases, each query searches the entries of its
             own case only (episodes); a case without any match ends nothing, its queries are "unmatched".
    Returns: {"rank<k>": share of queries with a match among the first k, "map": float, "queries": number of
             queries in these means, "unmatched": number of queries left out for want of any match}.
    Raises:  ValueError for shapes that do not fit, values that are not finite, one camera or case list without
             the other, a rank below 1, or no query with a match.
    Cost:    one product (of each case); the gallery is not sorted, only the entries above a query's last match are
             counted.  Memory: the rows as float32 and one block of 32 MB.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    query_identities, gallery_identities = np.asarray(query_identities), np.asarray(gallery_identities)
    _check(query, gallery, query_identities, gallery_identities, "identities")
    query_cameras, gallery_cameras = _both(query, gallery, query_cameras, gallery_cameras, "cameras")
    query_cases, gallery_cases = _both(query, gallery, query_cases, gallery_cases, "cases")
    if min(ranks) < 1:
        raise ValueError(f"`ranks` has {min(ranks)} but ranks count from 1; use (1, 5, 10).")
    if same_index is not None:
        same_index = np.asarray(same_index)
        if same_index.shape != query_identities.shape or (same_index >= len(gallery)).any():
            raise ValueError(
                f"`same_index` must hold gallery rows below {len(gallery)} for {len(query)} queries; "
                "use numpy.arange(n) where both sets are one."
            )

    query, gallery = verification.unit_rows(query, "query"), verification.unit_rows(gallery, "gallery")
    found = []
    for asked, offered in _cases(query_cases, gallery_cases):
        entries = gallery[offered]
        if not len(entries):
            continue
        cameras = (None, None) if query_cameras is None else (query_cameras[asked], gallery_cameras[offered])
        left_out = None
        if same_index is not None:  # an entry of another case is not there to be left out
            place = np.full(len(gallery) + 1, -1)  # the last is for "none"
            place[:-1][offered] = np.arange(len(entries))
            left_out = place[np.maximum(same_index[asked], -1)]
        found += _search(query[asked], entries, query_identities[asked], gallery_identities[offered],
                         *cameras, left_out)
    if not found:
        raise ValueError(
            f"no query of {len(query)} has a match in the gallery but at least one is needed; check the "
            "identities (and cameras: a match from the query's own camera does not count)."
        )
    firsts, precisions = np.array(found).T
    result = {f"rank{k}": float(np.mean(firsts <= k)) for k in ranks}
    result["map"] = float(np.mean(precisions))
    result["queries"] = len(found)
    result["unmatched"] = len(query) - len(found)
    return result


def _search(query, gallery, query_identities, gallery_identities, query_cameras, gallery_cameras, same_index):
    """(rank of the first match, average precision) of each query that has a match; rows of length one."""
    unknown = gallery_identities < 0 if gallery_identities.dtype.kind in "if" else None
    order = np.argsort(gallery_identities, kind="stable")
    runs = gallery_identities[order]
    starts = np.searchsorted(runs, query_identities, side="left")
    ends = np.searchsorted(runs, query_identities, side="right")
    results = []
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
            results.append((1 + ahead[0], np.mean(place / (place + ahead))))
    return results


def oneshot_accuracy(query, gallery, query_identities, gallery_identities, query_cases, gallery_cases):
    """The share of queries whose nearest gallery entry (cosine, within their case) has their identity.

    A case is one run of an N-way one-shot test. A tie between a right and a wrong entry counts as wrong, and
    so does a query whose identity is not in its case's gallery. A query whose case has no gallery at all was not
    asked anything and is left out; numpy.isin(query_cases, gallery_cases) tells which are judged.

    Args:    query: [q, D].  gallery: [N, D].  Any length (normalised here).
             query_identities, query_cases: [q].  gallery_identities, gallery_cases: [N].
    Returns: float in [0, 1], the mean over the judged queries.
    Raises:  ValueError for shapes that do not fit, values that are not finite, or no query to judge.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    query_identities, gallery_identities = np.asarray(query_identities), np.asarray(gallery_identities)
    query_cases, gallery_cases = np.asarray(query_cases), np.asarray(gallery_cases)
    _check(query, gallery, query_identities, gallery_identities, "identities")
    _check(query, gallery, query_cases, gallery_cases, "cases")
    query, gallery = verification.unit_rows(query, "query"), verification.unit_rows(gallery, "gallery")
    right = judged = 0
    for asked, offered in _cases(query_cases, gallery_cases):
        if not len(offered):
            continue
        judged += len(asked)
        scores = query[asked] @ gallery[offered].T
        match = query_identities[asked][:, None] == gallery_identities[offered]
        best = np.where(match, scores, -np.inf).max(axis=1)
        right += np.count_nonzero(best > np.where(match, -np.inf, scores).max(axis=1))
    if not judged:
        raise ValueError(f"`gallery_cases` has no {query_cases[0]} and no other case of the {len(query)} queries but "
                         "at least one is needed; add gallery images of their cases.")
    return float(right / judged)


def _cases(query_cases, gallery_cases):
    """(places of the queries, places of the gallery) of each case that queries ask; all of them without cases."""
    if query_cases is None:
        yield slice(None), slice(None)
        return
    for case in np.unique(query_cases):
        yield np.flatnonzero(query_cases == case), np.flatnonzero(gallery_cases == case)


def _both(query, gallery, of_query, of_gallery, name):
    """Both lists as arrays that fit their rows, or both None."""
    if (of_query is None) != (of_gallery is None):
        missing = f"query_{name}" if of_query is None else f"gallery_{name}"
        raise ValueError(f"`{missing}` is None but the other side has {name}; give both or neither.")
    if of_query is not None:
        of_query, of_gallery = np.asarray(of_query), np.asarray(of_gallery)
        _check(query, gallery, of_query, of_gallery, name)
    return of_query, of_gallery


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
