"""Embeddings of any framework, in an .npz file."""

import dataclasses
import os
import zipfile

import numpy as np

MOST_BYTES = 4 << 30        # of one array
_BLOCK = 1 << 22            # numbers that are checked at once
_HEADERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
_FACTS = ("identities", "cameras", "tracks")


@dataclasses.dataclass(frozen=True)
class Vectors:
    """One side of a search.

    Args:    embeddings: [n, D] float.  identities: [n], numbers or strings.  cameras, tracks: [n], likewise, or None.
    """

    embeddings: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray = None
    tracks: np.ndarray = None


def read_vectors(path):
    """The arrays `embeddings`, `identities`, `cameras` and `tracks` of an .npz file; the last two may be missing.

    Nothing is unpickled, and nothing unpacked before its header says that it fits.

    Raises:  ValueError or OSError, one sentence, for a file that is none, arrays that are missing, too large, of
             another shape or kind, or not finite.
    """
    path = os.path.expanduser(str(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"`{path}` does not exist; give an .npz file of embeddings and identities.")
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
    except OSError:
        raise
    except Exception:       # a damaged file raises anything from zipfile.BadZipFile to zlib.error
        raise ValueError(f"`{path}` is not an .npz file of arrays; write it with numpy.savez.") from None
    for name in ("embeddings", "identities"):
        if name not in headers:
            raise ValueError(f"`{path}` has the arrays {', '.join(headers) or '(none)'} but must have `{name}`; save "
                             "it beside them.")
    for name in ("embeddings", *_FACTS):
        if name in headers:
            _check_header(path, name, *headers[name], headers["embeddings"][0])
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("embeddings", *_FACTS) if name in headers}
    except Exception as error:
        raise OSError(f"`{path}` cannot be read ({str(error) or 'it is cut off'}); save it again.") from None
    _check_finite(path, found["embeddings"])
    for name in _FACTS:
        values = found.get(name)
        whole = values is None or values.dtype.kind != "f" or np.isfinite(values) & (values == np.round(values))
        if not np.all(whole):
            raise ValueError(f"`{name}` in `{path}` has numbers that are not whole but each must name one thing; give "
                             "whole numbers or strings.")
    return Vectors(**found)


def _header(archive, name):
    """(shape, dtype, whether the file claims to hold as many bytes) of an entry."""
    with archive.open(name) as stream:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)[0]](stream)
        claimed = dtype.itemsize * int(np.prod(shape, dtype=object))
        return shape, dtype, stream.tell() + claimed == archive.getinfo(name).file_size


def _check_header(path, name, shape, dtype, whole, rows):
    if dtype.hasobject:
        raise ValueError(f"`{name}` in `{path}` holds Python objects, which are not read; convert it, such as by "
                         ".astype(str), and save it again.")
    if not whole:
        raise ValueError(f"`{name}` in `{path}` claims to be {shape}, which is not what the file holds; it is damaged, "
                         "so save it again.")
    claimed = dtype.itemsize * int(np.prod(shape, dtype=object))
    if claimed > MOST_BYTES:
        raise ValueError(f"`{name}` in `{path}` has {claimed:,} bytes but may have {MOST_BYTES:,}; save it as float32 "
                         "or float16, or score a part of it.")
    if name == "embeddings":
        if dtype.kind != "f" or dtype.itemsize > 8 or len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"`{name}` in `{path}` is {dtype} {shape} but must be float16, float32 or float64 [n, D], "
                             "neither of them 0; save one row an image.")
    elif dtype.kind not in "iufUS" or shape != rows[:1]:
        raise ValueError(f"`{name}` in `{path}` is {dtype} {shape} but must be numbers or strings [{rows[0]}]; give "
                         "one a row of `embeddings`.")


def _check_finite(path, embeddings):
    step = max(1, _BLOCK // embeddings.shape[1])
    for start in range(0, len(embeddings), step):
        wrong = np.flatnonzero(~np.isfinite(embeddings[start:start + step]).all(axis=1))
        if len(wrong):
            raise ValueError(f"`embeddings` in `{path}` has a value in row {start + wrong[0]} that is not finite but a "
                             "cosine needs numbers; check the model that wrote it.")
