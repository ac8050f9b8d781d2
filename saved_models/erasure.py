"""Erasing identities from a gallery for good, and the proof: their vectors are in no file that is left."""

import dataclasses
import difflib
import os

import numpy as np

from saved_models import gallery, versions
from saved_models.export import remove_abandoned

BLOCK = 2**24   # bytes of a file that are searched at a time
TABLE_BITS = 20
MIXER = np.uint64(0x9E3779B97F4A7C15)   # odd: the upper bits of a product with it depend on all bits of a number


def erase(gallery_version, identities=(), entries=(), check=True):
    """Leave one version, without these, remove all others, and search what is left for their vectors.

    Where a kill or an error ends it, the same call goes on: no version is written for names that only older ones hold.
    Nobody else may change the gallery meanwhile, see saved_models.changes.

    Args:    gallery_version: the newest one.  identities, entries, check: as of gallery.remove.
    Returns: path of the version that is left, proof as of `proof`.
    Raises:  as `plan` and gallery.remove, and then no version has been written or removed.
    """
    planned = plan(gallery_version, identities, entries)
    return planned.write(check), planned.finish()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What erasing takes: `needles` are the vectors' bytes; `identities` and `entries` those of the newest version."""

    gallery_version: str
    needles: tuple
    identities: tuple
    entries: tuple

    def writes(self):
        """Whether there will be a new version; without one the newest of now stays, as it holds none of them."""
        return bool(self.identities or self.entries)

    def write(self, check=True):
        """Path of the version that stays; the others are still there."""
        if not self.writes():
            return self.gallery_version
        return gallery.remove(self.gallery_version, self.identities, self.entries, check=check)

    def finish(self):
        """Removes all versions but the newest.   Returns: as `proof`."""
        models, task = _place(self.gallery_version)
        versions.keep(models, task, 1)
        return proof(models, task, self.needles)


def plan(gallery_version, identities=(), entries=()):
    """The Plan of erasing these; what could stand in its way is looked for before anything is written.

    Args:   as of `erase`.
    Raises: ValueError for a version that is not the newest, or one that cannot be read; for a name that no version
            holds; for a vector that would be left: that of an entry which stays as well, or in a file of no version;
            for a symbolic link below the folder of the versions: what it leads to would be left.
    """
    models, task = _place(gallery_version)
    newest = versions.latest(models, task)
    if os.path.abspath(gallery_version) != newest:
        raise ValueError(f"`{gallery_version}` is not the newest version of `{task}`, but all others are removed; give "
                         f"`{newest}` or the folder above it.")
    if isinstance(identities, str) or isinstance(entries, str):
        raise ValueError("`identities` and `entries` must be lists of names, not one string.")
    wanted = set(identities), set(entries)
    if not any(wanted):
        raise ValueError("`identities` and `entries` are both empty but one of them must name what to erase.")
    if gallery.read_facts(newest) is None:
        raise ValueError(f"`{newest}` is not a gallery version (it holds no assets/gallery.json); name one that is.")
    remove_abandoned(os.path.join(models, task))
    for _ in _walk(os.path.join(models, task)):     # the search for strays passes over the versions
        pass
    known, needles, staying = (set(), set()), set(), []
    for path, vectors, *names in _copies(models, task):
        for found, some in zip(known, names):
            found.update(some)
        gone = np.array([identity in wanted[0] or entry in wanted[1] for identity, entry in zip(*names)], bool)
        needles.update(_bytes(vector) for vector in vectors[gone])
        if path == newest:
            own = [tuple(sorted(some.intersection(those))) for some, those in zip(wanted, names)]
            staying = [(vectors[i], names[0][i], names[1][i]) for i in np.flatnonzero(~gone)]
    for kind, some, found in zip(("Identity", "Entry"), wanted, known):
        for name in sorted(some - found):
            close = difflib.get_close_matches(name, sorted(found), n=5, cutoff=0.5)
            raise ValueError(f"{kind} `{name}` is not enrolled in any version of `{task}`, so nothing of it is left to "
                             f"erase; {'did you mean ' + ', '.join(close) + '?' if close else 'leave it away.'}")
    for vector, identity, entry in staying:
        if _bytes(vector) in needles:
            raise ValueError(
                f"Entry `{entry}` of `{identity}` has a vector that is to be erased, as of the same image, but stays; "
                f"erase it as well or, where it has to stay, use remove and then `python -m saved_models.versions "
                f"--models={models} --task={task} --keep=1`, which proves nothing.")
    needles = tuple(sorted(needles))
    removed = [*(versions.folder(models, task, version) for version in versions.list_versions(models, task)),
               *versions.half_removed(models, task)]
    strays, _, _ = _search(os.path.join(models, task), needles, passed_over=removed)
    if strays:
        raise ValueError(f"{len(strays)} files of `{os.path.join(models, task)}` that belong to no version hold a "
                         f"vector that is to be erased ({', '.join(strays[:5])}); remove them first.")
    return Plan(newest, needles, *own)


def proof(models, task, needles):
    """Searches every file below `<models>/<task>` for the bytes of vectors.

    A version keeps its vectors as they are, float32 one after the other, so that one which is left is found wherever
    it lies: in a version, in one that is being written or in one that a kill left half removed.

    Args:    needles: bytes of each vector, its float32 one after the other.
    Returns: {"vectors": n, "found": [paths below the folder with one of them], "files", "bytes": searched, "versions":
             [numbers left]}; they are gone where `found` is empty.
    Raises:  ValueError for a symbolic link or a folder that cannot be listed, as what is behind is not searched.
    """
    found, files, size = _search(os.path.join(models, task), needles)
    return {"vectors": len(needles), "found": found, "files": files, "bytes": size,
            "versions": versions.list_versions(models, task)}


def _copies(models, task):
    """(path, *gallery.load_entries) of each version, and of what a kill left of those that were being removed."""
    for version in versions.list_versions(models, task):
        path = versions.folder(models, task, version)
        try:
            copy = gallery.load_entries(path)
        except ValueError as error:
            raise ValueError(f"What version {version} of `{task}` holds cannot be read, so its vectors could not be "
                             f"searched for; move its folder away and erase again: {error}") from error
        yield path, *copy
    for path in versions.half_removed(models, task):
        try:
            copy = gallery.load_entries(path)
        except ValueError:
            continue
        yield path, *copy


def _search(root, needles, passed_over=()):
    """([paths below root of the files that hold a needle], number of files, their bytes)."""
    searches = [_Search(sorted(some)) for some in _by_length(needles)]
    found, files, size = [], 0, 0
    for folder, below, names in _walk(root):
        below[:] = [name for name in below if os.path.join(folder, name) not in passed_over]
        for name in names:
            path = os.path.join(folder, name)
            try:
                size += os.path.getsize(path)
                held = any(search.holds(path) for search in searches)
            except FileNotFoundError:   # removed just now
                continue
            files += 1
            if held:
                found.append(os.path.relpath(path, root))
    return sorted(found), files, size


def _walk(root):
    """os.walk, which does not pass over in silence what a vector may be behind.   Raises: ValueError."""
    for folder, below, names in os.walk(root, onerror=_refuse):
        for path in (os.path.join(folder, name) for name in (*below, *names)):
            if os.path.islink(path):
                raise ValueError(f"`{path}` is a symbolic link, and what it leads to would neither be searched nor "
                                 "erased; put that in its place or remove both, then erase again.")
        yield folder, below, names


def _refuse(error):
    if not isinstance(error, FileNotFoundError):    # removed just now
        raise ValueError(f"`{error.filename}` cannot be listed ({error.strerror}), so that it could not be searched; "
                         "make it readable, then erase again.") from error


def _by_length(needles):
    """Needles in groups of one length: a task may have had encoders of several dimensions."""
    groups = {}
    for needle in needles:
        groups.setdefault(len(needle), []).append(needle)
    return groups.values()


class _Search:
    """Whether files hold one of some byte strings of the same length, at any place.

    A string that lies somewhere covers `step` successive windows of 8 bytes, of which one begins at a multiple of
    `step`. So only those of a file are looked at: most are passed over by a table of a hash, those that are a window of
    a string are compared with all of it. NumPy does that for a block at a time, and other threads go on meanwhile.
    """

    def __init__(self, needles):
        data = np.frombuffer(b"".join(needles), np.uint8).reshape(len(needles), -1)
        self._length = data.shape[1]
        self._size = min(8, self._length)
        self._step = min(8, self._length - self._size + 1)
        self._strings = [self._windows(row, 1) for row in data]
        self._table = np.zeros(2**TABLE_BITS, bool)
        self._places = {}   # {window: [(string, where in it)]}
        for row, string in zip(data, self._strings):
            begin = self._richest(row)
            for place in range(begin, begin + self._step):
                self._places.setdefault(int(string[place]), []).append((string, place))
        self._known = np.array(sorted(self._places), np.uint64)
        self._table[self._hashes(self._known)] = True

    def holds(self, path):
        kept, data = 0, np.empty(self._length - 1 + BLOCK, np.uint8)
        with open(path, "rb", buffering=0) as stream:
            while count := stream.readinto(memoryview(data)[kept:]):
                filled = kept + count
                if self._is_in(data[:filled]):
                    return True
                kept = min(filled, self._length - 1)    # one may lie across two blocks
                data[:kept] = data[filled - kept : filled]
        return False

    def _is_in(self, data):
        if len(data) < self._length:
            return False
        probes = self._windows(data, self._step)
        at = np.flatnonzero(self._table.take(self._hashes(probes)))
        values = probes[at]
        alike = np.isin(values, self._known)
        at, values = at[alike] * self._step, values[alike]
        return any(self._begins(data, at[values == value] - place, string)
                   for value in np.unique(values) for string, place in self._places[int(value)])

    def _begins(self, data, starts, string):
        """Whether a string begins at one of these places of `data`."""
        starts, every = starts[(starts >= 0) & (starts <= len(data) - self._length)], self._windows(data, 1)
        for place in [*range(0, len(string), self._size), len(string) - 1]:
            starts = starts[every[starts + place] == string[place]]
        return bool(len(starts))

    def _windows(self, data, step):
        """uint64 [n]: the numbers that the bytes from each multiple of `step` on are."""
        count = (len(data) - self._size) // step + 1
        if self._size == 8:
            return np.ndarray(count, "<u8", data, strides=(step,))
        return np.ndarray(count, "<u4", data, strides=(step,)).astype(np.uint64)

    def _richest(self, row):
        """Where the windows to be looked for begin: the fewer zeros they have, the less other data is like them."""
        return int(np.convolve(row == 0, np.ones(self._size + self._step - 1, int), "valid").argmin())

    @staticmethod
    def _hashes(windows):
        return (windows * MIXER >> np.uint64(64 - TABLE_BITS)).view(np.int64)


def _bytes(vector):
    return np.ascontiguousarray(vector, "<f4").tobytes()


def _place(gallery_version):
    """(models, task) of a version folder."""
    task = os.path.dirname(os.path.abspath(gallery_version))
    return os.path.dirname(task), os.path.basename(task)
