"""The results of claims: one file an arm and seed below docs/claims, and docs/claims.md, which is made from them."""

import hashlib
import json
import math
import os
import re
import statistics

from matplotlib.figure import Figure

from keras_apps import cells
from keras_apps.build import ROOT
from keras_apps.claims import claim as claims
from keras_apps.run import commit, read_json
from tfrecords.shards import write_file

DOCS = ROOT / "docs"
FLOOR = "raw pixels"
CURVES = "curves.png"
_FILE = re.compile(r"(?P<arm>[a-z]\w*)-(?P<seed>\d+)\.json")
_INTRODUCTION = """\
# Claims

Written by `python -m keras_apps.claims` from the files in `docs/claims/`, one an arm and seed. Figures are means over
the seeds with their standard deviation. A rule holds where the mean difference, paired by seed, lies on the right side
by more than its standard error, fails where it lies on the wrong side by as much, and is undecided between. What fails
stays."""


def stored(name, claim, docs=DOCS):
    """{arm: {seed: content of its file}} of the claim's present arms."""
    found = {arm: {} for arm in claim.arms}
    for path in sorted((docs / "claims" / name).glob("*.json")):
        match = _FILE.fullmatch(path.name)
        if match and match["arm"] in found:
            found[match["arm"]][int(match["seed"])] = read_json(path)
    return found


def store(name, claim, arm, seed, config, found, docs=DOCS, history=()):
    """Writes what a training found; the claim's figures only.

    Args:    history: rows of metrics.jsonl, for the claim's curves.

    Raises:  ValueError where the training did not measure what the claim compares.
    """
    missing = [key for key in claim.keys if key not in found and not key.startswith("floor_")]
    if missing:
        raise ValueError(f"{name} compares `{'` and `'.join(missing)}` but arm {arm} measured only "
                         f"{', '.join(sorted(found))}; name one of these.")
    content = {"arm": arm, "seed": seed, "metrics": {key: found[key] for key in claim.keys if key in found},
               "config": config, "config_hash": digest(config), "data": claim.arms[arm].data,
               "data_sha256": found["data_sha256"], "commit": commit(), "machine": cells.machine(),
               "minutes": found["minutes"]}
    if found.get("floor", FLOOR) != FLOOR:
        content["floor"] = found["floor"]
    if claim.curves:
        content["curves"] = {key: [[row["step"], row[f"follow/{key}"]] for row in history if f"follow/{key}" in row]
                             for key in claim.curves}
    folder = docs / "claims" / name
    os.makedirs(folder, exist_ok=True)
    write_file(folder / f"{arm}-{seed}.json", json.dumps(content, indent=1, sort_keys=True) + "\n")


def digest(config):
    """Short hash of a flat config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def minutes(claim, found):
    """CPU minutes of all arms with three seeds: measured where every arm was run, else as the claim says."""
    each = [[entry["minutes"] for entry in found[arm].values()] for arm in claim.arms]
    return 3 * sum(map(statistics.fmean, each)) if all(each) else claim.minutes


def missing(claim, found, seeds):
    """[(arm, seed)] without a result, the seeds one after another so that what there is can be paired."""
    return [(arm, seed) for seed in range(seeds) for arm in claim.arms if seed not in found[arm]]


def report(claim, found):
    """Lines: arms x seeds with mean and spread, the rules, the verdict."""
    verdict, judged = claims.judge(claim, found)
    seeds = sorted({seed for arm in found.values() for seed in arm})
    also = list(dict.fromkeys(key for key in claim.keys if key not in (claim.metric, f"floor_{claim.metric}")))

    def values(arm, key):
        return [found[arm][seed]["metrics"].get(key) for seed in seeds if seed in found[arm]]

    rows = []
    for arm in claim.arms:
        own = [cells.figure([found[arm][seed]["metrics"].get(claim.metric)]) if seed in found[arm] else "-"
               for seed in seeds]
        rows.append([arm, claim.arms[arm].data, *own, cells.figure(values(arm, claim.metric)),
                     *(cells.figure(values(arm, key)) for key in also)])
    for data in claim.sets:
        floor = [value for arm in claim.arms if claim.arms[arm].data == data
                 for value in values(arm, f"floor_{claim.metric}") if value is not None]
        if floor:
            named = next((entry["floor"] for arm in claim.arms if claim.arms[arm].data == data
                          for entry in found[arm].values() if "floor" in entry), FLOOR)
            rows.append([named, data, *("" for _ in seeds), cells.figure([statistics.fmean(floor)]),
                         *("" for _ in also)])
    lines = cells.table(["arm", "data", *(f"{claim.metric}, seed {seed}" for seed in seeds), "mean ± spread", *also],
                        rows)
    if judged:
        lines += ["", *cells.table(["rule", "mean difference", "standard error", "seeds", "verdict"], [
            [f"`{each.rule}`", f"{each.mean:+.4f}", f"{each.error:.4f}", each.seeds, each.verdict] for each in judged])]
    return [*lines, "", f"Verdict: **{verdict}**"]


def document(docs=DOCS, folder=claims.FOLDER):
    """The text of docs/claims.md."""
    overview, parts = [], []
    for name in claims.every(folder):
        claim = claims.load(name, folder)
        found, text = stored(name, claim, docs), claims.text_of(name, folder)
        verdict, _ = claims.judge(claim, found)
        title, _, rest = text.partition("\n")
        overview.append([f"`{name}`", title, verdict, f"{minutes(claim, found):.1f}"])
        parts += ["", f"## {name}", "", title, *rest.splitlines(), "", *report(claim, found)]
        if (docs / "claims" / name / CURVES).exists():
            parts += ["", f"![{', '.join(claim.curves)} while training](claims/{name}/{CURVES})"]
        entries = [entry for arm in found.values() for entry in arm.values()]
        if entries:
            parts += ["", f"{minutes(claim, found):.1f} CPU minutes for three seeds of every arm, on "
                          f"{_listed(entry['machine'] for entry in entries)}; commit "
                          f"{_listed(entry['commit'] or 'unknown' for entry in entries)}."]
    overview = cells.table(["claim", "what", "verdict", "CPU minutes"], overview)
    return "\n".join([_INTRODUCTION, "", *overview, *_side_by_side(docs, folder), *parts, ""])


def _side_by_side(docs, folder):
    """For each app the claims that name figures `beside`: an arm a row, a claim a column, and the mean over them."""
    groups = {}
    for name in claims.every(folder):
        claim = claims.load(name, folder)
        if claim.beside:
            groups.setdefault((name.split("/")[0], claim.beside), []).append((name, claim))
    lines = []
    for (app, keys), members in groups.items():
        names = [name.split("/")[1] for name, _ in members]
        rows = []
        for arm in dict.fromkeys(arm for _, claim in members for arm in claim.arms):
            cells_, means = [], []
            for name, claim in members:
                entries = stored(name, claim, docs).get(arm, {}).values()
                own = [[entry["metrics"].get(key, math.nan) for entry in entries] for key in keys]
                means.append([statistics.fmean(values) if values else math.nan for values in own])
                cells_.append(_joined(means[-1]))
            whole = [mean for mean in means if not any(map(math.isnan, mean))]
            rows.append([arm, *cells_, _joined([statistics.fmean(column) for column in zip(*whole)]) if whole else "-"])
        lines += ["", f"### {app}: {' / '.join(keys)}", "", *cells.table(["arm", *names, "mean"], rows)]
    return lines


def _joined(values):
    return " / ".join(cells.figure([value]) for value in values)


def draw_curves(name, claim, docs=DOCS):
    """docs/claims/<name>/curves.png: the mean over the seeds of what was watched, a line an arm."""
    found = stored(name, claim, docs)
    figure = Figure(figsize=(4.4 * len(claim.curves), 3.4))
    for axes, key in zip(figure.subplots(1, len(claim.curves), squeeze=False)[0], claim.curves):
        for arm, entries in found.items():
            runs = [entry.get("curves", {}).get(key) for entry in entries.values()]
            runs = [run for run in runs if run]
            if runs:
                tables = [dict(map(tuple, run)) for run in runs]
                steps = sorted(set.intersection(*map(set, tables)))     # a restart may look at further ones
                axes.plot(steps, [statistics.fmean(table[step] for table in tables) for step in steps],
                          label=f"{arm} ({len(runs)} seeds)", lw=1.6)
        axes.set(xlabel="step", ylabel=key.replace("_", " "))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    figure.suptitle(name, fontsize=10)
    figure.tight_layout()
    figure.savefig(docs / "claims" / name / CURVES, dpi=80, metadata={"Software": None})


def write_document(docs=DOCS, folder=claims.FOLDER):
    os.makedirs(docs, exist_ok=True)
    write_file(docs / "claims.md", document(docs, folder))


def _listed(words):
    return ", ".join(sorted(set(words)))
