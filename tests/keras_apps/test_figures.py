"""Figures as people read them: grids first, every other one in a list, none twice and none lost."""

import io

import numpy as np
from rich.console import Console

from keras_apps.figures import Grid, remaining, show

RESULT = {"psnr": 27.8123, "floor_psnr": 25.9, "hr_top1": 0.9634, "top1": 0.5, "floor_top1": 0.25,
          "nearest_psnr": np.nan, "other": 0.125, "floor_other": 0.1, "minutes": 3.0, "unseen_identities": 1.0,
          "images": 90, "text": "words"}
GRID = Grid("Ways", "Read it so.", {"lost": "hr_{}", "this": "{}", "bicubic": "floor_{}", "nearest": "nearest_{}"},
            {"PSNR": "psnr", "top-1": "top1", "top-5": "top5"})


def test_rows_and_columns_without_a_figure_are_left_out_and_gaps_are_dashes():
    header, rows = GRID.cells(RESULT)
    assert header == ["", "PSNR", "top-1"], "nobody has a top-5"
    assert rows == [["lost", "-", "0.963"], ["this", "27.81", "0.500"], ["bicubic", "25.90", "0.250"]]


def test_what_no_grid_shows_is_listed_by_name_beside_its_floor():
    assert remaining(RESULT, [GRID]) == [("other", "0.1250", "0.1000")]
    assert [name for name, *_ in remaining(RESULT)] == ["hr_top1", "nearest_psnr", "other", "psnr", "top1"]


def test_a_console_shows_both():
    stream = io.StringIO()
    show(Console(file=stream, width=100), RESULT, [GRID])
    text = stream.getvalue()
    assert text.index("Ways") < text.index("bicubic") < text.index("other") and "27.81" in text


def test_a_narrow_console_shows_every_figure_whole_in_several_tables():
    columns = {f"measure {place}": f"figure{place}" for place in range(12)}
    result = {figure: 10.0 + place for place, figure in enumerate(columns.values())}
    for width in (200, 80, 30):
        stream = io.StringIO()
        show(Console(file=stream, width=width), result, [Grid("Ways", "", {"this model": "{}"}, columns)])
        text = stream.getvalue()
        assert "\N{HORIZONTAL ELLIPSIS}" not in text and max(map(len, text.splitlines())) <= width
        assert all(f"{10 + place}.00" in text and f"measure {place}" in text for place in range(12))
        assert text.count("Ways") == 1 and text.count("this model") == {200: 1, 80: 3, 30: 12}[width]
