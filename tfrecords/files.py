"""The files of a directory or a zip, read one at a time."""

import os
import zipfile

MAX_BYTES = 256 * 2 ** 20

_ENCRYPTED = 0x1                                        # bit of an entry's flags
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)   # those that zipfile unpacks in bounded memory


class Files:
    """What lies in a directory or a zip, under the same names either way.

    A zip is never unpacked: its names are only text here. Hidden files and what operating systems leave
    behind (`.DS_Store`, `__MACOSX`, `Thumbs.db`) are left out. Links to directories are followed.

    Args:    location: directory or zip file.
    Raises:  FileNotFoundError where there is nothing; ValueError for a file that is no zip or a zip whose list
             of entries is damaged.
    """

    def __init__(self, location):
        location = os.path.expanduser(str(location))
        self._location = location
        self.name = os.path.basename(os.path.abspath(location))
        if os.path.isdir(location):
            self._zip, found = None, dict.fromkeys(_walk(location))
        elif not os.path.exists(location):
            raise FileNotFoundError(f"`{location}` does not exist; give a directory or a zip file.")
        else:
            self._zip = _opened(location)
            found = {entry.filename.replace("\\", "/").removeprefix("./"): entry
                     for entry in self._zip.infolist() if entry.filename and not entry.is_dir()}
        self._found = {path: found[path] for path in sorted(found) if not _ignored(path)}
        self._ends = {} if self._zip is None else _ends(found.values())

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
        if self._zip is not None:
            return self._unpacked(self._found[path])
        return read_file(os.path.join(self._location, path))

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
