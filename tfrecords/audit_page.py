"""The audit as one self-contained HTML page; whatever comes from the data is escaped."""

import base64
import html
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecords.audit_probe import STRONG

MOST_CLASSES, MOST_EACH = 12, 8             # contact sheets
MOST_GROUPS, MOST_MEMBERS = 24, 6           # of duplicates
MOST_EXTREME = 8                            # smallest and largest images
SIDE = 96                                   # of a picture, pixels

_COLOURS = ("#3b6fb6", "#e08a3c", "#5a9e6f", "#9b6bb3", "#c4574f", "#7a828c")          # of splits, in turn
_LEVELS = (("wrong", "Wrong"), ("look", "Look at"), ("fact", "Good to know"))

_STYLE = """
:root { color-scheme: light; --ink: #1d2733; --quiet: #66707c; --line: #e3e7ec; --bad: #c0392b; --look: #b7791f;
  --good: #1b7f4d; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #f6f7f9; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { margin: 0 0 4px; font-size: 28px; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 0 0 8px; }
h3 { font-size: 14px; margin: 16px 0 6px; }
p { margin: 0 0 10px; color: var(--quiet); max-width: 80ch; overflow-wrap: anywhere; }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin-top: 20px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(125px, 1fr)); gap: 12px; margin-top: 16px; }
.number { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; background: white; }
.number b { display: block; font-size: 24px; line-height: 1.3; } .number span { color: var(--quiet); font-size: 13px; }
.number.bad b { color: var(--bad); }
.finding { border-left: 4px solid var(--line); padding: 2px 0 2px 12px; margin: 10px 0; }
.finding b { display: block; font-weight: 600; overflow-wrap: anywhere; } .finding span { color: var(--quiet); }
.finding.wrong { border-color: var(--bad); } .finding.look { border-color: var(--look); }
.level { font-size: 12px; font-weight: 700; letter-spacing: .04em; text-transform: uppercase; margin: 16px 0 4px; }
.level.wrong { color: var(--bad); } .level.look { color: var(--look); } .level.fact { color: var(--quiet); }
.good { color: var(--good); font-weight: 600; }
.class { display: grid; grid-template-columns: 220px 1fr; gap: 16px; padding: 10px 0;
  border-top: 1px solid var(--line); }
.name { font-weight: 600; overflow-wrap: anywhere; } .quiet { color: var(--quiet); font-size: 13px; }
.row { display: flex; flex-wrap: wrap; gap: 6px; align-items: flex-start; }
.row img { height: 72px; min-width: 24px; max-width: 150px; object-fit: contain; border-radius: 3px;
  background: #eef0f3; }
img.small { image-rendering: pixelated; }
.bar { display: flex; height: 8px; margin: 6px 0 4px; background: #eef0f3; border-radius: 4px; overflow: hidden; }
.bar i { height: 100%; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 4px 0 10px; }
.groups { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 12px; }
.group { border: 1px solid var(--line); border-radius: 8px; padding: 10px; min-width: 0; }
.group.bad { border-color: var(--bad); }
.group .row { margin-bottom: 6px; } .path { font-size: 12px; color: var(--quiet); overflow-wrap: anywhere; }
.group.one { display: flex; gap: 10px; } .group.one > div { min-width: 0; }
.path.differ { color: var(--bad); font-weight: 600; }
.tag { color: var(--ink); font-weight: 600; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 24px; }
.histogram { display: flex; align-items: flex-end; height: 90px; gap: 1px; border-bottom: 1px solid var(--line); }
.histogram i { flex: 1; background: #3b6fb6; min-height: 0; } .axis { display: flex; justify-content: space-between; }
figure { margin: 0; max-width: 520px; } figcaption { font-size: 12px; color: var(--quiet); text-align: center; }
.extreme { text-align: center; font-size: 12px; color: var(--quiet); }
.probe { display: grid; grid-template-columns: 140px 1fr 250px; gap: 12px; align-items: center; margin: 8px 0; }
.scale { position: relative; height: 16px; background: #eef0f3; border-radius: 3px; }
.scale i { position: absolute; top: 0; bottom: 0; left: 0; background: #9db8dc; border-radius: 3px; }
.scale i.strong { background: #e0a09a; } .scale u { position: absolute; top: 7px; height: 2px; background: var(--ink); }
.scale s { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--bad); }
code { font-size: 13px; background: #f0f2f5; padding: 1px 5px; border-radius: 4px; }
@media (max-width: 640px) { .class, .probe { grid-template-columns: 1fr; gap: 4px; } }
"""


def page(audit):
    """HTML of a finished `tfrecords.audit.Audit`; a few MB at most, however large the data."""
    pictures = _Pictures(audit)
    facts = audit.facts
    kind = "colour" if audit.manifest["channels"] == 3 else "grey"
    kind = f"{audit.manifest['channels']}-band" if audit.manifest["raw"] else kind
    sections = [_verdict(audit), _classes(audit, pictures), _groups(audit, pictures), _sizes(audit, pictures),
                _probes(audit)]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Audit of {_text(facts["name"])}</title><style>{_STYLE}</style><main>
<h1>Audit of {_text(facts["name"])}</h1>
<p>{facts["images"]:,} {kind} images of {audit.manifest["dtype"]}{", made up" if facts["synthetic"] else ""}; every one
was read and compared. All figures are in audit.json.</p>
{_numbers(audit)}
{"".join(f"<section>{section}</section>" for section in sections if section)}
<p style="margin-top: 20px">Data hash <code>{_text(facts["data_sha256"][:16])}</code></p>
</main></html>
"""


class _Pictures:
    """Small pictures of images, as data URIs."""

    def __init__(self, audit):
        self._audit = audit

    def tag(self, row, title=""):
        """An <img>, or a word where the image cannot be read."""
        try:
            data, = self._audit.records.images([row])
            pixels, _ = self._audit.look(data)
        except (ValueError, tf.errors.OpError):
            return '<span class="quiet">unreadable</span>'
        image = Image.fromarray(eight_bit(pixels, self._audit.manifest))
        small = max(image.size) <= SIDE // 2
        image.thumbnail((2 * SIDE, SIDE))
        stream = io.BytesIO()
        kind = "png" if small else "jpeg"
        image.save(stream, kind, **({} if small else {"quality": 80}))
        return (f'<img{" class=small" if small else ""} alt="" title="{_text(title)}" loading="lazy" '
                f'src="data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}">')


def eight_bit(pixels, manifest):
    """Stored pixels [h, w, c] as a picture, uint8 [h, w, 3]: in the data's scaling, of many bands the first three."""
    low, high = (np.float32(manifest["scaling"][side])[:3] for side in ("low", "high"))
    values = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    values = (values.astype(np.float32) - low[:values.shape[-1]]) / (high - low)[:values.shape[-1]]
    values = np.uint8(np.rint(np.clip(values, 0, 1) * 255))
    return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values


def _text(value, most=120):
    """Untrusted text for HTML, also inside quotes."""
    value = str(value)
    return html.escape(value if len(value) <= most else f"{value[:most - 3]}...", quote=True)


def _numbers(audit):
    facts = audit.facts
    plural = {"label": "labels", "identity": "identities", "": "classes"}[audit.target]
    leaks = sum(facts[key] for key in audit.leaks)
    shown = [("images", f"{facts['images']:,}", ""), (plural, f"{facts['classes']:,}", ""),
             ("splits", len(facts["splits"]) or "none", ""), ("copies", f"{facts['equal_images']:,}", ""),
             ("near duplicates", f"{facts['near_images']:,}", ""),
             ("leaked copies", f"{leaks:,}" if audit.leaks else "-", "bad" if leaks else ""),
             ("unreadable", f"{facts['skipped'] + facts['damaged']:,}", "bad" if facts["damaged"] else "")]
    cells = [f'<div class="number {state}"><span>{name}</span><b>{value}</b></div>' for name, value, state in shown]
    return f'<div class="numbers">{"".join(cells)}</div>'


def _verdict(audit):
    parts = ["<h2>Verdict</h2>"]
    if not any(finding.level != "fact" for finding in audit.findings):
        parts.append('<p class="good">No problem found.</p><p>Whether the labels are right no audit can tell: look at '
                     "the pictures.</p>")
    for level, title in _LEVELS:
        found = [finding for finding in audit.findings if finding.level == level]
        parts += [f'<div class="level {level}">{title}</div>'] if found else []
        parts += [f'<div class="finding {level}"><b>{_text(finding.text, 1000)}</b><span>{_text(finding.remedy, 1000)}'
                  "</span></div>" for finding in found]
    return "".join(parts)


def _classes(audit, pictures):
    facts = audit.facts
    if not facts["classes"]:
        rows = np.linspace(0, len(audit.records) - 1, min(len(audit.records), 2 * MOST_EACH)).astype(int)
        return "<h2>Images</h2>" + _row(pictures, rows)
    counts, names = np.array(facts["class_counts"]), facts["class_names"]
    present = np.flatnonzero(counts)
    splits = {split: facts[f"class_counts_{split}"] for split in facts["splits"]}
    parts = ["<h2>Classes</h2>", _key(splits)]
    for k in present[:MOST_CLASSES]:
        rows = np.flatnonzero((audit.classes == k).any(axis=1))
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_EACH)).astype(int)]
        parts.append(f'<div class="class"><div><div class="name">{_text(names[k], 60)}</div>{_bar(k, counts, splits)}'
                     f"</div>{_row(pictures, rows)}</div>")
    if len(present) > MOST_CLASSES:
        parts.append(f'<p style="margin-top: 12px">{len(present) - MOST_CLASSES:,} more classes.</p>')
        order = present[np.argsort(counts[present], kind="stable")]
        for word, some in (("Largest", order[::-1][:8]), ("Smallest", order[:8])) if counts[order].ptp() else ():
            parts.append(f"<p>{word}: {', '.join(f'{_text(names[k], 40)} ({counts[k]:,})' for k in some)}.</p>")
        parts.append(_histogram("images of a class", counts[present]))
    return "".join(parts)


def _key(splits):
    if not splits:
        return ""
    return '<p class="key">images by split:' + "".join(
        f'<i style="background: {_colour(i)}"></i>{_text(split, 40)}' for i, split in enumerate(splits)) + "</p>"


def _colour(number):
    return _COLOURS[number % len(_COLOURS)]


def _bar(k, counts, splits):
    """One class: its number of images, by split where there are any."""
    parts = [(_colour(i), numbers[k]) for i, numbers in enumerate(splits.values())] or [(_colour(0), counts[k])]
    bar = "".join(f'<i style="background: {colour}; width: {100 * number / counts.max():.2f}%"></i>'
                  for colour, number in parts)
    each = " + ".join(f"{number:,}" for _, number in parts) if len(parts) > 1 else ""
    return f'<div class="bar">{bar}</div><div class="quiet">{counts[k]:,} {f"= {each}" if each else ""}</div>'


def _row(pictures, rows):
    return f'<div class="row">{"".join(pictures.tag(int(row)) for row in rows)}</div>'


def _groups(audit, pictures):
    parts = []
    for kind, title, note in (
            ("equal", "Copies", "Equal pixel by pixel; one picture stands for all."),
            ("near", "Near duplicates", "Nearly equal: stored again, resized, brightened, or frames of one scene.")):
        groups = audit.groups[kind]
        if not groups:
            continue
        more = f" The first {MOST_GROUPS} of {len(groups):,} groups." if len(groups) > MOST_GROUPS else ""
        parts.append(f"<h2>{title}</h2><p>{note} Groups across splits, framed in red, and of several "
                     f"labels come first.{more}</p>"
                     '<div class="groups">'
                     + "".join(_group(audit, pictures, rows, kind) for rows in groups[:MOST_GROUPS]) + "</div>")
    return "<br>".join(parts)


def _group(audit, pictures, rows, kind):
    records, shown = audit.records, rows[:MOST_MEMBERS]
    columns = [column for column in ("split", "role", "label", "identity", "case") if records.has(column)]
    lines = ""
    for row, path in zip(shown, audit.paths(shown)):
        tags = " ".join(_text(value, 30) for column in columns for value in records.values(column, [row]) if value)
        end = path if len(path) <= 42 else f"...{path[-39:]}"
        lines += f'<div class="path" title="{_text(path, 1000)}"><span class="tag">{tags}</span> {_text(end)}</div>'
    if len(rows) > len(shown):
        lines += f'<div class="path">and {len(rows) - len(shown):,} more</div>'
    if audit.differ(rows):
        lines += f'<div class="path differ">{audit.target} differs</div>'
    classes = f"group{' bad' if audit.across(rows, 'split') else ''}{' one' if kind == 'equal' else ''}"
    pictured = _row(pictures, shown[:1] if kind == "equal" else shown)
    return f'<div class="{classes}"><div>{pictured}</div><div>{lines}</div></div>'


def _sizes(audit, pictures):
    heights, widths = (audit.records.column(side) for side in ("height", "width"))
    parts = ["<h2>Sizes</h2>"]
    same = heights.min() == heights.max() and widths.min() == widths.max()
    shown = [("bytes of a stored image", audit.seen.bytes[audit.seen.sound])]
    if same:
        parts.append(f"<p>All images are {heights[0]:,} x {widths[0]:,} pixels (height x width).</p>")
    else:
        shown = [("height, pixels", heights), ("width, pixels", widths), *shown]
    parts.append('<div class="pair">' + "".join(_histogram(name, values) for name, values in shown) + "</div>")
    order = np.argsort(audit.seen.bytes if same else heights * widths, kind="stable")
    order = order[audit.seen.sound[order]]
    if same and audit.seen.bytes[order[0]] == audit.seen.bytes[order[-1]]:
        return "".join(parts)
    what = "in bytes" if same else "in pixels"
    for title, rows in ((f"Smallest {what}", order[:MOST_EXTREME]), (f"Largest {what}", order[::-1][:MOST_EXTREME])):
        cells = ""
        for row, path in zip(rows, audit.paths(rows)):
            size = f"{audit.seen.bytes[row]:,} B" if same else f"{heights[row]:,} x {widths[row]:,}"
            cells += f'<div class="extreme">{pictures.tag(int(row), path)}<br>{size}</div>'
        parts.append(f'<h3>{title}</h3><div class="row">{cells}</div>')
    return "".join(parts)


def _histogram(name, values, bins=32):
    low, high = float(values.min()), float(values.max())
    if low == high:
        return f"<figure><p>{name}: {low:,.0f} everywhere</p></figure>"
    counts, _ = np.histogram(values, bins=bins, range=(low, high))
    bars = "".join(f'<i style="height: {100 * count / counts.max():.1f}%"></i>' for count in counts)
    return (f'<figure><div class="histogram">{bars}</div><div class="axis quiet"><span>{low:,.0f}</span>'
            f"<span>{high:,.0f}</span></div><figcaption>{name}; median {np.median(values):,.0f}</figcaption></figure>")


def _probes(audit):
    parts = ["<h2>Shortcuts</h2><p>How well one fact alone predicts the class of images that were not fitted on: "
             "balanced accuracy of a logistic regression. The red line is chance, the black one the 95 % interval. "
             f"What should not matter is told as a shortcut beyond {STRONG['file size']:.0%} of the way from chance to "
             f"1, the spectrum, which also follows what is shown, beyond {STRONG['spectrum']:.0%}; colour and "
             "thumbnail show how easy the task is.</p>"]
    for prefix, title in (("", audit.target), ("source_", "source")):
        scores = audit.probes.get(prefix)
        reason = audit.facts.get(f"probe_{prefix}reason")
        if scores:
            parts.append(f"<h3>{title}, of {audit.facts[f'probe_{prefix}images']:,} images of "
                         f"{round(1 / next(iter(scores.values())).chance)} classes</h3>")
            parts += [_probe(name, score) for name, score in scores.items()]
        elif reason:
            parts.append(f"<p>{title.capitalize() or 'Classes'}: not looked for, {_text(reason, 300)}.</p>")
    return "".join(parts)


def _probe(name, score):
    return (f'<div class="probe"><span>{name}</span><div class="scale">'
            f'<i class="{"strong" if score.strong else ""}" style="width: {100 * score.accuracy:.1f}%"></i>'
            f'<u style="left: {100 * score.low:.1f}%; width: {100 * (score.high - score.low):.1f}%"></u>'
            f'<s style="left: {100 * score.chance:.1f}%"></s></div>'
            f'<span class="quiet"><span class="tag">{score.accuracy:.3f}</span> ({score.low:.3f} to {score.high:.3f}), '
            f"chance {score.chance:.3f}</span></div>")
