"""Which split an image belongs to, by lists of names."""

import collections
import os
import posixpath

from tfrecords.files import lines, read_file, shortened


def splits_by(lists, files, chosen, others=()):
    """{path: split} of the images that lists name.

    A list is a text of one name a line; empty lines and lines that begin with # are passed over. A name is a path as
    it lies in the folder or zip, or its end behind a "/", or longer at its front than the path, each with or without
    the extension; what follows it after a blank is ignored.

    Args:    lists: {split: file on the disk or in the folder or zip}.
             files: `Files` of the images.  chosen: their paths.
             others: paths that may be named but are left out all the same.
    Raises:  ValueError for a name that fits no image or several, for an image in two splits and for an empty list.
    """
    names, rest, found, where = _Names(chosen), None, {}, {}
    for split, place in lists.items():
        if not split:
            raise ValueError(f"the list `{place}` has no split; write train:{place} or the like.")
        empty = True
        for number, line in lines(_content(place, files)):
            if line.startswith("#"):
                continue
            empty = False
            told = f"line {number} of `{place}`, {shortened(line)!r},"
            path = names.find(line, told)
            if path is None:
                rest = rest or _Names(others)
                if rest.find(line, told) is None:
                    raise ValueError(f"{told} is none of the images of `{files.location}`, such as "
                                     f"{', '.join(shortened(path) for path in chosen[:3])}; correct the list.")
                continue
            if found.setdefault(path, split) != split:
                raise ValueError(f"{told} is in the split {split!r} but also {where[path]}; take it out of one list.")
            where.setdefault(path, f"in line {number} of `{place}`, the split {split!r}")
        if empty:
            raise ValueError(f"the list `{place}` of the split {split!r} names no image; write one name a line.")
    return found


def facts(lists):
    """What a description says of lists."""
    return {"lists": {split: os.path.basename(str(place)) for split, place in lists.items()}}


def _content(place, files):
    try:
        if os.path.isfile(os.path.expanduser(place)):
            return read_file(os.path.expanduser(place))
        inside = [path for path in files.paths if f"/{path}".endswith(f"/{place}")]
        if len(inside) == 1 or place in inside:
            return files.read(place if place in inside else inside[0])
    except OSError as error:
        raise OSError(f"the list `{place}` cannot be used: {error.strerror or error}.") from None
    fault = f"stands for {', '.join(inside[:3])}" if inside else "is no file"
    raise ValueError(f"the list `{shortened(place)}` {fault}, neither beside you nor in `{files.location}`; give the "
                     "path of one text file.")


class _Names:
    """Paths by the ends of their names."""

    def __init__(self, paths):
        self._paths = set(paths)
        self._last = collections.defaultdict(list)          # {last part, with and without extension: [path]}
        for path in paths:
            last = posixpath.basename(path)
            for name in {last, posixpath.splitext(last)[0]}:
                self._last[name].append(path)

    def find(self, line, told):
        """The one path that a line names, None where there is none."""
        for name in dict.fromkeys((line, line.split(None, 1)[0])):
            name = name.replace("\\", "/").removeprefix("./")
            if name in self._paths:
                return name
            named = self._last.get(posixpath.basename(name), ())
            fits = ([path for path in named if _ends_alike(path, name)]
                    or [path for path in named if _ends_alike(posixpath.splitext(path)[0], name)])
            if len(fits) > 1:
                raise ValueError(f"{told} may be {' or '.join(shortened(path) for path in fits[:3])}; write more of "
                                 "its path.")
            if fits:
                return fits[0]
        return None


def _ends_alike(path, name):
    """Whether one is the end of the other, on a "/" border; never of a name that leads out or is absolute."""
    inside = not name.startswith("/") and ".." not in name.split("/")
    return inside and (f"/{path}".endswith(f"/{name}") or f"/{name}".endswith(f"/{path}"))
