"""Which file each restored image goes to: in come images and folders, out goes a plan that harms no file."""

import dataclasses
import os

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp")  # of what a served model reads


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be made: `jobs` [(image, file that gets it)], in the order they are asked.

    `others` and `links` count what was left out of the folders: files with other endings, links not followed.
    """

    jobs: tuple
    others: int = 0
    links: int = 0


def plan(inputs, out):
    """One file for each image, checked before the work.

    Images of a folder are those below it whose names end as ENDINGS, in the order of their paths, which are kept below
    `out`. Hidden files and `out` itself, with what an earlier call made, are passed over; links that lead out of the
    folder, and links to folders, whose images have a place of their own, are not followed.

    Args:    inputs: paths of images and folders that are there.
             out: .png for one image that is given as such, else a folder, which need not be there but above which is
             one.
    Returns: Plan.
    Raises:  ValueError or OSError where a folder has no image or cannot be read, where two images would go into one
             file, and where a file would be an image to restore, lie outside of `out` or could not be made.
    """
    if out.endswith(".png"):
        if len(inputs) > 1 or os.path.isdir(inputs[0]):
            given = f"{len(inputs)} images or folders are" if len(inputs) > 1 else f"`{inputs[0]}`, a folder, is"
            raise ValueError(
                f"`--out` is {out}, a file for one image, but {given} to be restored; give a folder, a name without "
                "ending."
            )
        found = Plan(((inputs[0], out),))
    else:
        jobs, others, links = [], 0, 0
        for given in inputs:
            if not os.path.isdir(given):
                jobs.append((given, _made(out, os.path.basename(given))))
                continue
            below = _Below(given, out)
            jobs += [(os.path.join(given, path), _made(out, path)) for path in below.paths]
            others, links = others + below.others, links + below.links
        found = Plan(tuple(jobs), others, links)
        _require_one_each(found.jobs)
        _require_inside(found.jobs, out)
    _require_not_asked(found.jobs, out)
    return found


def _made(out, path):
    return os.path.join(out, os.path.splitext(path)[0] + ".png")


class _Below:
    """`paths` of the images below a folder, relative to it and sorted, and how many files and links are not."""

    def __init__(self, folder, out):
        self._root, self._out = os.path.realpath(folder), os.path.realpath(out)
        self.paths, self.others, self.links = [], 0, 0
        pending = [""]
        while pending:
            pending += self._look(folder, pending.pop())
        self.paths.sort()
        if not self.paths:
            raise ValueError(f"`{folder}` holds no image to restore; images are files that end in {' '.join(ENDINGS)}.")

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
            if entry.is_symlink() and not (file and _is_inside(os.path.realpath(entry.path), self._root)):
                self.links += 1
            elif entry.is_dir():
                if os.path.realpath(entry.path) != self._out:
                    folders.append(path)
            elif file and entry.name.lower().endswith(ENDINGS):
                self.paths.append(path)
            else:
                self.others += 1
        return folders


def _is_inside(path, folder):
    """Whether a path, both without links, is the folder or below it."""
    return os.path.commonpath((path, folder)) == folder


def _require_one_each(jobs):
    """Raises: ValueError where two images would go into one file, or one needs as a folder what is another's file."""
    made = {}
    for image, file in jobs:
        if _key(file) in made:
            other = made[_key(file)]
            if _key(image) == _key(other):
                raise ValueError(f"Image `{image}` is given twice; give it once, also where its folder is given.")
            raise ValueError(f"`{other}` and `{image}` would both be written to {file}; {_APART}.")
        made[_key(file)] = image
    for image, file in jobs:
        above = os.path.dirname(_key(file))
        while above not in made and above != os.path.dirname(above):
            above = os.path.dirname(above)
        if above in made:
            raise ValueError(f"`{made[above]}` and `{image}` need {above} as a file and as a folder; {_APART}.")


_APART = "rename one of them, or restore them by two calls with an --out each"


def _key(file):
    return os.path.normcase(os.path.normpath(file))


def _require_inside(jobs, out):
    """Raises: ValueError or OSError where what is in the folder already keeps a file from being made below it."""
    root = os.path.realpath(out)
    for folder in sorted({os.path.dirname(file) for _, file in jobs}):
        if not _is_inside(os.path.realpath(folder), root):
            raise ValueError(f"`--out` is {out} but a link leads from `{folder}` out of it; give another --out.")
        there = folder
        while not os.path.lexists(there) and there:
            there = os.path.dirname(there)
        there = there or "."
        if not os.path.isdir(there):
            raise NotADirectoryError(
                f"`--out` is {out} but `{there}`, where a folder must be, is a file; give another --out."
            )
        if not os.access(there, os.W_OK):
            raise PermissionError(f"`--out` is {out} but nothing may be written to `{there}`; give another --out.")
    for image, file in jobs:
        if os.path.isdir(file):
            raise IsADirectoryError(
                f"`--out` is {out} but `{file}`, where `{image}` would go, is a folder; give another --out."
            )


def _require_not_asked(jobs, out):
    """Raises: ValueError where a file is an image to restore, by whatever name or link."""
    asked = {_identity(image) for image, _ in jobs}
    for _, file in jobs:
        if os.path.exists(file) and _identity(file) in asked:
            raise ValueError(
                f"`--out` is {out} but {file} is an image to restore, which would be overwritten; give another --out."
            )


def _identity(file):
    status = os.stat(file)
    return status.st_dev, status.st_ino
