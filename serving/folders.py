"""Images that are given as folders: in come paths, out go those of the images below them."""

import dataclasses
import os

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp")  # of what a served model reads


@dataclasses.dataclass(frozen=True)
class Found:
    """Paths of images; `others` and `links` count the files with other endings and the links that were left out."""

    images: tuple
    others: int = 0
    links: int = 0


def find(inputs, doing):
    """Images as they are given, those of a folder in the order of their paths.

    Args:    inputs: paths of images and folders that are there.  doing: what is to be done to them, for errors.
    Returns: Found.
    Raises:  ValueError or OSError where a folder has no image or cannot be read.
    """
    images, others, links = [], 0, 0
    for given in inputs:
        if not os.path.isdir(given):
            images.append(given)
            continue
        below = Below(given, doing)
        images += [os.path.join(given, path) for path in below.paths]
        others, links = others + below.others, links + below.links
    return Found(tuple(images), others, links)


class Images:
    """Images as they are given, those of a folder in the order of their paths, found anew each time it is walked.

    No more than the names of the folders on the way are kept, so there may be any number of images. `count` are there,
    `others` files with other endings and `links` were left out. `inputs` is what was given.

    Args:    as `find`.
    Raises:  as `find`.
    """

    def __init__(self, inputs, doing):
        self.inputs = tuple(inputs)
        self.count, self.others, self.links = 0, 0, 0
        for given in self.inputs:
            walk = Walk(given)
            count = sum(1 for _ in walk) if os.path.isdir(given) else 1
            if not count:
                raise _no_image(given, doing)
            self.count, self.others, self.links = self.count + count, self.others + walk.others, self.links + walk.links

    def __iter__(self):
        for given in self.inputs:
            if os.path.isdir(given):
                yield from (os.path.join(given, path) for path in Walk(given))
            else:
                yield given


class Below:
    """`paths` of the images below a folder, relative to it and sorted, and how many files and links are not.

    See Walk; `out` is passed over.
    """

    def __init__(self, folder, doing, out=None):
        walk = Walk(folder, out)
        self.paths = list(walk)
        self.others, self.links = walk.others, walk.links
        if not self.paths:
            raise _no_image(folder, doing)


class Walk:
    """Iterator of the paths of images below a folder, relative to it and in their order; `others`, `links`: left out.

    Hidden files are passed over, and the folder `out`; links that lead out of the folder, and links to folders, whose
    images have a place of their own, are not followed.
    """

    def __init__(self, folder, out=None):
        self._folder, self._root, self._out = folder, os.path.realpath(folder), out and os.path.realpath(out)
        self.others, self.links = 0, 0

    def __iter__(self):
        pending = [iter(self._look(""))]
        while pending:
            path, is_folder = next(pending[-1], (None, False))
            if path is None:
                pending.pop()
            elif is_folder:
                pending.append(iter(self._look(path)))
            else:
                yield path

    def _look(self, below):
        """[(path, whether it is a folder)] of what is to be visited in one folder, in the order of all paths."""
        here = os.path.join(self._folder, below)
        try:
            with os.scandir(here) as entries:
                entries = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise OSError(
                f"Folder `{here}` cannot be read: {error.strerror or error}; allow it or move it away."
            ) from error
        found = []
        for entry in entries:
            path = os.path.join(below, entry.name)
            file = os.path.isfile(entry.path)  # entry.is_file() raises for a link to itself
            if entry.is_symlink() and not (file and is_inside(os.path.realpath(entry.path), self._root)):
                self.links += 1
            elif entry.is_dir():
                if os.path.realpath(entry.path) != self._out:
                    found.append((path, True))
            elif file and entry.name.lower().endswith(ENDINGS):
                found.append((path, False))
            else:
                self.others += 1
        # As whole paths are sorted: what lies in a folder begins with its name and a separator.
        return sorted(found, key=lambda entry: entry[0] + os.sep if entry[1] else entry[0])


def _no_image(folder, doing):
    return ValueError(f"`{folder}` holds no image to {doing}; images are files that end in {' '.join(ENDINGS)}.")


def is_inside(path, folder):
    """Whether a path, both without links, is the folder or below it."""
    return os.path.commonpath((path, folder)) == folder
