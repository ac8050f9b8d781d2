"""The files of a directory or a zip, read one at a time."""

import os
import zipfile
import zlib

MAX_BYTES = 256 * 2 ** 20


class Files:
    """What lies in a directory or a zip, under the same names either way.

    A zip is never unpacked: its names are only text here. Hidden files and what operating systems leave
    behind (`.DS_Store`, `__MACOSX`, `Thumbs.db`) are left out. Links to directories are followed.

    Args:    location: directory or zip file.
    Raises:  FileNotFoundError where there is nothing; ValueError for a file that is no zip.
    """

    def __init__(self, location):
        location = os.path.expanduser(str(location))
        self._location = location
        self.name = os.path.basename(os.path.abspath(location))
        if os.path.isdir(location):
            self._zip, found = None, dict.fromkeys(_walk(location))
        elif not os.path.exists(location):
            raise FileNotFoundError(f"`{location}` does not exist; give a directory or a zip file.")
        elif not zipfile.is_zipfile(location):
            raise ValueError(f"`{location}` is neither a directory nor a zip file.")
        else:
            self._zip = zipfile.ZipFile(location)
            found = {entry.filename.replace("\\", "/").removeprefix("./"): entry
                     for entry in self._zip.infolist() if not entry.is_dir()}
        self._found = {path: found[path] for path in sorted(found) if not _ignored(path)}

    @property
    def paths(self):
        """Sorted paths, "/" between the levels."""
        return list(self._found)

    def __contains__(self, path):
        return path in self._found

    def read(self, path):
        """The bytes of one file.

        Raises:  OSError where they cannot be read or are more than MAX_BYTES.
        """
        place = os.path.join(self._location, path) if self._zip is None else self._found[path]
        size = os.path.getsize(place) if self._zip is None else place.file_size
        if size > MAX_BYTES:
            raise OSError(f"the file has {size:,} bytes, more than the {MAX_BYTES:,} that are read")
        try:
            with (open(place, "rb") if self._zip is None else self._zip.open(place)) as stream:
                return stream.read(MAX_BYTES)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            # A damaged, an encrypted or an unusually packed entry.
            raise OSError(f"the zip entry cannot be read: {error}") from error


def _walk(root):
    """Paths of all files below a directory."""
    pending = [("", (_identity(root),))]
    while pending:
        below, seen = pending.pop()
        with os.scandir(os.path.join(root, below)) as entries:
            for entry in entries:
                path = below + entry.name
                if entry.is_dir():
                    identity = _identity(entry.path)
                    if identity not in seen:        # a link to a directory it lies in would never end
                        pending.append((path + "/", (*seen, identity)))
                elif entry.is_file():
                    yield path


def _identity(directory):
    status = os.stat(directory)
    return status.st_dev, status.st_ino


def _ignored(path):
    parts = path.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return hidden or parts[-1].lower() == "thumbs.db"
