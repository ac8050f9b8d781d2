"""Pairs of images of which only same or different is known."""

import os

from tfrecords.files import Files, shortened
from tfrecords.sources._rows import Rows
from tfrecords.sources._table import Table

_SAME = {"1": 1, "true": 1, "same": 1, "0": 0, "false": 0, "different": 0}


class PairsSource(Rows):
    """The images of a table of pairs, each once, in the sorted order of their paths.

    Header `path1,path2,same` and, if need be, `fold` (a whole number) or `split`; `path_1` and `path_2` do too. An
    image has no column but the split of its pairs.

    Args:    file: CSV in UTF-8, fields separated by commas, semicolons or tabs; `same` is 1 or 0, true or false, same
             or different.
             images: folder or zip that the paths are relative to; "" = the CSV's own folder.
    Returns: `pairs`: [(path, path, same 0 or 1, fold or -1)] in the table's order.
    Raises:  OSError or ValueError for a table without pairs, another header, or a row whose image is missing or lies
             elsewhere, that repeats a pair, pairs an image with itself or puts an image into a second split.
    """

    def __init__(self, file, images=""):
        table = Table(file, ("path1", "path2", "same", "fold", "split"), ("path1", "path2", "same"),
                      {"path_1": "path1", "path_2": "path2"})
        files = Files(images or os.path.dirname(os.path.abspath(table.file)))
        self.pairs, seen, splits, found = [], {}, {}, {}
        for line, fields in table:
            try:
                # A path is looked for on the disk once, however many pairs it is in.
                one, two = (found.get(name) or found.setdefault(name, files.find(name))
                            for name in (fields["path1"], fields["path2"]))
                same, fold = _same(fields["same"]), _fold(fields.get("fold", ""))
                if one == two:
                    raise ValueError(f"`{shortened(one)}` is paired with itself; leave the pair out.")
                before = seen.setdefault((min(one, two), max(one, two)), line)
                if before != line:
                    raise ValueError(f"the pair of `{shortened(one)}` and `{shortened(two)}` is in line {before} too; "
                                     "leave one out.")
                for path in (one, two):
                    split = splits.setdefault(path, fields.get("split", ""))
                    if split != fields.get("split", ""):
                        raise ValueError(f"`{shortened(path)}` is in the splits {split!r} and {fields['split']!r}; an "
                                         "image has one split, so leave out pairs across them.")
            except ValueError as error:
                raise ValueError(f"line {line} of `{table.file}`: {error}") from None
            self.pairs.append((one, two, same, fold))
        if not self.pairs:
            raise ValueError(f"`{file}` has a header but no pair; write one pair a line.")
        super().__init__("pairs", files, ("split",), sorted(splits.items()))
        self.description["location"] = os.path.basename(table.file)
        if images:
            self.description["images"] = files.name


def _same(text):
    if text.lower() not in _SAME:
        raise ValueError(f"`same` is {shortened(text)!r} but must be 1 or 0, true or false, same or different.")
    return _SAME[text.lower()]


def _fold(text):
    if not text:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"`fold` is {shortened(text)!r} but must be a whole number >= 0.")
    return int(text)
