"""What a claim's file says, and how it is judged."""

import ast
import dataclasses
import importlib.util
import math
import pathlib
import re
import statistics
import typing

from keras_apps.build import ROOT, neighbours

FOLDER = pathlib.Path(__file__).resolve().parent
_NAME = re.compile(r"[a-z]\w*")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training that is compared.

    Args:    config: file below keras_apps/configs, without its ending: "verification/digits".
             data: one of the claim's sets.
             overrides: {dotted key of the config: value}.
             by_seed: {dotted key: values}, one a seed: where the seeds are splits of persons, say. Seeds beyond the
             values take them from the beginning again.
    """

    config: str
    data: str
    overrides: dict = dataclasses.field(default_factory=dict)
    by_seed: dict = dataclasses.field(default_factory=dict)

    @property
    def path(self):
        return ROOT / "keras_apps" / "configs" / f"{self.config}.py"

    def words(self, seed):
        """The overrides and the seed as `keras_apps.train` takes them."""
        own = {key: values[seed % len(values)] for key, values in self.by_seed.items()}
        given = {**self.overrides, **own, "seed": seed}
        return tuple(f"--config.{key}={value if isinstance(value, str) else repr(value)}"
                     for key, value in given.items())


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim; its file holds one as CLAIM, and in its docstring what is claimed, the source, what was shrunk.

    A rule is "SIDE > SIDE" or "SIDE < SIDE"; a side is a number, an arm (its `metric`), arm.key for another figure of
    its evaluation.json, among them floor_<metric>, and `loss`, the last logged, or the difference "a - b" of two such
    figures. For each seed the left minus the
    right is taken: the rule holds where the mean of these differences lies on the right side of 0 by more than its
    standard error, fails where it lies on the wrong side by as much, and else is undecided. A claim holds where all
    rules do, and fails where one does.

    Args:    sets: {folder below --data: words that make `tfrecords.write` write it, or "" where only `make data` can}.
             arms: {name: Arm}; floors and the same network without the method are arms too.
             metric: what the table shows and the rules compare.
             rules: see above.
             minutes: CPU minutes of all arms with three seeds, measured or guessed.
             also: further figures to keep and show.
             beside: figures that docs/claims.md lays side by side with those of the app's other claims that name some.
             curves: figures watched while training (`follow/<key>`), kept and drawn, a line an arm.
    Raises:  ValueError for an arm or a rule that does not fit.
    """

    sets: dict
    arms: dict
    metric: str
    rules: tuple
    minutes: float
    also: tuple = ()
    beside: tuple = ()
    curves: tuple = ()

    def __post_init__(self):
        for name, arm in self.arms.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"`arms` has {name!r} but a name is made of small letters, digits and _.")
            if arm.data not in self.sets:
                raise ValueError(f"`data` of arm {name} is {arm.data!r} but must be one of {', '.join(self.sets)}.")
        for rule in self.rules:
            for arm, _ in figures_of(rule):
                if arm not in self.arms:
                    raise ValueError(f"the rule {rule!r} names {arm!r} but the arms are {', '.join(self.arms)}.")

    @property
    def keys(self):
        """The figures of an evaluation.json that are kept."""
        ruled = [key for rule in self.rules for _, key in figures_of(rule) if key]
        own = [self.metric, f"floor_{self.metric}", *self.also, *self.beside, *ruled]
        return list(dict.fromkeys(own))


@dataclasses.dataclass(frozen=True)
class Judged:
    """How a rule came out: the mean difference over `seeds` seeds and its standard error."""

    rule: str
    mean: float
    error: float
    seeds: int
    verdict: str


def parse(rule):
    """(left, sign, right) of a rule; a side is a float, (arm, key or "") or a Difference of two of those."""
    words = rule.split()
    signs = [place for place, word in enumerate(words) if word in ("<", ">")]
    sides = [words[:signs[0]], words[signs[0] + 1:]] if len(signs) == 1 else []
    if not sides or not all(len(side) == 1 or len(side) == 3 and side[1] == "-" for side in sides):
        raise ValueError(f"the rule {rule!r} must be SIDE > SIDE or SIDE < SIDE, with blanks; a SIDE may be `a - b`.")
    return _side(sides[0]), words[signs[0]], _side(sides[1])


class Difference(typing.NamedTuple):
    """The figure `left` minus the figure `right`, seed by seed."""

    left: object
    right: object


def figures_of(rule):
    """The (arm, key or "") that a rule reads."""
    found = []
    for side in parse(rule)[::2]:
        found += side if isinstance(side, Difference) else [side]
    return [figure for figure in found if isinstance(figure, tuple)]


def _side(words):
    if len(words) == 3:
        return Difference(_side(words[:1]), _side(words[2:]))
    try:
        return float(words[0])
    except ValueError:
        return words[0].partition(".")[::2]


def judge(claim, results):
    """The verdict of a claim and of each rule.

    Args:    results: {arm: {seed: {"metrics": {key: value}}}}.
    Returns: "holds" | "fails" | "undecided" | "not run", [Judged].  Seeds that not all arms have are left out; with
             less than two nothing is decided.
    """
    seeds = paired(claim, results)
    if not seeds:
        return "not run", []
    judged = [_judge_rule(claim, rule, results, seeds) for rule in claim.rules]
    verdicts = {each.verdict for each in judged}
    if "fails" in verdicts:
        return "fails", judged
    return ("holds" if verdicts == {"holds"} else "undecided"), judged


def paired(claim, results):
    """The seeds that every arm has."""
    return sorted(set.intersection(*(set(results.get(arm, ())) for arm in claim.arms)))


def _judge_rule(claim, rule, results, seeds):
    left, sign, right = parse(rule)

    def value(side, seed):
        if isinstance(side, float):
            return side
        if isinstance(side, Difference):
            return value(side.left, seed) - value(side.right, seed)
        arm, key = side
        found = results[arm][seed]["metrics"].get(key or claim.metric)
        return math.nan if found is None else found

    differences = [value(left, seed) - value(right, seed) for seed in seeds]
    if not all(map(math.isfinite, differences)):
        return Judged(rule, math.nan, math.nan, len(seeds), "undecided")
    mean = statistics.fmean(differences)
    if len(seeds) < 2:
        return Judged(rule, mean, math.nan, len(seeds), "undecided")
    error = statistics.stdev(differences) / math.sqrt(len(seeds))
    good = mean if sign == ">" else -mean
    return Judged(rule, mean, error, len(seeds), "holds" if good > error else "fails" if good < -error else "undecided")


def every(folder=FOLDER):
    """{"<app>/<claim>": path} of the claims there are."""
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.glob("*/*.py"))
            if not path.stem.startswith("_")}


def load(name, folder=FOLDER):
    """The claim of a name.   Raises: ValueError for a name that is none."""
    known = every(folder)
    if name not in known:
        raise ValueError(f"`--name` is `{name}` but must be a claim; did you mean "
                         f"{', '.join(neighbours(name, sorted(known)))}?")
    spec = importlib.util.spec_from_file_location(known[name].stem, known[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CLAIM


def text_of(name, folder=FOLDER):
    """The docstring of a claim's file."""
    return ast.get_docstring(ast.parse(every(folder)[name].read_text()))
