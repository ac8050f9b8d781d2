"""The page of a run: one self-contained HTML file with its figures beside their floors, cautions and pictures."""

import base64
import html
import os
import re

from keras_apps.card import cautions
from keras_apps.figures import remaining
from tfrecords.shards import write_file

STYLE = """
:root { color-scheme: light; --ink: #1d2733; --quiet: #66707c; --line: #e3e7ec; --good: #1b7f4d; --bad: #c0392b; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #f6f7f9; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { margin: 0 0 4px; font-size: 28px; } h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 12px; color: var(--quiet); max-width: 72ch; }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin-top: 20px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.number { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; background: white; }
.number b { display: block; font-size: 26px; } .number span { color: var(--quiet); font-size: 13px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 16px; }
img.wide { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px solid var(--line); padding: 6px 8px;
  text-align: left; } td.n { font-variant-numeric: tabular-nums; } td img { height: 56px; image-rendering: pixelated; }
.caution { color: var(--bad); font-weight: 600; }
.yes { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 600; }
code { font-size: 13px; background: #f0f2f5; padding: 1px 5px; border-radius: 4px; }
"""


def page(run, result, pictures):
    """HTML of an evaluated run.

    Args:    run: a `Run`.  result: evaluation.json.  pictures: {tag: PNG bytes}.
    """
    app = run.app
    title = f"{run.config.app} on {run.records.name}"
    grids = app.grids(result)
    tables = "".join(f"<section><h2>{html.escape(grid.title)}</h2>{_table(*grid.cells(result))}"
                     f"{_paragraphs(grid.note)}</section>" for grid in grids)
    others = remaining(result, grids)
    if others:
        tables += (f"<section><h2>{'Further figures' if grids else 'Figures'}</h2>"
                   f"{_table(['figure', 'this model', app.floor], others)}</section>")
    warned = "".join(f'<p class="caution">{html.escape(caution)}</p>' for caution in cautions(result))
    shown = "".join(
        f'<section><h2>{html.escape(tag.replace("_", " "))}</h2>{_caption(app, tag)}'
        f'<img class="wide" alt="{html.escape(tag)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        "</section>" for tag, data in pictures.items())
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style><main>
<h1>{html.escape(title)}</h1>
<p>{len(run.rows):,} images of {len(run.names)} {app.kinds} trained a network in {result["minutes_wall"]:.1f} minutes,
to step {result["step"]}, seed {result["seed"]}; commit {html.escape(result["commit"] or "unknown")}, data hash
<code>{result["data_sha256"][:16]}</code>.</p>
{warned}
<section>{_paragraphs(app.about(result))}</section>
{tables}
<div class="pair">{shown}</div></main></html>
"""


def write(run, result, workdir, pictures):
    """<workdir>/report.html."""
    write_file(os.path.join(workdir, "report.html"), page(run, result, pictures))


def _table(header, rows):
    """The first column holds names, the others numbers."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    lines = "".join(f"<tr><td>{html.escape(name)}</td>" + "".join(f'<td class="n">{value}</td>' for value in values)
                    + "</tr>" for name, *values in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _caption(app, tag):
    text = app.captions.get(tag)
    return f"<p>{html.escape(text)}</p>" if text else ""


def _paragraphs(markdown):
    """The few marks that `App.about` uses: paragraphs, `code`, **bold**."""
    found = []
    for part in markdown.strip().split("\n\n"):
        text = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(part, quote=False))
        found.append("<p>" + re.sub(r"[*]{2}([^*]*)[*]{2}", r"<b>\1</b>", text) + "</p>")
    return "".join(found)
