"""Tables of text with a header: CSV by commas, semicolons or tabs."""

import csv
import difflib
import os

from tfrecords.files import require_size, shortened

_DELIMITERS = ",;\t"


class Table:
    """A table read row by row; its header is checked here.

    Args:    file: UTF-8, with or without a byte order mark; fields may be quoted by ".
             known: names a header may have.  required: names it must have.
             aliases: {other way to write a name: the name}.
    Raises:  OSError where it cannot be read; ValueError for another header.
    """

    def __init__(self, file, known, required, aliases=None):
        self.file = os.path.expanduser(str(file))
        if not os.path.isfile(self.file):
            raise FileNotFoundError(f"`{file}` is no file; give a table of text with a header.")
        try:
            require_size(os.path.getsize(self.file))
        except OSError as error:
            raise OSError(f"`{file}` cannot be used: {error}; split the table.") from None
        with self._opened() as stream:
            try:
                header = stream.readline(100_000)
            except UnicodeDecodeError:
                raise self._no_text() from None
        # The delimiter that gives most of the names there are.
        readings = [[name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
                    for delimiter in _DELIMITERS]
        readings = [[(aliases or {}).get(name, name) for name in names] for names in readings]
        self.columns = max(readings, key=lambda names: (len(set(names) & set(known)), len(names)))
        self._delimiter = _DELIMITERS[readings.index(self.columns)]
        self._check(known, required)

    def _check(self, known, required):
        missing = [name for name in required if name not in self.columns]
        if missing:
            raise ValueError(f"the header of `{self.file}` is {shortened(', '.join(self.columns))!r} but must have "
                             f"{' and '.join(f'`{name}`' for name in missing)}; write it in the first line.")
        for name in self.columns:
            if name not in known:
                near = difflib.get_close_matches(name[:100].lower(), known, n=1)
                nearest = f"; did you mean `{near[0]}`?" if near else "; leave it out or rename it."
                raise ValueError(f"`{shortened(name)}` in the header of `{self.file}` is not a column; the columns are "
                                 f"{', '.join(known)}{nearest}")
            if self.columns.count(name) > 1:
                raise ValueError(f"the header of `{self.file}` has `{name}` twice; leave one out.")

    def __iter__(self):
        """(number of its last line, {column: text without blanks around it}) of each row; empty rows are passed."""
        with self._opened() as stream:
            reader = csv.reader(stream, delimiter=self._delimiter, strict=True)
            try:
                next(reader)
                for fields in reader:
                    if not fields:
                        continue
                    if len(fields) != len(self.columns):
                        raise ValueError(f"line {reader.line_num} of `{self.file}` has {len(fields)} fields but the "
                                         f"header {len(self.columns)}; quote fields that hold the delimiter.")
                    yield reader.line_num, dict(zip(self.columns, map(str.strip, fields)))
            except UnicodeDecodeError:
                raise self._no_text() from None
            except csv.Error as error:
                raise ValueError(f"line {reader.line_num} of `{self.file}` cannot be read: {error}.") from None

    def _opened(self):
        return open(self.file, encoding="utf-8-sig", newline="")

    def _no_text(self):
        return ValueError(f"`{self.file}` is not text in UTF-8; save it as CSV in UTF-8.")
