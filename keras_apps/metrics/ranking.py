"""Ranking: how early a gallery search finds a query's identity."""

import numpy as np

from keras_apps.metrics import verification

_BLOCK = 1 << 23  # entries of one block of scores: 32 MB
_PRECISIONS = ("step", "trapezoid")


class NoMatchError(ValueError):
    """No query has a match in the gallery, so nothing can be said."""


def ranking(
    query, gallery, query_identities, gallery_identities, query_cameras=None, gallery_cameras=None,
    ranks=(1, 5, 10), same_index=None, query_cases=None, gallery_cases=None, precision="step",
):
    """Cumulative match characteristic, mean average precision and inverse negative penalty of a search by cosine.

    With r_k the rank of a query's k-th match of m:
    average precision = mean_k k / r_k                                                          (step)
                      = mean_k ((k - 1) / (r_k - 1) + k / r_k) / 2, the first term 1 at r_k = 1 (trapezoid)
    inverse negative penalty = m / r_m: what a user must go through to see all matches

    The trapezoid is what the first tools of Oxford's buildings and of Market-1501 compute. Ties count against the
    search: a wrong entry with a match's very score stands before it, so a network that maps everything to one point is
    not rewarded.

    Args:    query: [q, D].  gallery: [N, D].  Any length (normalised here).
             query_identities, gallery_identities: [q], [N], numbers or strings. Gallery entries with a number
             below 0 are unknown and left out of every search; such a query has no match.
             query_cameras, gallery_cameras: [q], [N] or both None. With cameras, entries of the query's
             identity and camera are left out of its search (Market-1501's rule); a camera with a number below 0 is
             unknown, and nobody's own.
             ranks: the k of "rank<k>".
             same_index: [q] int, the gallery row left out for each query, below 0 = none; numpy.arange(n)
             is leave-one-out where the gallery is the query set.
             query_cases, gallery_cases: [q], [N] or both None. With cases, each query searches the entries of its
             own case only (episodes); a case without any match ends nothing, its queries are "unmatched".
             precision: "step" or "trapezoid".
    Returns: {"rank<k>": share of queries with a match among the first k, "map": float, "minp": float, "queries":
             number of queries in these means, "unmatched": number of queries left out for want of any match}.
    Raises:  ValueError for shapes that do not fit, values that are not finite, one camera or case list without
             the other, a rank below 1, another precision; NoMatchError, one of them, where no query has a match.
    Cost:    one product (of each case); the gallery is not sorted, only the entries above a query's last match are
             counted.  Memory: the rows as float32 and one block of 32 MB.
    Source:  minp: Ye et al., TPAMI 2021, arXiv:2001.04193.
    """
    query, gallery = np.asarray(query), np.asarray(gallery)
    check_rows(query, gallery)
    query, gallery = verification.unit_rows(query, "query"), verification.unit_rows(gallery, "gallery")
    return _ranked(
        lambda asked, offered: query[asked] @ gallery[offered].T, (len(query), len(gallery)), query_identities,
        gallery_identities, query_cameras, gallery_cameras, ranks, same_index, query_cases, gallery_cases, precision)


def ranking_of(
    scores, query_identities, gallery_identities, query_cameras=None, gallery_cameras=None, ranks=(1, 5, 10),
    same_index=None, query_cases=None, gallery_cases=None, precision="step",
):
    """`ranking` by scores that are there already, such as a re-ranker's.

    Args:    scores: [q, N], larger = nearer; they stay as they are.  Others: as `ranking`.
    Returns, Raises: as `ranking`.  Memory: one block of 32 MB, of float64 64 MB, beside the scores.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or not scores.size or scores.dtype.kind not in "iuf":
        raise ValueError(f"`scores` is {scores.dtype} {scores.shape} but must be numbers [q, N], neither of them 0; "
                         "give one a query and gallery entry.")

    def block(asked, offered):
        part = scores[asked][:, offered]        # a copy, as `asked` are numbers: the search writes into it
        part = part.astype(np.result_type(part.dtype, np.float32), copy=False)
        wrong = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(wrong):
            raise ValueError(f"`scores` row {asked[wrong[0]]} has a value that is not finite but a rank needs numbers; "
                             "check the embeddings.")
        return part
    return _ranked(block, scores.shape, query_identities, gallery_identities, query_cameras, gallery_cameras, ranks,
                   same_index, query_cases, gallery_cases, precision)


def _ranked(block, shape, query_identities, gallery_identities, query_cameras, gallery_cameras, ranks, same_index,
            query_cases, gallery_cases, precision):
    """What `ranking` returns; block(asked, offered) are the scores of these queries and entries, to be written into."""
    query_identities, gallery_identities = np.asarray(query_identities), np.asarray(gallery_identities)
    check(shape, query_identities, gallery_identities, "identities")
    query_cameras, gallery_cameras = _both(shape, query_cameras, gallery_cameras, "cameras")
    if query_cameras is not None and _kind(query_cameras) != _kind(gallery_cameras):
        raise ValueError(f"`query_cameras` are {query_cameras.dtype} and `gallery_cameras` {gallery_cameras.dtype} but "
                         "must both be numbers or both strings; write both in one way.")
    query_cases, gallery_cases = _both(shape, query_cases, gallery_cases, "cases")
    if min(ranks) < 1:
        raise ValueError(f"`ranks` has {min(ranks)} but ranks count from 1; use (1, 5, 10).")
    if precision not in _PRECISIONS:
        raise ValueError(f"`precision` is {precision!r} but must be one of {', '.join(_PRECISIONS)}.")
    if same_index is not None:
        same_index = np.asarray(same_index)
        if same_index.shape != query_identities.shape or (same_index >= shape[1]).any():
            raise ValueError(
                f"`same_index` must hold gallery rows below {shape[1]} for {shape[0]} queries; "
                "use numpy.arange(n) where both sets are one."
            )

    found = []
    for asked, offered in _cases(shape[0], query_cases, gallery_cases):
        identities = gallery_identities[offered]
        if not len(identities):
            continue
        cameras = (None, None) if query_cameras is None else (query_cameras[asked], gallery_cameras[offered])
        left_out = None
        if same_index is not None:  # an entry of another case is not there to be left out
            place = np.full(shape[1] + 1, -1)  # the last is for "none"
            place[:-1][offered] = np.arange(len(identities))
            left_out = place[np.maximum(same_index[asked], -1)]
        found += _search(lambda rows, asked=asked, offered=offered: block(asked[rows], offered),
                         query_identities[asked], identities, *cameras, left_out, precision)
    if not found:
        raise NoMatchError(
            f"no query of {shape[0]} has a match in the gallery but at least one is needed; check the "
            "identities (and cameras: a match from the query's own camera does not count)."
        )
    firsts, precisions, penalties = np.array(found).T
    result = {f"rank{k}": float(np.mean(firsts <= k)) for k in ranks}
    result["map"] = float(np.mean(precisions))
    result["minp"] = float(np.mean(penalties))
    result["queries"] = len(found)
    result["unmatched"] = shape[0] - len(found)
    return result


def _search(block, query_identities, gallery_identities, query_cameras, gallery_cameras, same_index, precision):
    """(rank of the first match, average precision, inverse negative penalty) of each query that has a match."""
    unknown = gallery_identities < 0 if gallery_identities.dtype.kind in "if" else None
    cameras_known = np.full(len(query_identities), query_cameras is not None)
    if query_cameras is not None and query_cameras.dtype.kind in "if":
        cameras_known = query_cameras >= 0
    order = np.argsort(gallery_identities, kind="stable")
    runs = gallery_identities[order]
    starts = np.searchsorted(runs, query_identities, side="left")
    ends = np.searchsorted(runs, query_identities, side="right")
    results = []
    step = max(1, _BLOCK // len(gallery_identities))
    for begin in range(0, len(query_identities), step):
        rows = block(slice(begin, begin + step))
        if unknown is not None:
            rows[:, unknown] = -np.inf
        for at, scores in enumerate(rows, start=begin):
            matches = order[starts[at] : ends[at]]
            if cameras_known[at]:
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
            ranks = place + ahead
            precisions = place / ranks
            if precision == "trapezoid":
                precisions = (np.where(ranks > 1, (place - 1) / np.maximum(ranks - 1, 1), 1.0) + precisions) / 2
            results.append((ranks[0], np.mean(precisions), len(found) / ranks[-1]))
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
    check_rows(query, gallery)
    shape = len(query), len(gallery)
    check(shape, query_identities, gallery_identities, "identities")
    check(shape, query_cases, gallery_cases, "cases")
    query, gallery = verification.unit_rows(query, "query"), verification.unit_rows(gallery, "gallery")
    right = judged = 0
    for asked, offered in _cases(shape[0], query_cases, gallery_cases):
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


def _cases(queries, query_cases, gallery_cases):
    """(places of the queries, places of the gallery) of each case that queries ask; all of them without cases."""
    if query_cases is None:
        yield np.arange(queries), slice(None)
        return
    for case in np.unique(query_cases):
        yield np.flatnonzero(query_cases == case), np.flatnonzero(gallery_cases == case)


def _kind(values):
    return values.dtype.kind if values.dtype.kind in "USO" else "number"


def _both(shape, of_query, of_gallery, name):
    """Both lists as arrays that fit their rows, or both None."""
    if (of_query is None) != (of_gallery is None):
        missing = f"query_{name}" if of_query is None else f"gallery_{name}"
        raise ValueError(f"`{missing}` is None but the other side has {name}; give both or neither.")
    if of_query is not None:
        of_query, of_gallery = np.asarray(of_query), np.asarray(of_gallery)
        check(shape, of_query, of_gallery, name)
    return of_query, of_gallery


def check_rows(query, gallery):
    """ValueError for rows of two lengths, or none."""
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"`query` has shape {query.shape} and `gallery` {gallery.shape} but must be [q, D] and [N, D]; "
            "embed both with one model."
        )
    if not len(query) or not len(gallery):
        raise ValueError(
            f"`query` has {len(query)} rows and `gallery` {len(gallery)} but neither may be 0; add images.")


def check(shape, of_query, of_gallery, name):
    """ValueError where a fact (`name`) is not given once a row of the (q, N)."""
    for side, count, values in zip(("query", "gallery"), shape, (of_query, of_gallery)):
        if values.shape != (count,):
            raise ValueError(
                f"`{side}_{name}` has shape {values.shape} but must be [{count}]; give one a row.")
