"""Images of a folder or zip whose columns were read from lists or names: what most sources end as."""

import functools
import posixpath
import sys

from tfrecords import schema
from tfrecords.files import lines, shortened

EXTENSIONS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".npy")


class Rows:
    """A source of `schema.Item` from rows that are known before any image is read.

    Args:    name: the source's.  files: `Files` that the paths lie in.
             columns: what the rows hold after the path; the column `mask` is the path of a mask.
             rows: tuples (path, value, ...) in the order of the items; "" = the image has no such value.
             ignored: images left out.
    """

    def __init__(self, name, files, columns, rows, ignored=0):
        self._files, self._columns = files, columns
        # Few values make up many rows; each is kept once.
        self._rows = [(path, *map(sys.intern, values)) for path, *values in rows]
        self.ignored = ignored
        self.description = {"source": name, "location": files.name}

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        return self.between(0, len(self))

    def between(self, start, stop):
        """The items [start, stop)."""
        for path, *values in self._rows[start:stop]:
            columns = {column: value for column, value in zip(self._columns, values) if value}
            yield item(self._files, path, columns, columns.pop("mask", ""))


def item(files, path, columns, mask=""):
    """The item of one image file.   Args: mask: path of its mask; "" = it has none."""
    read, stamp = functools.partial(files.read, path), files.stamp(path)
    if not mask:
        return schema.Item(path, read, columns, None, stamp)
    return schema.Item(path, read, columns, functools.partial(files.read, mask), f"{stamp} {files.stamp(mask)}")


def by_names(files, folders, expression, what):
    """The images of some folders whose file names say all there is to know.

    Args:    files: `Files`.  folders: names of folders beside each other.
             expression: compiled, for the file name.  what: what the collection is called, for errors.
    Returns: ([(path, folder, match)] folder by folder, number of images with another name).
    Raises:  ValueError where a folder is missing or holds no such image.
    """
    found, ignored, root = [], 0, files.above(folders[0], what)
    paths = [path for path in files.paths if path.startswith(root) and path.lower().endswith(EXTENSIONS)]
    for folder in folders:
        before = len(found)
        for path in paths:
            if posixpath.dirname(path) == root + folder:
                match = expression.fullmatch(posixpath.basename(path))
                if match:
                    found.append((path, folder, match))
                else:
                    ignored += 1
        if len(found) == before:
            raise ValueError(f"`{root}{folder}` in `{files.location}` holds no image that is named as those of {what} "
                             "are; give the folder or zip as it is distributed.")
    return found, ignored


def listed(files, path, fields):
    """(line number, fields) of a list inside a folder or zip.

    Args:    path: the list's.  fields: how many each line has; the last keeps its blanks.
    Raises:  ValueError for a missing or an empty list and a line with fewer fields.
    """
    if path not in files:
        raise ValueError(f"`{path}` is not in `{files.location}`; put the list there.")
    empty = True
    for number, line in lines(files.document(path)):
        empty, found = False, line.split(None, fields - 1)
        if len(found) != fields:
            raise ValueError(f"line {number} of `{path}` is {shortened(line)!r} but must have {fields} fields; repair "
                             "or download the list again.")
        yield number, found
    if empty:
        raise ValueError(f"the list `{path}` in `{files.location}` is empty; download it again.")


def require(path, files, line, place):
    """Raises: ValueError where a list names an image that is not there."""
    if path not in files:
        raise ValueError(f"line {line} of `{place}` names `{shortened(path)}`, which is not in `{files.location}`; "
                         "complete the images or take the line out.")
