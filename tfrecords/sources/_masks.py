"""Which files are masks, and of which image: by a suffix of the name or by a directory."""

import collections
import posixpath

from tfrecords.files import shortened
from tfrecords.sources._rows import EXTENSIONS


class Masks:
    """The masks among the images of a folder or zip.

    A directory: the mask of a/b/c.jpg lies in <directory>/a/b/c.*, or with `_mask` after c, the directory in any
    folder above the image; leading folders of the rest may be missing, so that images/c.jpg finds masks/c.png and
    test/cut/c.png finds ground_truth/cut/c_mask.png. The nearest directory counts, then most folders in common.
    A suffix with an extension (".png", "_mask.png"): a/b.jpg has a/b.png; without one ("_mask"): a/b_mask.*.

    Args:    paths: of all images and masks.
             given: a directory if one of that name lies there, else a suffix.
    Raises:  ValueError where no file is a mask, or two are of one name.
    """

    def __init__(self, paths, given):
        self._given = given
        self._directory = given.strip("/")
        inside = [path for path in paths if f"/{self._directory}/" in f"/{path}"] if self._directory else []
        self._found = collections.defaultdict(dict)         # {folder above or "": {stem: mask}}
        if inside:
            self._add_directory(inside)
        else:
            self._directory = ""
            self._add_suffix(paths)
        if not self._found:
            raise ValueError(f"`masks` is {given!r} but no file lies in a directory of that name or ends so; give "
                             "the suffix that masks have beyond their images' names, such as _mask or .png, or their "
                             "directory.")
        self.paths = {mask for masks in self._found.values() for mask in masks.values()}

    def pair(self, images):
        """{image: mask} of the images that have one.

        Raises:  ValueError where none has, or two share one.
        """
        found = {image: mask for image in images if (mask := self._of(image))}
        if not found:
            raise ValueError(f"`masks` is {self._given!r} but none of the {len(self.paths):,} masks, such as "
                             f"`{shortened(min(self.paths))}`, fits one of the {len(images):,} images, such as "
                             f"`{shortened(images[0])}`; their names must agree.")
        owners = {}
        for image, mask in found.items():
            if mask in owners:
                raise ValueError(f"the mask `{shortened(mask)}` fits both `{shortened(owners[mask])}` and "
                                 f"`{shortened(image)}`; leave one out by a pattern or rename the mask.")
            owners[mask] = image
        return found

    def _of(self, image):
        stem = posixpath.splitext(image)[0]
        if not self._directory:
            return self._found[""].get(stem)
        parts = stem.split("/")
        for level in range(len(parts) - 1, -1, -1):         # the directory beside the image, then further above
            masks = self._found.get("".join(part + "/" for part in parts[:level]))
            for first in range(level, len(parts)) if masks else ():
                mask = masks.get("/".join(parts[first:]))
                if mask:
                    return mask
        return None

    def _add_suffix(self, paths):
        suffix = self._given.lower()
        whole = suffix.endswith(EXTENSIONS)
        for path in paths:
            stem = path if whole else posixpath.splitext(path)[0]
            if suffix and stem.lower().endswith(suffix) and posixpath.basename(stem[:-len(suffix)]):
                self._add("", stem[:-len(suffix)], path)

    def _add_directory(self, paths):
        named = []
        for path in paths:
            above, _, below = f"/{path}".partition(f"/{self._directory}/")
            folder, stem = f"{above}/"[1:], posixpath.splitext(below)[0]
            if stem.endswith("_mask"):
                named.append((folder, stem.removesuffix("_mask"), path))
            self._add(folder, stem, path)
        for folder, stem, path in named:
            self._found[folder].setdefault(stem, path)

    def _add(self, folder, stem, path):
        other = self._found[folder].setdefault(stem, path)
        if other != path:
            raise ValueError(f"`{shortened(other)}` and `{shortened(path)}` are both masks of one name; leave one out.")
