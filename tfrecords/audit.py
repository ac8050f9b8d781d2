"""What is wrong with a data folder, before anything is trained on it.

    python -m tfrecords.audit --data=build/data/orl_faces

Prints a verdict and writes audit.json and audit.html, one page with the pictures, to `<data>/audit`. audit.json is
flat; shares lie in [0, 1]. Its keys:

    name, data_sha256, images, synthetic     of the data folder
    skipped, turned, damaged                 files left out at writing; images with an EXIF orientation; broken records
    splits, images_<split>                   names; images of each
    target                                   the column that tells classes apart: label, identity or ""
    classes, class_names, class_counts       how many, which, and images of each
    class_counts_<split>                     the same within a split
    unlabelled, single_image_classes         images without a class; classes of one image
    imbalance, effective_classes             of the largest split: largest class / smallest; exp(entropy of the shares)
    height_*, width_*, bytes_*               minimum, median, maximum; bytes are those of a stored image
    equal_images, equal_groups               copies, pixel by pixel, beyond the first of each group; groups
    near_images, near_groups                 images with a near duplicate that is no copy; groups
    near_complete                            false where so many are alike that not all pairs could be looked at
    equal_within_<split>                     copies beyond the first of their group in that split
    equal_<a>_<b>, near_<a>_<b>              images of split b (or role) with a copy, or near duplicate, in a
    shared_<column>_<a>_<b>                  identities, cases or tracks on both sides
    conflicts_<column>, near_conflicts_*     groups of equal, nearly equal images with different labels or identities
    conflicts_pairs                          listed pairs that are called different but are equal
    blank                                    images of one value
    range_excess                             beyond 8 bits: range that becomes [0, 1] / range of 1 to 999 per mille
    probe_<fact>, probe_<fact>_low, _high    balanced accuracy of predicting the target from this fact alone, 95 %
    probe_chance, probe_images, probe_reason its chance level, the images used; why there is none
    probe_source_*                           the same with the source as target
    equal_paths, near_paths                  the groups themselves: at most 1,000 lists of at most 20 paths
    findings                                 list of {"level", "text", "remedy"}; levels wrong, look, fact
"""

import itertools
import json
import os
import sys
import typing

import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import track

from tfrecords import audit_duplicates as duplicates
from tfrecords import audit_page, audit_probe, command
from tfrecords.audit_scan import looker, scan
from tfrecords.read import DamagedError, Records

MOST_GROUPS, MOST_PATHS = 1000, 20          # groups in audit.json, paths of each
UNBALANCED = 10                             # largest class / smallest
FEW = 5                                     # images of a class
WIDE = 4                                    # full range / range of nearly all values

_TOGETHER = ("case", "track")               # what is never split apart


class Finding(typing.NamedTuple):
    """One sentence of the verdict.

    Args:    level: "wrong", "look" (at it; it may be meant so) or "fact".
             text: what was found.  remedy: what to do about it, "" for a fact.
    """

    level: str
    text: str
    remedy: str = ""


class Audit:
    """Everything the audit knows of a data folder.

    Args:    records: a `tfrecords.read.Records`.
    Has:     facts, what audit.json holds; findings, list of Finding; groups, {"equal" or "near": rows of each group},
             those across splits first, then those of several classes; leaks, keys of the facts that count copies across
             splits; probes, {"" or "source_": {name: Score}}; classes int64 [N, most], -1 = none; seen; look.
    Raises:  ValueError where no record can be read.
    """

    def __init__(self, records):
        self.records, self.manifest = records, records.manifest
        self.findings, self.facts, self.groups, self.leaks = [], {}, {}, []
        self.target = _target(records)
        self.classes = _several(records, self.target) if self.target else np.full((len(records), 1), -1)
        single = np.where((self.classes[:, 1:] < 0).all(axis=1), self.classes[:, 0], -1)
        self._places = {column: records.column(column) for column in ("split", "case") if records.has(column)}
        kept = _kept_together(records, self.target)
        sources = records.column("source") if records.has("source") else np.full(len(records), -1)
        samples = {"": audit_probe.sample(single, kept), "source_": audit_probe.sample(sources, kept)}
        rows = np.unique(np.concatenate(list(samples.values())))
        self.look = looker(self.manifest)
        self.seen = scan(records, self.look, rows)
        if not self.seen.sound.any():
            raise ValueError(f"no record of `{records.directory}` can be read ({self.seen.faults[0]}).")
        self._general()
        self._damage()
        self._classes()
        pairs = self._duplicates()
        self._sides()
        self._conflicts()
        self._pixels()
        groups = duplicates.groups(len(records), np.concatenate([pairs, duplicates.equal_pairs(kept)]))
        self.probes = {name: self._probe(name, samples[name], rows, numbers, groups)
                       for name, numbers in (("", single), ("source_", sources))}
        self.facts["findings"] = [finding._asdict() for finding in self.findings]

    def _say(self, level, text, remedy=""):
        self.findings.append(Finding(level, text, remedy))

    def _general(self):
        records, facts = self.records, self.facts
        facts.update(name=records.name, data_sha256=self.manifest["data_sha256"], images=len(records),
                     synthetic=records.synthetic, target=self.target)
        if records.synthetic:
            self._say("fact", "The images are made up; results on them say so.")
        names = records.names("split") if records.has("split") else []
        facts["splits"] = names
        for number, name in enumerate(names):
            facts[f"images_{name}"] = int((records.column("split") == number).sum())
        columns = {"height": records.column("height"), "width": records.column("width"),
                   "bytes": self.seen.bytes[self.seen.sound]}
        for name, values in columns.items():
            for key, pick in (("minimum", np.min), ("median", np.median), ("maximum", np.max)):
                facts[f"{name}_{key}"] = int(pick(values))

    def _damage(self):
        # These entries only inform, so that opening the data did not judge them.
        skipped, faults, turned = self.manifest.get("skipped"), self.seen.faults, self.manifest.get("turned")
        skipped = skipped if isinstance(skipped, dict) else {}
        count, turned = (value if isinstance(value, int) else 0 for value in (skipped.get("count"), turned))
        self.facts.update(skipped=count, turned=turned, damaged=len(faults))
        if faults:
            self._say("wrong", f"{_times(len(faults), 'record')} of {len(self.records):,} cannot be read: {faults[0]}.",
                      "Write the data again or put back sound shards.")
        if count:
            listed = skipped.get("unreadable")
            example = "".join(f", such as {shown(entry.get('path'))}: {shown(entry.get('reason'))}"
                              for entry in (listed if isinstance(listed, list) else [])[:1] if isinstance(entry, dict))
            self._say("look", f"{_times(count, 'file')} could not be used when the data were written{example}.",
                      "Repair them, or make sure that they are not all of one class.")
        if turned:
            self._say("look", f"{_times(turned, 'image')} carry an EXIF orientation, which nothing here applies.",
                      "Where they lie on their side turn the files, for example by `mogrify -auto-orient`, and write "
                      "again.")

    def _classes(self):
        records, facts, target = self.records, self.facts, self.target
        if not target:
            facts.update(classes=0, class_names=[], class_counts=[], unlabelled=len(records))
            self._say("look", "The images have neither labels nor identities.",
                      "Sub-folders, --pattern or --csv give them to `python -m tfrecords.write`.")
            return
        names = records.names(target)
        counts = _counts(self.classes, len(names))
        unlabelled = int((self.classes[:, 0] < 0).sum())
        facts.update(classes=int((counts > 0).sum()), class_names=names, class_counts=counts.tolist(),
                     unlabelled=unlabelled, single_image_classes=int((counts == 1).sum()))
        if not counts.any():
            return
        if unlabelled:
            self._say("fact", f"{_times(unlabelled, 'image')} of {len(records):,} have no {target}.")
        few = [names[k] for k in np.argsort(counts, kind="stable") if 0 < counts[k] < FEW]
        if target == "identity":
            single = facts["single_image_classes"]
            if single:
                self._say("look", f"{single:,} of {facts['classes']:,} identities have one image only.",
                          "They make no positive pair: they can be negatives, or part of a gallery.")
        elif few:
            self._say("look", f"{_labels(len(few))} fewer than {FEW} images, such as {_listed(few)}.",
                      "Too few to train on and to judge; gather more or join classes.")
        splits = {}
        for number, split in enumerate(facts["splits"]):
            splits[split] = _counts(self.classes[records.column("split") == number], len(names))
            facts[f"class_counts_{split}"] = splits[split].tolist()
        self._balance(names, max([counts, *splits.values()], key=lambda part: (part is not counts, part.sum()))
                      if splits else counts)
        if target == "label" and "train" in splits:
            self._absent(names, splits)

    def _balance(self, names, counts):
        """How evenly the classes of the largest split are filled."""
        facts, present = self.facts, np.flatnonzero(counts)
        if not len(present):
            return
        present = present[np.argsort(counts[present], kind="stable")]
        shares = counts[present] / counts.sum()
        facts["imbalance"] = float(counts[present[-1]] / counts[present[0]])
        facts["effective_classes"] = float(np.exp(-(shares * np.log(shares)).sum()))
        if facts["imbalance"] >= UNBALANCED:
            self._say("look", f"{shown(names[present[-1]])} has {facts['imbalance']:.0f} times the images of "
                      f"{shown(names[present[0]])}; the {len(present):,} classes are worth "
                      f"{facts['effective_classes']:.1f} equal ones.",
                      "Judge by balanced accuracy and sample the classes evenly.")

    def _absent(self, names, splits):
        """Labels that are missing in training."""
        for split, counts in splits.items():
            absent = [names[k] for k in np.flatnonzero((splits["train"] == 0) & (counts > 0))]
            if absent:
                self._say("look", f"{_labels(len(absent))} images in {shown(split)} but none in train, such as "
                          f"{_listed(absent)}.", "A classifier cannot learn them; a search by example can.")

    def _duplicates(self):
        """Equal and nearly equal images; the pairs of both."""
        seen, sound = self.seen, np.flatnonzero(self.seen.sound)
        equal = sound[duplicates.equal_pairs(seen.digests[sound])]
        compared = np.setdiff1d(sound[~seen.blank[sound]], equal[:, 1])
        near, complete = duplicates.near_pairs(seen.hashes, seen.details, self._small(), compared)
        self.equal = duplicates.groups(len(self.records), equal)
        self.near = duplicates.groups(len(self.records), np.concatenate([equal, near]))
        self.groups = {"equal": self._members(self.equal), "near": [
            rows for rows in self._members(self.near) if len(np.unique(self.equal[rows])) > 1]}
        self.facts.update(
            equal_images=len(equal), equal_groups=len(self.groups["equal"]),
            near_images=int(sum(len(np.unique(self.equal[rows])) for rows in self.groups["near"])),
            near_groups=len(self.groups["near"]), near_complete=complete)
        for kind in ("equal", "near"):
            self.facts[f"{kind}_paths"] = [self.paths(rows[:MOST_PATHS]) for rows in self.groups[kind][:MOST_GROUPS]]
        return np.concatenate([equal, near])

    def _members(self, groups):
        """Rows of every group of two or more; first those across splits, then those of several classes."""
        order = np.argsort(groups, kind="stable")
        found = [rows for rows in np.split(order, np.cumsum(np.bincount(groups))[:-1]) if len(rows) > 1]
        return sorted(found, key=lambda rows: (not self.across(rows, "split"), not self.differ(rows), rows[0]))

    def across(self, rows, column):
        """Whether these images lie in several splits, or cases."""
        return column in self._places and len(np.unique(self._places[column][rows])) > 1

    def differ(self, rows):
        """Whether these images, as far as they have a class, have different ones."""
        values = np.sort(self.classes[rows], axis=1)
        return len(np.unique(values[values[:, -1] >= 0], axis=0)) > 1

    def _small(self):
        sides = np.minimum(self.records.column("height"), self.records.column("width"))
        return sides < duplicates.SMALL

    def paths(self, rows):
        """Where images lay in their source: list of str."""
        found = []
        for row in rows:
            try:
                found += self.records.paths([row])
            except DamagedError:
                found.append(f"row {row}, damaged")
        return found

    def _sides(self):
        """What lies on both sides of a split."""
        records, facts = self.records, self.facts
        for column, first, which in (("split", "train", None), ("role", "gallery", {"query", "gallery"})):
            if not records.has(column):
                continue
            numbers, names = records.column(column), records.names(column)
            known = [k for k in range(len(names)) if which is None or names[k] in which]
            # What is searched or trained on comes first: what has that name, else the larger one.
            sizes = np.bincount(numbers[numbers >= 0], minlength=len(names))
            known.sort(key=lambda k, names=names, first=first, sizes=sizes: (names[k] != first, -sizes[k]))
            for a, b in itertools.combinations(known, 2):
                one, other = numbers == a, numbers == b
                self._crossing(one, other, names[a], names[b])
                for shared in ("identity", *_TOGETHER) if column == "split" else ():
                    if records.has(shared):
                        self._shared(shared, one, other, names[a], names[b])
        within = {}
        for number, split in enumerate(facts["splits"]):
            inside = self.equal[(records.column("split") == number) & self.seen.sound]
            within[split] = facts[f"equal_within_{split}"] = len(inside) - len(np.unique(inside))
        if facts["equal_images"]:
            each = ", ".join(f"{count:,} within {shown(split, 40)}" for split, count in within.items() if count)
            self._say("look", f"{_times(facts['equal_images'], 'image')} {_are(facts['equal_images'])} copies of "
                      f"others, pixel by pixel, in {_times(facts['equal_groups'], 'group')}{each and f': {each}'}.",
                      "A copy counts twice in training and in a figure; keep one of each.")
        if facts["near_groups"]:
            across = sum(self.across(rows, "case") for rows in self.groups["near"])
            self._say("look", f"{_times(facts['near_images'], 'image')} are nearly equal to others, in "
                      f"{_times(facts['near_groups'], 'group')}"
                      + (f", {across:,} of them across cases, which a split by case does not hold together." if across
                         else "."),
                      "The page shows them: stored again or resized they are copies; frames of one scene belong into "
                      "one case or track.")
        if not facts["near_complete"]:
            self._say("fact", "The images are so alike that not all near duplicates could be looked for.")
        if not facts["splits"] and facts["equal_images"] + facts["near_groups"]:
            self._say("fact", "No split is written, so that leaks cannot be judged; a split by image would put copies "
                      "on both sides.")

    def _crossing(self, one, other, a, b):
        """Images of `other` that `one` has too."""
        equal = other & np.isin(self.equal, self.equal[one])
        near = other & np.isin(self.near, self.near[one]) & ~equal
        self.facts[f"equal_{a}_{b}"], self.facts[f"near_{a}_{b}"] = int(equal.sum()), int(near.sum())
        self.leaks.append(f"equal_{a}_{b}")
        if equal.any():
            self._say("wrong", f"{_times(int(equal.sum()), 'image')} of {shown(b)} {_are(equal.sum())} also in "
                      f"{shown(a)}, pixel by pixel.",
                      f"Figures on {shown(b)} are too good; leave them out of one side (equal_paths in audit.json).")
        if near.any():
            self._say("look", f"{_times(int(near.sum()), 'image')} of {shown(b)} {_are(near.sum())} nearly equal to "
                      f"images of {shown(a)}.",
                      "Look at them on the page; copies on both sides make figures too good.")

    def _shared(self, column, one, other, a, b):
        numbers = self.records.column(column)
        both = np.intersect1d(numbers[one & (numbers >= 0)], numbers[other & (numbers >= 0)])
        self.facts[f"shared_{column}_{a}_{b}"] = len(both)
        plural = {"identity": "identities", "case": "cases", "track": "tracks"}[column]
        if not len(both):
            if all((numbers[side] >= 0).any() for side in (one, other)):
                self._say("fact", f"No {column} of {shown(b)} is in {shown(a)}.")
            return
        names = self.records.names(column)
        total = len(np.unique(numbers[other & (numbers >= 0)]))
        text = (f"{len(both):,} of {total:,} {plural} of {shown(b)} are also in {shown(a)}, such as "
                f"{_listed([names[k] for k in both[:3]])}")
        if column == "identity":
            self._say("fact", f"{text}: as it should be where the trained ones are recognised, wrong where strangers "
                      "are verified or searched.")
        else:
            self._say("wrong", f"{text}.", f"Images of one {column} are alike for reasons that do not generalise; "
                      f"split by {column}: --split_by={column}.")

    def _conflicts(self):
        """Equal images that are labelled differently."""
        for column in ("label", "identity"):
            if not self.records.has(column):
                continue
            values = np.sort(_several(self.records, column), axis=1)
            for kind in ("equal", "near"):
                labelled = [rows[values[rows, -1] >= 0] for rows in self.groups[kind]]
                count = sum(len(np.unique(values[rows], axis=0)) > 1 for rows in labelled)
                self.facts[f"conflicts_{column}" if kind == "equal" else f"near_conflicts_{column}"] = count
            if count:
                self._say("look", f"{_times(count, 'group')} of nearly equal images {'has' if count == 1 else 'have'} "
                          f"more than one {column}.", "Look at them on the page; of copies at most one is right.")
            count = self.facts[f"conflicts_{column}"]
            if count:
                self._say("wrong", f"{_times(count, 'group')} of equal images {'has' if count == 1 else 'have'} more "
                          f"than one {column}.", "At most one is right; correct or remove them.")
        pairs = self.records.pairs()
        if pairs:
            equal = self.equal[pairs["first"]] == self.equal[pairs["second"]]
            count = int((equal & (pairs["same"] == 0)).sum())
            self.facts["conflicts_pairs"] = count
            if count:
                self._say("wrong", f"{_times(count, 'listed pair')} called different {_are(count)} of equal images.",
                          "Correct or remove them.")

    def _pixels(self):
        blank, excess = int(self.seen.blank[self.seen.sound].sum()), self.seen.excess
        self.facts["blank"] = blank
        if blank:
            self._say("look", f"{_times(blank, 'image')} {_are(blank)} of one value all over.", "Leave them out.")
        if excess is not None:
            self.facts["range_excess"] = round(excess, 3)
            if excess >= WIDE:
                self._say("look", f"The values that become 0 and 1 lie {excess:.0f} times as far apart as all but 2 "
                          "in 1,000 values, so that nearly all pixels look the same to a network.",
                          "Write the data with --scaling=quantile.")

    def _probe(self, prefix, rows, all_rows, numbers, groups):
        """The shortcut probe of one target."""
        facts, target = self.facts, "source" if prefix else self.target
        if prefix and not self.records.has("source"):
            return {}
        key = f"probe_{prefix}"
        scores, rows = {}, rows[self.seen.sound[rows]]
        fold = audit_probe.folds(numbers[rows], groups[rows])
        if fold is not None:
            at = np.searchsorted(all_rows, rows)
            names = track(list(self.seen.probes), f"probing {target}", console=Console(stderr=True),
                          disable=not sys.stderr.isatty())
            scores = {name: audit_probe.score(self.seen.probes[name][at], numbers[rows], groups[rows], fold, name)
                      for name in names}
        if not scores:
            facts[f"{key}reason"] = (f"fewer than two of the {target} values have {audit_probe.LEAST_GROUPS} images "
                                     "(or cases, tracks, groups of copies) of their own" if target else "no labels")
            if not prefix:
                self._say("fact", f"Shortcuts were not looked for: {facts[f'{key}reason']}.")
            return {}
        facts[f"{key}images"] = len(rows)
        for name, score in scores.items():
            word = f"{key}{name.replace(' ', '_')}"
            facts.update({word: round(score.accuracy, 4), f"{word}_low": round(score.low, 4),
                          f"{word}_high": round(score.high, 4), f"{key}chance": score.chance})
            told = name == "height and width" and scores["aspect ratio"].strong         # the same once more
            if score.strong and not told:
                self._say("look", f"The {target} can be read off the {name} alone: balanced accuracy "
                          f"{score.accuracy:.2f}, chance {score.chance:.2f}.", _shortcut(name, bool(prefix)))
        return scores


def _target(records):
    """The column that tells classes apart."""
    several = [column for column in ("label", "identity") if records.has(column) and len(records.names(column)) > 1]
    return next(iter([*several, *(column for column in ("label", "identity") if records.has(column))]), "")


def _several(records, column):
    """int64 [N, most], -1 = none."""
    return records.several(column) if column == "label" else records.column(column)[:, None]


def _kept_together(records, target):
    """Groups that no fold may straddle: int64 [N]."""
    pairs = [np.zeros((0, 2), np.int64)]
    for column in (*_TOGETHER, "identity"):
        if records.has(column) and column != target:
            numbers = records.column(column)
            rows = np.flatnonzero(numbers >= 0)
            pairs.append(rows[duplicates.equal_pairs(numbers[rows])])
    return duplicates.groups(len(records), np.concatenate(pairs))


def _counts(classes, most):
    return np.bincount(classes[classes >= 0], minlength=most)


def _shortcut(name, of_source):
    if of_source:
        return "The sources differ in what is no content; keep whole sources apart when judging."
    shape = ("A network sees it as stretching, borders or sharpness; cut all images alike, or make sure that it is the "
             "content.")
    return {"file size": "Save all images anew in one format, size and quality, or make sure that it is the content.",
            "aspect ratio": shape, "height and width": shape,
            "spectrum": "Sharpness, noise or resizing may differ between the classes; look for other cameras, sources "
                        "or processing."}[name]


def shown(text, most=80):
    """Untrusted text as a terminal may show it: no control characters, not too long."""
    text = str(text)
    text = text if len(text) <= most else text[:most - 3] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _times(count, word):
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _are(count):
    return "is" if count == 1 else "are"


def _labels(count):
    return f"{count:,} {'label has' if count == 1 else 'labels have'}"


def _listed(names):
    return ", ".join(shown(name, 40) for name in names[:3])


def report(audit, page):
    """The verdict as lines for people."""
    facts, lines = audit.facts, []
    line = f"{shown(facts['name'])}: {_times(facts['images'], 'image')}"
    if facts["classes"]:
        plural = {"label": "labels", "identity": "identities"}[audit.target]
        line += f", {facts['classes']:,} {audit.target if facts['classes'] == 1 else plural}"
    splits = ", ".join(f"{shown(split, 40)} {facts[f'images_{split}']:,}" for split in facts["splits"])
    lines.append(f"{line}; {splits or 'no splits'}")
    for level, title in (("wrong", "wrong:"), ("look", "look at:"), ("fact", "good to know:")):
        found = [finding for finding in audit.findings if finding.level == level]
        lines += [title] if found else []
        for finding in found:
            lines.append(f"  - {finding.text}")
            lines += [f"    {finding.remedy}"] if finding.remedy else []
    if not any(finding.level != "fact" for finding in audit.findings):
        lines.append("no problem found; whether the labels are right no audit can tell: look at the page.")
    return [*lines, f"page: {page}"]


def write(audit, out):
    """audit.json and audit.html in the folder `out`, each whole or not at all; the page's path."""
    os.makedirs(out, exist_ok=True)
    page = os.path.join(out, "audit.html")
    # A file name need not be valid text; JSON escapes it, HTML cannot.
    for path, text in ((os.path.join(out, "audit.json"), json.dumps(audit.facts, indent=1, allow_nan=False) + "\n"),
                       (page, audit_page.page(audit))):
        temporary = f"{path}.{os.getpid()}"
        try:
            with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    return page


def define_flags():
    flags.DEFINE_string("data", None, "Data folder that `python -m tfrecords.write` wrote.", required=True)
    flags.DEFINE_string("out", None, "Folder of audit.json and audit.html; default: <data>/audit.")


def main(_):
    values = flags.FLAGS
    with Records(values.data) as records:
        audit = Audit(records)
        page = write(audit, os.path.expanduser(values.out or os.path.join(values.data, "audit")))
    print("\n".join(report(audit, page)))


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
