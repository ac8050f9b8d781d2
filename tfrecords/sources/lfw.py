"""Labeled Faces in the Wild with its ten folds of pairs."""

import os
import posixpath
import re

from tfrecords.files import Files, lines, read_file, shortened
from tfrecords.sources._rows import EXTENSIONS, Rows

_NAME = re.compile(r"(?P<person>.+)_(?P<number>\d+)")


class LfwSource(Rows):
    """<person>/<person>_0001.jpg and pairs.txt of view 2; the original, the funneled and the aligned images alike.

    The column: identity = the person. pairs.txt: the first line has the folds and the pairs a fold that are the same
    (and as many that are not); then, fold by fold, "person number number" for the same and "person number person
    number" for others.

    Args:    location: folder or zip.  pairs: pairs.txt on the disk; "" = the one in the folder or zip.
    Returns: `pairs`: [(path, path, same 0 or 1, fold from 0)].
    Raises:  OSError or ValueError for a missing list, a line of another form or one that names a missing image.
    Source:  Huang et al., Labeled Faces in the Wild, Technical Report 07-49, 2007.
    """

    def __init__(self, location, pairs=""):
        files = Files(location)
        rows, self._images, ignored = [], {}, 0
        for path in files.paths:
            if path.lower().endswith(EXTENSIONS):
                person = posixpath.basename(posixpath.dirname(path))
                name = _NAME.fullmatch(posixpath.splitext(posixpath.basename(path))[0])
                if name and name["person"] == person and len(name["number"]) < 10:
                    rows.append((path, person))
                    self._images[person, int(name["number"])] = path
                else:
                    ignored += 1
        if not rows:
            raise ValueError(f"`{location}` holds no image <person>/<person>_0001.jpg; give the folder or zip of LFW.")
        super().__init__("lfw", files, ("identity",), rows, ignored)
        if pairs and not os.path.isfile(os.path.expanduser(pairs)):
            raise FileNotFoundError(f"`{pairs}` is no file; give the pairs.txt of LFW.")
        place = os.path.expanduser(pairs) or f"{files.above('pairs.txt', 'LFW with its pairs.txt')}pairs.txt"
        self.pairs = self._read(place, lines(read_file(place) if pairs else files.document(place)))
        del self._images

    def _read(self, place, found):
        _, header = next(found, (1, ""))
        numbers = header.split()
        if len(numbers) != 2 or not all(_is_number(text) for text in numbers):
            raise ValueError(f"line 1 of `{place}` is {shortened(header)!r} but must hold the number of folds and of "
                             "pairs a fold; give the pairs.txt of view 2.")
        folds, same = map(int, numbers)
        pairs = [self._pair(place, line, text.split(), i // (2 * same)) for i, (line, text) in enumerate(found)]
        if len(pairs) != folds * 2 * same:
            raise ValueError(f"`{place}` has {len(pairs):,} pairs but its first line says {folds} x 2 x {same}; "
                             "download it again.")
        return pairs

    def _pair(self, place, line, fields, fold):
        if len(fields) == 3:
            fields = [fields[0], fields[1], fields[0], fields[2]]
        if len(fields) != 4 or not (_is_number(fields[1]) and _is_number(fields[3])):
            raise ValueError(f"line {line} of `{place}` is {shortened(' '.join(fields))!r} but must be `person number "
                             "number` or `person number person number`.")
        keys = (fields[0], int(fields[1])), (fields[2], int(fields[3]))
        missing = [person for person, number in keys if (person, number) not in self._images]
        if missing:
            raise ValueError(f"line {line} of `{place}` names an image of {shortened(missing[0])} that is not there; "
                             "complete the images.")
        return self._images[keys[0]], self._images[keys[1]], int(fields[0] == fields[2]), fold


def _is_number(text):
    return text.isascii() and text.isdigit() and 0 < int(text[:10]) and len(text) < 10
