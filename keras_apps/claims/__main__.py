"""Runs claims: trains their arms, judges them by their own rules and keeps docs/claims.md.

    python -m keras_apps.claims --list
    python -m keras_apps.claims --name=<app>/<claim> [--data=build/data] [--seeds=3]
    python -m keras_apps.claims --all [--budget_minutes=60]      the cheapest first
    python -m keras_apps.claims --smoke [--name=<app>/<claim>]   a few steps of two arms: no verdict, nothing is kept

--data is a folder with one sub-folder a set, as `make data` writes them. What has a result is not trained again unless
its config or its data have changed. Exit 0 only where the claim holds; with --all, where every claim does.
"""

import os
import pathlib
import shutil
import sys
import tempfile

from absl import flags

from keras_apps import cells
from keras_apps.actions import WriteHistory
from keras_apps.build import ROOT
from keras_apps.claims import claim as claims
from keras_apps.claims import results
from keras_apps.config import changed, flat
from keras_apps.run import commit, read_json
from tfrecords import command

FLAGS = flags.FLAGS
SMOKE = {"steps": 2, "checkpoint_every": 2, "log_every": 1, "schedule": "constant()"}


def data_sha(claim, data, name):
    """The hash of a set below the folder `data`, which is written if it needs nothing from outside.

    Raises:  ValueError for a set that is missing and cannot be made here.
    """
    place = os.path.join(data, name)
    if read_json(os.path.join(place, "manifest.json")) is None:
        words = claim.sets[name]
        if not words:
            raise ValueError(f"`--data` is `{data}` but has no set `{name}`; write it by `make data`, with SUITE_DATA "
                             "naming the folder of the sets, or as the arms' configs say.")
        try:
            cells.call("tfrecords.write", *words.split(), f"--out={place}")
        except OSError as error:
            raise OSError(f"the set `{name}` cannot be written: {error}") from error
    return cells.data_sha(place)


def to_run(name, claim, shas, seeds, docs=results.DOCS):
    """[(arm, seed, flat config, what changed)] without a result, or with one of another config or other data.

    Seed by seed: what there is can be paired.
    Args:    shas: {set: hash of its data}.
    """
    found, wanted = results.stored(name, claim, docs), []
    for seed in range(seeds):
        for arm, facts in claim.arms.items():
            config = flat(cells.config_of(facts.path, facts.words(seed)))
            old = found[arm].get(seed)
            keys = changed(old["config"], config) if old else []
            if old and old["data_sha256"] != shas.get(facts.data, old["data_sha256"]):
                keys.append("the data")
            if keys or not old:
                wanted.append((arm, seed, config, keys))
    return wanted


def run(name, claim, data, seeds, docs=results.DOCS, work=ROOT / "build" / "claims", folder=claims.FOLDER):
    """Trains what has no result yet; each result is written as it is there, docs/claims.md with it.

    Args:    data: folder with one sub-folder a set.  docs: results go to `<docs>/claims/<name>`.  work: workdirs.
             folder: of the claims' files.
    Returns: the CPU minutes that were trained.
    """
    data = os.path.abspath(data)
    shas = {arm.data: data_sha(claim, data, arm.data) for arm in claim.arms.values()}
    wanted, spent = to_run(name, claim, shas, seeds, docs), 0.0
    for arm, seed, _, keys in wanted:
        if keys:
            print(f"{name}: {arm}, seed {seed} is run again, as {', '.join(keys)} changed", file=sys.stderr)
    with cells.watching(len(wanted)) as begin:
        for arm, seed, config, _ in wanted:
            facts = claim.arms[arm]
            key = results.digest([config, shas[facts.data], commit()])
            workdir = pathlib.Path(work) / name / f"{arm}-{seed}-{key}"
            if (workdir / "evaluation.json").exists():      # of another run: its result was removed or never written
                shutil.rmtree(workdir)
            cell = cells.Cell(f"{arm}, seed {seed}", str(facts.path), os.path.join(data, facts.data), str(workdir),
                              facts.words(seed))
            found = cells.train(cell, begin(cell.name))
            spent += found["minutes"]
            results.store(name, claim, arm, seed, config, found, docs,
                          WriteHistory.read(workdir) if claim.curves else ())
            if claim.curves:
                results.draw_curves(name, claim, docs)
            results.write_document(docs, folder)
    results.write_document(docs, folder)
    return spent


def _brief(arm):
    """What makes the first stage of an arm's config as short as the others, where it has such a one."""
    config = cells.config_of(arm.path, arm.words(0))
    return {"recogniser_steps": 1} if config.get("recogniser_steps") else {}


def smoke(name, claim, data):
    """A few steps of the first and the last arm whose data can be had, in a folder that is removed again."""
    with tempfile.TemporaryDirectory() as place:
        place, arms = pathlib.Path(place), {}
        for arm, facts in claim.arms.items():
            where = os.path.join(data, facts.data)
            if os.path.exists(os.path.join(where, "manifest.json")):
                (place / "data").mkdir(exist_ok=True)
                if not (place / "data" / facts.data).is_symlink():
                    (place / "data" / facts.data).symlink_to(os.path.abspath(where))
            elif not claim.sets[facts.data]:
                continue
            brief = {**facts.overrides, **SMOKE, **_brief(facts)}
            arms[arm] = claims.Arm(facts.config, facts.data, brief, facts.by_seed)
        if not arms:
            raise ValueError(f"`--data` is `{data}` but has none of the sets of {name}; write them by `make data`.")
        ends = list(dict.fromkeys((next(iter(arms)), next(reversed(arms)))))
        small = claims.Claim(claim.sets, {arm: arms[arm] for arm in ends}, claim.metric,
                             (f"{ends[-1]} > {ends[0]}",), claim.minutes, claim.also)
        run(name, small, place / "data", 1, place / "docs", place / "work")
        found = results.stored(name, small, place / "docs")
        left = results.missing(small, found, 1)
        if left:
            raise OSError(f"{name}: no result of {left} was kept.")
    print(f"{name}: {' and '.join(ends)} ran {SMOKE['steps']} steps; a smoke run gives no verdict")


def listed(name, claim):
    """One plain line."""
    found = results.stored(name, claim)
    verdict, _ = claims.judge(claim, found)
    return (f"{name}  {results.minutes(claim, found):.1f} CPU minutes  {verdict}  "
            f"{claims.text_of(name).splitlines()[0]}")


def run_all(known, data, seeds, budget):
    """Runs the cheapest first while the budget lasts; returns whether every claim holds."""
    costs = {}
    for name, claim in known.items():
        found = results.stored(name, claim)
        manifests = {arm.data: read_json(os.path.join(data, arm.data, "manifest.json")) for arm in claim.arms.values()}
        shas = {name: manifest["data_sha256"] for name, manifest in manifests.items() if manifest}
        costs[name] = results.minutes(claim, found) * len(to_run(name, claim, shas, seeds)) / (3 * len(claim.arms))
    spent, verdicts = 0.0, {}
    for name in sorted(known, key=costs.get):
        if spent + costs[name] > budget:
            verdicts[name] = (f"left out: about {costs[name]:.0f} CPU minutes, of {budget:g} are "
                              f"{max(0.0, budget - spent):.0f} left")
            continue
        try:
            spent += run(name, known[name], data, seeds)
            verdicts[name] = claims.judge(known[name], results.stored(name, known[name]))[0]
        except (OSError, ValueError) as error:      # one claim's trouble does not cost the others
            verdicts[name] = f"error: {error}"
    for name, verdict in verdicts.items():
        print(f"{name}  {verdict}")
    return set(verdicts.values()) == {"holds"}


def define_flags():
    flags.DEFINE_boolean("list", False, "one line a claim: name, CPU minutes, verdict, what it says")
    flags.DEFINE_string("name", "", "the claim to run: <app>/<claim>")
    flags.DEFINE_boolean("all", False, "run every claim, the cheapest first")
    flags.DEFINE_boolean("smoke", False, "a few steps of two arms, of --name or of every claim; nothing is kept")
    flags.DEFINE_string("data", str(ROOT / "build" / "data"), "folder with one sub-folder a set")
    flags.DEFINE_integer("seeds", 3, "seeds 0, 1, ... of every arm", lower_bound=1)
    flags.DEFINE_float("budget_minutes", 60.0, "CPU minutes that --all may take", lower_bound=0.0)


def main(_):
    if FLAGS.list + bool(FLAGS.name and not FLAGS.smoke) + FLAGS.all + FLAGS.smoke != 1:
        raise ValueError("give one of --list, --name=<app>/<claim>, --all and --smoke.")
    known = {name: claims.load(name) for name in ([FLAGS.name] if FLAGS.name else claims.every())}
    if FLAGS.list:
        for name, claim in known.items():
            print(listed(name, claim))
    elif FLAGS.smoke:
        for name, claim in known.items():
            smoke(name, claim, FLAGS.data)
    elif FLAGS.all:
        sys.exit(0 if run_all(known, FLAGS.data, FLAGS.seeds, FLAGS.budget_minutes) else 1)
    else:
        (name, claim), = known.items()
        run(name, claim, FLAGS.data, FLAGS.seeds)
        found = results.stored(name, claim)
        print("\n".join(results.report(claim, found)))
        sys.exit(0 if claims.judge(claim, found)[0] == "holds" else 1)


if __name__ == "__main__":
    command.run(main, define_flags)
