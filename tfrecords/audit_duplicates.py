"""Equal and nearly equal images: hashes in, pairs and groups out."""

import hashlib

import numpy as np
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SIDE = 32                                   # of the thumbnail that is compared
BANDS = 7                                   # of the 64-bit hash: all pairs up to BANDS - 1 different bits are found
MOST_PAIRS, MOST_STEPS = 5_000_000, 10 ** 9         # close hashes that are looked at, hashes that are compared
MOST_EQUAL = 1000                           # images of one hash that are compared with each other

# An image below SMALL pixels shows all its detail in the thumbnail, so that a copy of it agrees better, but two
# drawings of one letter agree well too.
SMALL = 64
ALIKE, ALIKE_SMALL = 0.95, 0.98             # least correlation of two details

_BLANK = 1 / 255                            # standard deviation of a thumbnail without content
_BITS = np.array([bin(value).count("1") for value in range(2 ** 16)], np.uint8)
_U, _V = np.array(sorted(((u, v) for u in range(SIDE) for v in range(SIDE)), key=lambda at: (sum(at), at))).T
_HASHED = slice(1, 65)                      # of the coefficients from low to high frequency
_COARSE = 21                                # coefficients that the details leave out: u + v < 6


def digest(pixels):
    """16 bytes that only images of equal shape, depth and pixels share.   Args: pixels: [h, w, c], any dtype."""
    found = hashlib.blake2b(f"{pixels.dtype.name}{pixels.shape}".encode(), digest_size=16)
    found.update(np.ascontiguousarray(pixels))
    return found.digest()


def hashes(thumbnails):
    """Perceptual hashes, the detail that confirms them, and which images are blank.

    coefficients = DCT-II of the thumbnail, orthonormal, in the order of u + v
    bit_i = coefficient_i > median of the 64 lowest but the mean
    detail = coefficients with u + v >= 6, scaled to int8: by Parseval their cosine is the correlation of two thumbnails
    without their coarse structure, which all images of one kind (faces, digits) share

    Args:    thumbnails: float [n, SIDE, SIDE] in [0, 1].
    Returns: uint64 [n]; int8 [n, DETAIL]; bool [n].
    """
    spectra = dctn(thumbnails, axes=(1, 2), norm="ortho")[:, _U, _V]
    lowest = spectra[:, _HASHED]
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    details = spectra[:, _COARSE:]
    details = details * (127 / np.maximum(np.abs(details).max(axis=1, keepdims=True), 1e-6))
    blank = thumbnails.reshape(len(thumbnails), -1).std(axis=1) < _BLANK
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    return packed.view(">u8")[:, 0].astype(np.uint64), np.rint(details).astype(np.int8), blank


DETAIL = SIDE * SIDE - _COARSE


def distance(different):
    """Number of bits that are set: uint64 [n] -> int [n]; of `a ^ b` their Hamming distance."""
    return _BITS[different.view(np.uint16).reshape(-1, 4)].sum(axis=1)


def close_hashes(values, bands=BANDS, most=MOST_PAIRS, steps=MOST_STEPS):
    """All pairs of hashes that differ in less than `bands` bits.

    Two hashes that differ in fewer bits than there are bands agree in at least one whole band (pigeonhole); so only
    hashes that share a band are compared, about N^2 bands / 2^(64 / bands + 1) pairs of random ones.

    Args:    values: uint64 [N], all different.  most: pairs to return.  steps: pairs to compare.
    Returns: pairs int64 [M, 2], first < second; whether these are all.
    """
    edges = np.linspace(0, 64, bands + 1).astype(int)
    masks = [np.uint64((2 ** (high - low) - 1) << low) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist())]
    found, count, compared = [np.zeros((0, 2), np.int64)], 0, 0
    for band, mask in enumerate(masks):
        order = np.argsort(values & mask, kind="stable")
        ordered = values[order]
        at, step = np.arange(len(values)), 0
        while True:                         # neighbours at distance `step` in the band's order, until none shares it
            step += 1
            at = at[at < len(values) - step]
            different = ordered[at] ^ ordered[at + step]
            shared = different & mask == 0
            at, different = at[shared], different[shared]
            if not len(at):
                break
            compared += len(at)
            near = distance(different) < bands
            for earlier in masks[:band]:    # which found the pair already
                near[near] = different[near] & earlier != 0
            found.append(np.stack([order[at[near]], order[at[near] + step]], axis=1))
            count += len(found[-1])
            if count > most or compared > steps:
                return np.sort(np.concatenate(found), axis=1)[:most], False
    return np.sort(np.concatenate(found), axis=1), True


def alike(first, second):
    """Correlation of details: int8 [n, DETAIL], int8 [n, DETAIL] -> float [n]; 0 where one has none."""
    first, second = first.astype(np.float32), second.astype(np.float32)
    norms = np.sqrt((first * first).sum(axis=1) * (second * second).sum(axis=1))
    return (first * second).sum(axis=1) / np.maximum(norms, 1e-6)


def near_pairs(values, details, small, rows):
    """The pairs of images that are nearly equal: close hashes, and details that agree.

    Found are copies that were stored again, resized, brightened or slightly blurred; not those that were cut or
    shifted by 2 % or more, turned or mirrored.

    Args:    values: uint64 [N].  details: int8 [N, DETAIL], an array on disk as well.
             small: bool [N], images below SMALL pixels.  rows: int64 [n], those to compare, without duplicates.
    Returns: pairs int64 [M, 2] of rows, first < second; whether all could be looked at.
    """
    distinct, inverse, sizes = np.unique(values[rows], return_inverse=True, return_counts=True)
    pairs, complete = close_hashes(distinct)
    several = np.flatnonzero(sizes > 1)
    pairs = np.concatenate([np.stack([several, several], axis=1), pairs])
    ordered = rows[np.argsort(inverse, kind="stable")]
    starts, taken = np.cumsum(sizes) - sizes, np.minimum(sizes, MOST_EQUAL)
    found, looked = [np.zeros((0, 2), np.int64)], 0
    for part in _parts(pairs, taken[pairs[:, 0]] * taken[pairs[:, 1]]):
        both = _members(part, ordered, starts, taken)
        looked += len(both)
        least = np.where(small[both].any(axis=1), ALIKE_SMALL, ALIKE)
        found.append(both[alike(details[both[:, 0]], details[both[:, 1]]) >= least])
        if looked > MOST_PAIRS:
            complete = False
            break
    return np.sort(np.concatenate(found), axis=1), complete and bool((sizes <= MOST_EQUAL).all())


def groups(count, pairs):
    """Numbers of the groups that pairs chain together.

    Args:    count: N.  pairs: int64 [M, 2] of rows.
    Returns: int64 [N]; rows in no pair have a group of their own.
    """
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def equal_pairs(digests):
    """Pairs (first row, later row) of equal digests: bytes [N] -> int64 [M, 2], one pair for each later row."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    rows = np.arange(len(digests))
    later = rows[first[inverse] != rows]
    return np.stack([first[inverse[later]], later], axis=1)


def _parts(pairs, sizes, most=16384):
    """The pairs of hashes in runs that stand for about so many pairs of images."""
    edges = np.unique(np.searchsorted(np.cumsum(sizes), np.arange(most, sizes.sum() + most, most)))
    return [part for part in np.split(pairs, edges) if len(part)]


def _members(pairs, rows, starts, sizes):
    """Pairs of hashes -> pairs of the images that have them, [n, 2]; of one hash with itself each pair once."""
    counts = sizes[pairs[:, 0]] * sizes[pairs[:, 1]]
    first, second = np.repeat(pairs, counts, axis=0).T
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first, second = starts[first] + number // sizes[second], starts[second] + number % sizes[second]
    return np.stack([rows[first], rows[second]], axis=1)[first < second]
