"""Images in a folder or a zip, their columns read from their paths."""

import functools
import re

from tfrecords import schema
from tfrecords.files import Files

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_FIRST_LEVEL = "^(?P<label>[^/]+)/"


class FolderSource:
    """The images of a folder or a zip, in the sorted order of their paths.

    Without a pattern the first folder level is the label; one folder around all others is passed over, and an
    image that lies in no folder has no label.

    Args:    location: directory or zip.
             pattern: regular expression, searched in the path inside the folder or zip; its named groups are
             columns. Images whose path does not match are left out and counted in `ignored`.
             split: the split of all images; "" = none, or the pattern's.
    Raises:  FileNotFoundError or ValueError for a location without images, a pattern that is no expression,
             has other groups or matches nothing.
    """

    def __init__(self, location, pattern="", split=""):
        self._files = Files(location)
        self._split = split
        self.description = {"source": "folder", "location": self._files.name}
        if pattern:
            self.description["pattern"] = pattern
        if split:
            self.description["split"] = split
        paths = [path for path in self._files.paths if path.lower().endswith(_EXTENSIONS)]
        if not paths:
            raise ValueError(f"`{location}` holds no image; images are files that end in "
                             f"{' '.join(_EXTENSIONS)}.")
        self._expression = _compiled(pattern or _FIRST_LEVEL)
        if split and "split" in self._expression.groupindex:
            raise ValueError(f"the split {split!r} is given for `{location}` but its pattern has a group "
                             "`split` too; keep one of them.")
        self._above = 0 if pattern else _common_folder(paths)
        self._paths = [path for path in paths if self._matches(path)] if pattern else paths
        self.ignored = len(paths) - len(self._paths)
        if not self._paths:
            raise ValueError(f"the pattern {pattern!r} matches none of the {len(paths):,} images of "
                             f"`{location}`, such as {', '.join(paths[:3])}; change it so that it "
                             "matches these.")

    def __len__(self):
        return len(self._paths)

    def __iter__(self):
        for path in self._paths:
            found = self._matches(path)
            columns = {name: value for name, value in found.groupdict().items() if value} if found else {}
            if self._split:
                columns["split"] = self._split
            yield schema.Item(path, functools.partial(self._files.read, path), columns)

    def _matches(self, path):
        return self._expression.search(path[self._above:])


def _compiled(pattern):
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
