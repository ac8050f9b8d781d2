"""Which file each restored image goes to: in come images and folders, out goes a plan that harms no file."""

import dataclasses
import os

from serving.folders import Below, is_inside


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be made: `jobs` [(image, file that gets it)], in the order they are asked.

    `others` and `links` count what was left out of the folders: files with other endings, links not followed.
    """

    jobs: tuple
    others: int = 0
    links: int = 0

    @property
    def images(self):
        return tuple(image for image, _ in self.jobs)


def plan(inputs, out):
    """One file for each image, checked before the work.

    Images of a folder are those that `folders.Below` finds, in the order of their paths, which are kept below `out`;
    `out` itself, with what an earlier call made, is passed over.

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
            below = Below(given, "restore", out)
            jobs += [(os.path.join(given, path), _made(out, path)) for path in below.paths]
            others, links = others + below.others, links + below.links
        found = Plan(tuple(jobs), others, links)
        _require_one_each(found.jobs)
        _require_inside(found.jobs, out)
    _require_not_asked(found.jobs, out)
    return found


def _made(out, path):
    return os.path.join(out, os.path.splitext(path)[0] + ".png")


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
        if not is_inside(os.path.realpath(folder), root):
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
