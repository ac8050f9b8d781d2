"""The figures of evaluation.json as people read them: the main ones as grids, the others as a list."""

import dataclasses
import math

from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Grid:
    """Figures that belong together: a row for each way to do the task, a column for each measure.

    Args:    title: of the table.
             note: how its columns are to be read, Markdown of one paragraph.
             rows: {name: form of a figure's name}, such as "hr_{}" or "{}_x3".
             columns: {name: figure}.
    """

    title: str
    note: str
    rows: dict
    columns: dict

    def taken(self):
        """The names of the figures that it shows."""
        return {form.format(figure) for form in self.rows.values() for figure in self.columns.values()}

    def cells(self, result):
        """(header, rows of text); without rows and columns of which nothing was measured."""
        values = {row: [_value(result, form.format(figure)) for figure in self.columns.values()]
                  for row, form in self.rows.items()}
        kept = [place for place in range(len(self.columns)) if any(row[place] is not None for row in values.values())]
        header = ["", *(list(self.columns)[place] for place in kept)]
        return header, [[name, *(_text(row[place]) for place in kept)] for name, row in values.items()
                        if any(value is not None for value in row)]


def remaining(result, grids=()):
    """(name, value, floor or "") of the measured figures that no grid shows, as text, by name."""
    taken = {name for grid in grids for name in grid.taken()}
    found = []
    for name, value in sorted(result.items()):
        if isinstance(value, float) and not name.startswith(("floor_", "minutes", "unseen")) and name not in taken:
            floor = result.get(f"floor_{name}")
            found.append((name, f"{value:.4f}", "" if floor is None else f"{floor:.4f}"))
    return found


def show(console, result, grids=(), floor="floor"):
    """Grids, then the remaining figures, on a rich console."""
    for grid in grids:
        header, rows = grid.cells(result)
        if not rows:
            continue
        for place, part in enumerate(_that_fit(header, rows, console.width)):
            table = Table(*(header[column] for column in part), title=None if place else grid.title,
                          title_justify="left", title_style="bold")
            for row in rows:
                table.add_row(*(row[column] for column in part))
            console.print(table)
    others = remaining(result, grids)
    if others:
        table = Table("metric", "value", floor)
        for row in others:
            table.add_row(*row)
        console.print(table)


def _that_fit(header, rows, width):
    """Columns, the first in each, of as many tables as a console of this width needs to show each figure whole.

    Where not even two columns fit, they are shown by themselves, and the console folds them.
    """
    wide = [max(len(line[column]) for line in (header, *rows)) + 3 for column in range(len(header))]
    parts, room = [[0]], width - 1 - wide[0]
    for column in range(1, len(header)):
        if len(parts[-1]) > 1 and room < wide[column]:
            parts.append([0])
            room = width - 1 - wide[0]
        parts[-1].append(column)
        room -= wide[column]
    return parts


def _value(result, name):
    value = result.get(name)
    return None if value is None or math.isnan(value) else value


def _text(value):
    """Four digits that count: 27.81, .0254 as 0.0254."""
    return "-" if value is None else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
