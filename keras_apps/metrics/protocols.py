"""Protocols: which gallery entries a search is judged on, by the rules of the published sets."""

import numpy as np

from keras_apps.metrics import ranking, verification

PROTOCOLS = ("market1501", "veri", "veri_wild", "vehicle_id", "all")
_WITHOUT_CAMERAS = ("vehicle_id", "all")


def evaluate(
    query, gallery, query_identities, gallery_identities, query_cameras=None, gallery_cameras=None,
    protocol="market1501", precision="step", ranks=(1, 5, 10), same_index=None, reranker=None, repeats=10, seed=0,
):
    """The figures of `ranking` by the rules of a protocol.

    market1501  A gallery entry of the query's identity and camera is junk: left out of its search. Identity -1 (number
                or text) is junk for every query. Distractors, identity 0 there, need no rule: no query has theirs, so
                they stay in the gallery and are wrong.
    veri        The same; searches of tracks are beside it (`match_tracks`).
    veri_wild   The same; the set itself gives one query a vehicle (and camera).
    vehicle_id  Query and gallery are one set. In each repeat one image of every identity, drawn by `seed`, is the
                gallery and all others ask; the figures are means over the repeats. Cameras play no part.
    all         No entry is junk but unknown ones (identity -1). Cameras play no part.

    Args:    query: [q, D].  gallery: [N, D].  Any length (normalised here).
             query_identities, gallery_identities: [q], [N], both numbers or both strings.
             query_cameras, gallery_cameras: [q], [N] or None.  protocol: one of PROTOCOLS.
             precision, ranks: as `ranking`.
             same_index: [q] int, the gallery row that is the query itself, below 0 = none; it is left out.
             reranker: (query [q, D], gallery [N, D]) -> scores [q, N], larger = nearer; None = cosine.
             repeats, seed: of vehicle_id, which takes rows that are in both sets once (all of them, or `same_index`).
    Returns: as `ranking`; {"rank<k>", "map", "minp", "queries", "unmatched"}.
    Raises:  ValueError for an unknown protocol, missing cameras, identities of two kinds, and as `ranking`.
    Memory:  by cosine as `ranking`, whatever N; a re-ranker's scores are whole, and see there.
    Source:  Zheng et al., ICCV 2015 (Market-1501); Liu et al., ECCV 2016 (VeRi); Lou et al., CVPR 2019 (VERI-Wild);
             Liu et al., CVPR 2016 (VehicleID).
    """
    require(protocol, query_cameras is not None and gallery_cameras is not None)
    query, gallery = np.asarray(query), np.asarray(gallery)
    ranking.check_rows(query, gallery)
    query_identities, gallery_identities = _numbered(query_identities, gallery_identities)
    ranking.check((len(query), len(gallery)), query_identities, gallery_identities, "identities")
    if protocol == "vehicle_id":
        rows, identities = _one_set(query, gallery, query_identities, gallery_identities, same_index)
        return _repeated(rows, identities, precision, ranks, reranker, repeats, seed)
    if not drops_own_camera(protocol):
        query_cameras = gallery_cameras = None
    return _searched(query, gallery, query_identities, gallery_identities, query_cameras, gallery_cameras, precision,
                     ranks, same_index, reranker)


def require(protocol, cameras):
    """ValueError for an unknown protocol, or one that needs cameras where there are none."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` is {protocol!r} but must be one of {', '.join(PROTOCOLS)}.")
    if drops_own_camera(protocol) and not cameras:
        raise ValueError(f"`protocol` is {protocol} but queries and gallery do not both name their cameras, which it "
                         "goes by; add them, or use protocol=all.")


def drops_own_camera(protocol):
    """Whether a gallery entry of the query's identity and camera is left out."""
    return protocol not in _WITHOUT_CAMERAS


def tracks(vectors, track_of, identities, cameras=None):
    """A vector a track: the mean of the unit vectors of its frames.

    Args:    vectors: [n, D], any length (normalised here).
             track_of: [n], numbers or strings; frames with a number below 0 are of no track and left out.
             identities: [n].  cameras: [n] or None.
    Returns: names of the tracks [t], sorted; vectors [t, D] float32, not normalised; identities [t]; cameras [t] or
             None.
    Raises:  ValueError for shapes that do not fit, values that are not finite, a track of two identities or cameras,
             or no track.
    """
    vectors, track_of = np.asarray(vectors), np.asarray(track_of)
    facts = {"identities": np.asarray(identities)}
    if cameras is not None:
        facts["cameras"] = np.asarray(cameras)
    for name, values in {"track_of": track_of, **facts}.items():
        if values.shape != vectors.shape[:1]:
            raise ValueError(f"`{name}` has shape {values.shape} but there are {len(vectors)} frames; give one each.")
    order = np.argsort(track_of, kind="stable")
    if track_of.dtype.kind in "if":
        order = order[track_of[order] >= 0]
    if not len(order):
        raise ValueError(f"`track_of` names no track for {len(vectors)} frames but at least one is needed; give "
                         "numbers from 0, or names.")
    names, starts, counts = np.unique(track_of[order], return_index=True, return_counts=True)
    found = {}
    for name, values in facts.items():
        values, found[name] = values[order], values[order[starts]]
        other = np.flatnonzero(values != np.repeat(found[name], counts))
        if len(other):
            at = np.searchsorted(starts, other[0], side="right") - 1
            raise ValueError(f"track {names[at]} has the {name} {found[name][at]} and {values[other[0]]} but a track "
                             "has one; number the tracks anew for each.")
    sums = np.add.reduceat(verification.unit_rows(vectors, "vectors")[order], starts, axis=0, dtype=np.float64)
    return names, (sums / counts[:, None]).astype(np.float32), found["identities"], found.get("cameras")


def match_tracks(
    query, gallery, query_identities, gallery_identities, query_cameras, gallery_cameras, query_tracks, gallery_tracks,
    protocol, precision="step", ranks=(1, 5, 10), one_set=False,
):
    """The search with the gallery, then both sides, as means of tracks.

    Args:    as `evaluate`.  query_tracks, gallery_tracks: [q], [N], as `tracks` takes them; the query's may be None.
             one_set: whether a track of one name on both sides is one track, which is left out of its own search; else
             each side numbers its tracks for itself.
    Returns: {"image_to_track_<figure>", "track_to_track_<figure>"} for the figures of `ranking`; without the second
             where query_tracks is None, and without those of which no query has a match. For veri also "hit<k>": that
             set's name for image_to_track_rank<k>. Nothing for vehicle_id, which knows no sides.
    Raises:  as `tracks` and `evaluate`.
    Differs: VeRi's authors take the nearest frame of a track for its score, this the mean frame.
    """
    require(protocol, query_cameras is not None and gallery_cameras is not None)
    if protocol == "vehicle_id":
        return {}
    if not drops_own_camera(protocol):
        query_cameras = gallery_cameras = None
    names, entries, identities, cameras = tracks(gallery, gallery_tracks, gallery_identities, gallery_cameras)
    sides = {"image_to_track": (query_tracks, query, query_identities, query_cameras)}
    if query_tracks is not None:
        sides["track_to_track"] = tracks(query, query_tracks, query_identities, query_cameras)
    found = {}
    for search, (asking, rows, asked, own_cameras) in sides.items():
        own = _places(np.asarray(asking), names) if one_set and asking is not None else None
        try:
            figures = _searched(np.asarray(rows), entries, *_numbered(asked, identities), own_cameras, cameras,
                                precision, ranks, own, None)
        except ranking.NoMatchError:
            continue
        found.update({f"{search}_{name}": value for name, value in figures.items()})
        if protocol == "veri" and search == "image_to_track":
            found.update({f"hit{k}": figures[f"rank{k}"] for k in ranks})
    return found


def by_tracks(asked, vectors, identities, cameras, track_of, sides, protocol, precision="step"):
    """`match_tracks` where queries and gallery are rows of one set.

    Args:    asked, vectors: [n, D], as queries and as gallery entries; may be one.
             identities, track_of: [n] int, tracks below 0 = none.  cameras: [n] or None.
             sides: masks [n] of the rows that ask and of those that are searched; they may overlap.
    """
    query, gallery = sides
    cameras = [None, None] if cameras is None else [cameras[side] for side in sides]
    asking = track_of[query] if (track_of[query] >= 0).any() else None
    return match_tracks(asked[query], vectors[gallery], identities[query], identities[gallery], *cameras,
                        asking, track_of[gallery], protocol, precision, one_set=True)


def _searched(query, gallery, query_identities, gallery_identities, query_cameras, gallery_cameras, precision, ranks,
              same_index, reranker):
    facts = {"query_cameras": query_cameras, "gallery_cameras": gallery_cameras, "ranks": ranks,
             "same_index": same_index, "precision": precision}
    if reranker is None:
        return ranking.ranking(query, gallery, query_identities, gallery_identities, **facts)
    known = gallery_identities >= 0
    if not known.all():     # what is out of every search must not be a neighbour either
        gallery, gallery_identities = gallery[known], gallery_identities[known]
        if gallery_cameras is not None:
            facts["gallery_cameras"] = np.asarray(gallery_cameras)[known]
        if same_index is not None:
            place = np.append(np.where(known, np.cumsum(known) - 1, -1), -1)        # the last is for "none"
            facts["same_index"] = place[np.maximum(same_index, -1)]
    return ranking.ranking_of(reranker(query, gallery), query_identities, gallery_identities, **facts)


def _repeated(rows, identities, precision, ranks, reranker, repeats, seed):
    if repeats < 1:
        raise ValueError(f"`repeats` is {repeats} but must be at least 1; use 10.")
    known = identities >= 0
    rows, identities = rows[known], identities[known]
    if len(np.unique(identities)) == len(identities):
        raise ValueError(f"the {len(identities)} images are all of different identities but vehicle_id needs one with "
                         "2 images; add images.")
    generator, found = np.random.default_rng(seed), []
    for _ in range(repeats):
        order = generator.permutation(len(rows))
        gallery = np.zeros(len(rows), bool)
        gallery[order[np.unique(identities[order], return_index=True)[1]]] = True
        found.append(_searched(rows[~gallery], rows[gallery], identities[~gallery], identities[gallery], None, None,
                               precision, ranks, None, reranker))
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return {**means, **{name: found[0][name] for name in ("queries", "unmatched")}}     # the same in all repeats


def _one_set(query, gallery, query_identities, gallery_identities, same_index):
    """Rows and identities of both sides, those of both sides once."""
    more = np.ones(len(query), bool) if same_index is None else np.asarray(same_index) < 0
    if query.shape == gallery.shape and np.array_equal(query, gallery) and np.array_equal(
            query_identities, gallery_identities):
        more[:] = False
    if not more.any():
        return gallery, gallery_identities
    return np.concatenate([gallery, query[more]]), np.concatenate([gallery_identities, query_identities[more]])


def _numbered(*sides):
    """The identities of both sides as numbers, equal where they were equal; the text "-1" becomes -1."""
    sides = [np.asarray(side) for side in sides]
    text = [side.dtype.kind in "US" for side in sides]
    if text[0] != text[1]:
        raise ValueError(f"`query_identities` are {sides[0].dtype} and `gallery_identities` {sides[1].dtype} but must "
                         "both be numbers or both strings; write both in one way.")
    if not text[0]:
        return sides
    names, numbers = np.unique(np.concatenate([side.astype(str) for side in sides]), return_inverse=True)
    numbers = np.where(names == "-1", -1, np.arange(len(names)))[numbers]
    return np.split(numbers, [len(sides[0])])


def _places(asked, names):
    """Where each of `asked` stands in the sorted `names`, -1 where it does not."""
    at = np.minimum(np.searchsorted(names, asked), len(names) - 1)
    return np.where(names[at] == asked, at, -1)
