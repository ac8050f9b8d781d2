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


class Below:
    """`paths` of the images below a folder, relative to it and sorted, and how many files and links are not.

    Hidden files are passed over, and the folder `out`; links that lead out of the folder, and links to folders, whose
    images have a place of their own, are not followed.
    """

    def __init__(self, folder, doing, out=None):
        self._root, self._out = os.path.realpath(folder), out and os.path.realpath(out)
        self.paths, self.others, self.links = [], 0, 0
        pending = [""]
        while pending:
            pending += self._look(folder, pending.pop())
        self.paths.sort()
        if not self.paths:
            raise ValueError(f"`{folder}` holds no image to {doing}; images are files that end in {' '.join(ENDINGS)}.")

    def _look(self, folder, below):
        """Notes what lies in one folder; the folders in it."""
        here = os.path.join(folder, below)
        try:
            with os.scandir(here) as entries:
                entries = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise OSError(
                f"Folder `{here}` cannot be read: {error.strerror or error}; allow it or move it away."
            ) from error
        folders = []
        for entry in entries:
            path = os.path.join(below, entry.name)
            file = os.path.isfile(entry.path)  # entry.is_file() raises for a link to itself
            if entry.is_symlink() and not (file and is_inside(os.path.realpath(entry.path), self._root)):
                self.links += 1
            elif entry.is_dir():
                if os.path.realpath(entry.path) != self._out:
                    folders.append(path)
            elif file and entry.name.lower().endswith(ENDINGS):
                self.paths.append(path)
            else:
                self.others += 1
        return folders


def is_inside(path, folder):
    """Whether a path, both without links, is the folder or below it."""
    return os.path.commonpath((path, folder)) == folder
