"""Images in a folder or a zip, their columns read from their paths."""

import re

from tfrecords import schema
from tfrecords.files import Files
from tfrecords.sources import _lists
from tfrecords.sources._masks import Masks
from tfrecords.sources._rows import EXTENSIONS, item

_FIRST_LEVEL = "^(?P<label>[^/]+)/"
_SPLIT_FIRST = "^(?P<split>train|val|valid|validation|test)/(?P<label>[^/]+)/"


class FolderSource:
    """The images of a folder or a zip, in the sorted order of their paths.

    Without a pattern the first folder level is the label, or train, val, valid, validation or test and the second
    one the label, where that fits every image; one folder around all others is passed over, and an image that lies
    in no folder has no label. A mask is never an image of its own; images without one are counted in
    the description as `without_mask`. Images that no pattern matches or no list names are left out and counted in
    `ignored`.

    Args:    location: directory or zip.
             pattern: regular expression, searched in the path inside the folder or zip; its named groups are
             columns.
             split: the split of all images; "" = none, or the pattern's.
             masks: a directory of masks, or the suffix that their names have beyond the image's: "ground_truth",
             "_mask", ".png" (see `_masks.Masks`); "" = there are none.
             lists: {split: file that names its images}, on the disk or inside the folder or zip (see
             `_lists.splits_by`).
    Raises:  FileNotFoundError or ValueError for a location without images, a pattern that is no expression,
             has other groups or matches nothing, masks that fit no image, lists that name others, two splits.
    """

    def __init__(self, location, pattern="", split="", masks="", lists=None):
        self._files = Files(location)
        self._split = split
        self.description = {"source": "folder", "location": self._files.name}
        if pattern:
            self.description["pattern"] = pattern
        if split:
            self.description["split"] = split
        paths = [path for path in self._files.paths if path.lower().endswith(EXTENSIONS)]
        if not paths:
            raise ValueError(f"`{location}` holds no image; images are files that end in "
                             f"{' '.join(EXTENSIONS)}.")
        self._expression = compiled(pattern or _FIRST_LEVEL)
        if bool(split) + bool(lists) + ("split" in self._expression.groupindex) > 1:
            given = f"the split {split!r} is given" if split else "lists of splits are given"
            fault = "its pattern has a group `split` too" if "split" in self._expression.groupindex else "lists too"
            raise ValueError(f"{given} for `{location}` but {fault}; keep one of them.")
        found = Masks(paths, masks) if masks else None
        images = [path for path in paths if path not in found.paths] if found else paths
        self._above = 0 if pattern or not images else _common_folder(images)
        if not (pattern or split or lists):
            by_split = re.compile(_SPLIT_FIRST)
            if images and all(by_split.match(path[self._above:]) for path in images):
                self._expression = by_split
        self._paths = [path for path in images if self._matches(path)] if pattern else images
        if not self._paths:
            fault = f"the pattern {pattern!r} matches none of" if images else f"`masks` {masks!r} fits each of"
            raise ValueError(f"{fault} the {len(paths):,} images of `{location}`, such as {', '.join(paths[:3])}; "
                             f"change it so that it {'matches these' if images else 'leaves the images'}.")
        self._splits = None
        if lists:
            self._splits = _lists.splits_by(lists, self._files, self._paths, images)
            self._paths = [path for path in self._paths if path in self._splits]
            self.description |= _lists.facts(lists)
            if not self._paths:
                raise ValueError(f"the lists name images of `{location}` but the pattern {pattern!r} matches none of "
                                 "these; change one of them.")
        self.ignored = len(images) - len(self._paths)
        self._masks = found.pair(self._paths) if found else {}
        if found:
            self.description |= {"masks": masks, "without_mask": len(self._paths) - len(self._masks)}

    def __len__(self):
        return len(self._paths)

    def __iter__(self):
        return self.between(0, len(self))

    def between(self, start, stop):
        """The items [start, stop)."""
        for path in self._paths[start:stop]:
            found = self._matches(path)
            columns = {name: value for name, value in found.groupdict().items() if value} if found else {}
            split = self._splits[path] if self._splits else self._split
            if split:
                columns["split"] = split
            yield item(self._files, path, columns, self._masks.get(path, ""))

    def _matches(self, path):
        return self._expression.search(path[self._above:])


def compiled(pattern):
    """The expression of a pattern.   Raises: ValueError for one that is none, or has no group or unknown ones."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}.") from None
    unknown = [name for name in expression.groupindex if name not in schema.PATTERN_GROUPS]
    if unknown or not expression.groupindex:
        fault = f"has the unknown group `{unknown[0]}`" if unknown else "has no named group"
        raise ValueError(f"the pattern {pattern!r} {fault}; a group (?P<name>...) is one of "
                         f"{', '.join(schema.PATTERN_GROUPS)}.")
    return expression


def _common_folder(paths):
    """Length of the one folder around everything, 0 where there is none or it holds no further folder."""
    top = paths[0].partition("/")[0] + "/"
    inside = all(path.startswith(top) for path in paths)
    return len(top) if inside and any("/" in path[len(top):] for path in paths) else 0
