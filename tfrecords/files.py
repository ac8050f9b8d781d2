"""The files of a directory or a zip, read one at a time."""

import io
import os
import re
import zipfile

MAX_BYTES = 256 * 2 ** 20

_ENCRYPTED = 0x1                                        # bit of an entry's flags
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)   # those that zipfile unpacks in bounded memory


class Files:
    """What lies in a directory or a zip, under the same names either way.

    A zip is never unpacked: its names are only text here. Hidden files and what operating systems leave
    behind (`.DS_Store`, `__MACOSX`, `Thumbs.db`) are left out. Links to directories are followed. Pickled as the
    location alone; a zip is opened again when it is next needed.

    Args:    location: directory or zip file.
    Raises:  FileNotFoundError where there is nothing; ValueError for a file that is no zip or a zip whose list
             of entries is damaged.
    """

    def __init__(self, location):
        self.location = os.path.expanduser(str(location))
        self.name = os.path.basename(os.path.abspath(self.location))
        self._zip = self._found = None
        self._is_zip = not os.path.isdir(self.location)
        if self._is_zip:
            if not os.path.exists(self.location):
                raise FileNotFoundError(f"`{location}` does not exist; give a directory or a zip file.")
            self._open()

    def __getstate__(self):
        return {**vars(self), "_zip": None, "_found": None, "_ends": None}

    def _open(self):
        """Lists everything: {path: entry of a zip or None}, sorted."""
        if self._is_zip:
            archive = _opened(self.location)
            found = {entry.filename.replace("\\", "/").removeprefix("./"): entry
                     for entry in archive.infolist() if entry.filename and not entry.is_dir()}
            self._ends, self._zip = _ends(found.values()), archive
        else:
            found = dict.fromkeys(_walk(self.location))
        self._found = {path: found[path] for path in sorted(found) if not _ignored(path)}
        return self._found

    def _listed(self):
        return self._open() if self._found is None else self._found

    @property
    def paths(self):
        """Sorted paths, "/" between the levels."""
        return list(self._listed())

    def __contains__(self, path):
        return path in self._listed()

    def read(self, path):
        """The bytes of one file.

        Raises:  OSError where they cannot be read or are more than MAX_BYTES.
        """
        if not self._is_zip:
            return read_file(os.path.join(self.location, path))
        entry = self._listed().get(path)
        if entry is None:
            raise OSError("the zip has no entry of that name any more")
        return self._unpacked(entry)

    def document(self, path):
        """The bytes of a list or annotation, without which a source cannot be.   Raises: OSError that names it."""
        try:
            return self.read(path)
        except OSError as error:
            raise OSError(f"`{path}` in `{self.location}` cannot be used: {error.strerror or error}.") from None

    def stamp(self, path):
        """Text that differs when the file has changed: size and time, in a zip checksum and size; "" = not there."""
        if self._is_zip:
            entry = self._listed().get(path)
            return entry and f"{entry.CRC:08x}-{entry.file_size}" or ""
        try:
            status = os.stat(os.path.join(self.location, path))
        except OSError:
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}"

    def find(self, name):
        """The path that a name from an untrusted list stands for.

        Args:    name: relative path, "/" or "\\" between the levels.
        Raises:  ValueError for an absolute path, one that leads out, by `..` or a link, and for a missing file.
        """
        parts = name.replace("\\", "/").split("/")
        remedy = f"name a file inside `{self.location}`, relative to it."
        if parts[0] == "" or re.fullmatch("[A-Za-z]:", parts[0]):
            raise ValueError(f"`{shortened(name)}` is an absolute path or empty; {remedy}")
        if ".." in parts:
            raise ValueError(f"`{shortened(name)}` has a part `..`, which could lead anywhere; {remedy}")
        path = "/".join(part for part in parts if part not in ("", "."))
        place = os.path.join(self.location, path)
        if not (path in self._listed() if self._is_zip else os.path.isfile(place) and not _ignored(path)):
            raise ValueError(f"`{shortened(name)}` is not in `{self.location}`; add the file, correct the name or give "
                             "the folder or zip that the names are relative to.")
        root = os.path.join(os.path.realpath(self.location), "")
        if not self._is_zip and not os.path.realpath(place).startswith(root):
            raise ValueError(f"`{shortened(name)}` is a link out of `{self.location}`; {remedy}")
        return path

    def above(self, marker, what):
        """The folder that a file or folder lies in: "", or ending in "/"; of several the one with fewest levels.

        Args:    marker: its name or path.  what: what the collection is called, for the error.
        Raises:  ValueError where there is none.
        """
        places = {("/" + path)[1:at + 1] for path in self._listed()
                  if (at := f"/{path}/".find(f"/{marker}/")) >= 0}
        if not places:
            raise ValueError(f"`{self.location}` holds no `{marker}`; give the folder or zip of {what} as it is "
                             "distributed.")
        return min(places, key=lambda place: (place.count("/"), place))

    def _unpacked(self, entry):
        require_size(entry.file_size)
        if entry.flag_bits & _ENCRYPTED:
            raise OSError("the zip entry is encrypted; unpack the zip with its password and give the directory")
        if entry.compress_type not in _METHODS:
            raise OSError("the zip entry is packed by an unusual method; unpack the zip and give the directory")
        if entry.header_offset + entry.compress_size > self._ends[entry.header_offset]:
            raise OSError("the zip entry overlaps another one; make the zip again")
        try:
            with self._zip.open(entry) as stream:
                # No more is unpacked than the list of entries states; the one byte more has empty files checked too.
                return stream.read(entry.file_size + 1)
        except Exception as error:      # damaged entries raise anything from zlib.error to UnicodeDecodeError
            raise OSError(f"the zip entry cannot be read: {str(error) or 'it is cut off'}") from error


def read_file(place):
    """The bytes of a file.   Raises: OSError where they cannot be read or are more than MAX_BYTES."""
    require_size(os.path.getsize(place))
    with open(place, "rb") as stream:
        return stream.read(MAX_BYTES)


def require_size(size):
    """Raises: OSError for more than MAX_BYTES."""
    if size > MAX_BYTES:
        raise OSError(f"the file has {size:,} bytes, more than the {MAX_BYTES:,} that are read")


def lines(data):
    """(number, line without blanks around it) of a text in UTF-8, empty lines left out.

    Bytes that are no UTF-8 are kept as file names keep them.
    """
    text = io.StringIO(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))
    for number, line in enumerate(text, 1):
        line = line.strip()
        if line:
            yield number, line


def shortened(text):
    """Text as an error shows it: of any length, from anywhere."""
    return text if len(text) <= 100 else f"{text[:100]}..."


def _opened(location):
    """The zip; a ValueError tells a damaged one from a file of another kind."""
    with open(location, "rb") as stream:        # a file that may not be read says so here
        begins = stream.read(4)
    try:
        if zipfile.is_zipfile(location):
            return zipfile.ZipFile(location)
        reason = "its end with the list of entries is missing"
    except Exception as error:      # damaged lists raise anything from BadZipFile to UnicodeDecodeError
        reason = str(error)
    else:
        if begins != b"PK\3\4":
            raise ValueError(f"`{location}` is neither a directory nor a zip file; give one of these.")
    raise ValueError(f"`{location}` is a damaged zip file: {reason}; copy or download it again, or repair it and give "
                     "the unpacked directory.")


def _ends(entries):
    """{where an entry begins: where the next one does}: entries that share bytes unpack to any size."""
    starts = sorted(entry.header_offset for entry in entries)
    # Of equal starts the first counts, so that each of these entries overlaps.
    return dict(reversed(list(zip(starts, [*starts[1:], float("inf")]))))


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
