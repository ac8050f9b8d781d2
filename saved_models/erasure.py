"""Erasing identities from a gallery for good, and the proof: their vectors are in no file that is left."""

import os
import re

import numpy as np

from saved_models import gallery, versions

BLOCK = 2**24   # bytes of a file that are searched at a time


def erase(gallery_version, identities=(), entries=(), check=True):
    """Write the next version without these, remove all older ones, and search what is left for their vectors.

    Args, Raises: as gallery.remove.
    Returns: path of the new version, proof as of `proof`.
    """
    models, task = _folder(gallery_version)
    vectors = vectors_of(models, task, identities, entries)
    path = gallery.remove(gallery_version, identities, entries, check=check)
    versions.keep(models, task, 1)
    return path, proof(models, task, vectors)


def vectors_of(models, task, identities=(), entries=()):
    """float32 [n,D]: the vectors that these identities and entries have in any version, each once."""
    identities, entries, found = set(identities), set(entries), []
    for version in versions.list_versions(models, task):
        vectors, whose, names = gallery.load_entries(versions.folder(models, task, version))
        found += [vector for vector, one, name in zip(vectors, whose, names) if one in identities or name in entries]
    return np.unique(np.array(found, np.float32), axis=0) if found else np.zeros([0, 0], np.float32)


def proof(models, task, vectors):
    """Searches every file below `<models>/<task>` for the bytes of vectors.

    A version keeps its vectors as they are, float32 one after the other, so that one which is left is found wherever
    it lies: in a version, in one that is being written or in one that a kill left half removed.

    Args:    vectors: float32 [n,D].
    Returns: {"vectors": n, "found": [paths below the folder with one of them], "files", "bytes": searched, "versions":
             [numbers left]}; they are gone where `found` is empty.
    """
    root = os.path.join(models, task)
    needles = [np.ascontiguousarray(vector, "<f4").tobytes() for vector in vectors]
    pattern = re.compile(b"|".join(map(re.escape, needles)), re.DOTALL) if needles else None
    found, files, size = [], 0, 0
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = os.path.join(folder, name)
            files, size = files + 1, size + os.path.getsize(path)
            if pattern and _holds(path, pattern, len(needles[0])):
                found.append(os.path.relpath(path, root))
    return {"vectors": len(vectors), "found": sorted(found), "files": files, "bytes": size,
            "versions": versions.list_versions(models, task)}


def _holds(path, pattern, length):
    """Whether a file holds a match of `length` bytes, which may lie across two blocks."""
    with open(path, "rb") as stream:
        tail = b""
        while block := stream.read(BLOCK):
            if pattern.search(tail + block):
                return True
            tail = (tail + block)[-(length - 1):]
    return False


def _folder(gallery_version):
    """(models, task) of a version folder."""
    task = os.path.dirname(os.path.abspath(gallery_version))
    return os.path.dirname(task), os.path.basename(task)
