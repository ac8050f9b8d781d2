"""Images named in a table, with any columns."""

import os

from tfrecords import schema
from tfrecords.files import Files, shortened
from tfrecords.sources._rows import item
from tfrecords.sources._table import Table

_COLUMNS = ("path", *schema.COLUMNS)


class CsvSource:
    """The images of a CSV, in its order: header `path` and any columns of the schema, one image a row.

    `mask` names the file of the image's mask; `bbox` and `landmarks` are numbers with blanks between them. An empty
    field is no value. An image may come again with another `bbox`: its path is then told apart by "#2", "#3" ...

    Args:    file: CSV in UTF-8, fields separated by commas, semicolons or tabs.
             images: folder or zip that the paths are relative to; "" = the CSV's own folder.
    Raises:  OSError or ValueError for a table without images, an unknown column, or a row whose image is missing,
             lies elsewhere, comes twice or has a value that is none.
    """

    def __init__(self, file, images=""):
        table = Table(file, _COLUMNS, ("path",))
        self._files = Files(images or os.path.dirname(os.path.abspath(table.file)))
        self.description = {"source": "csv", "location": os.path.basename(table.file)}
        if images:
            self.description["images"] = self._files.name
        self._columns = [column for column in table.columns if column not in ("path", "mask")]
        self._rows, seen = [], {}                           # (path, times before, mask, values)
        for line, fields in table:
            try:
                path = self._files.find(fields["path"])
                mask = self._files.find(fields["mask"]) if fields.get("mask") else ""
                schema.settle({column: fields[column] for column in self._columns})
            except ValueError as error:
                raise ValueError(f"line {line} of `{table.file}`: {error}") from None
            box = " ".join(fields.get("bbox", "").replace(",", " ").replace(";", " ").split())
            before = seen.setdefault(path, {})
            if box in before:
                raise ValueError(f"line {line} of `{table.file}`: `{shortened(path)}` comes in line {before[box]} too; "
                                 "leave one out.")
            self._rows.append((path, len(before), mask, tuple(fields[column] for column in self._columns)))
            before[box] = line
        if not self._rows:
            raise ValueError(f"`{file}` has a header but no row; write one image a line.")

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        for path, before, mask, values in self._rows:
            columns = {column: value for column, value in zip(self._columns, values) if value}
            found = item(self._files, path, columns, mask)
            yield found._replace(path=f"{path}#{before + 1}") if before else found
