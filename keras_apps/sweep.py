"""Trains configs x labels x seeds and puts the results beside each other.

    python -m keras_apps.sweep --configs=a.py,b.py --labels=40,250,0 --seeds=3 --data=DIR --out=DIR [--metric=auc] \\
        [-- FLAGS]

--labels are images a class (the config's `labels`; 0 = all of them). FLAGS are further flags of `keras_apps.train`,
such as --config.steps=500. The same command goes on where a killed one stopped; more configs, labels or seeds may be
added. Writes <out>/sweep.json, sweep.md, sweep.png and, for TensorBoard's HParams, <out>/tensorboard; each training
lies in <out>/runs. Where runs leave predictions.csv the answers of all seeds are also judged as one set, with intervals
and by cohort. What fails is told and left out; the exit code is then 1.
"""

import json
import os
import pathlib
import statistics
import sys

from absl import flags
from matplotlib.figure import Figure

from keras_apps import cells, pooled
from keras_apps.actions import write_hyper
from keras_apps.charts import QUIET
from keras_apps.run import commit
from tfrecords import command
from tfrecords.shards import write_file

FLAGS = flags.FLAGS


def plan(configs, labels, seeds, data, out, extra=()):
    """{(config's name, labels, seed): Cell} in the order of training: what there is can always be compared.

    Args:    configs: files.  labels: images a class.  seeds: how many.  extra: further flags of `keras_apps.train`.
    Raises:  ValueError for a config that does not exist or does not take a flag, or equal configs or labels.
    """
    names = _names(configs)
    for given, flag in ((names, "configs"), (labels, "labels")):
        if len(set(given)) < len(given):
            raise ValueError(f"`--{flag}` is {','.join(map(str, given))} but names one twice; leave it out.")
    found = {}
    for seed in range(seeds):
        for name, config in zip(names, configs):
            for label in labels:
                words = (*extra, f"--config.labels={label}", f"--config.seed={seed}")
                cells.config_of(config, words)
                key = f"{name.replace('/', '-')}-{label}-{seed}"
                found[name, label, seed] = cells.Cell(key, config, data, os.path.join(out, "runs", key), words)
    return found


def _names(configs):
    """The files' names; with their folder where two are alike."""
    stems = [pathlib.Path(config).stem for config in configs]
    return [f"{pathlib.Path(config).parent.name}/{stem}" if stems.count(stem) > 1 else stem
            for config, stem in zip(configs, stems)]


def run(planned, data):
    """Trains the cells that are not finished.

    Returns: {key: result}, {key: sentence of what failed}.
    Raises:  ValueError where a finished cell is of another config or of other data than the same cell now.
    """
    sha, failed = cells.data_sha(data), {}
    found = {key: cells.finished(cell, sha) for key, cell in planned.items()}
    wanted = {key: planned[key] for key, done in found.items() if not done}
    found = {key: done for key, done in found.items() if done}
    with cells.watching(len(wanted)) as begin:
        for key, cell in wanted.items():
            try:
                found[key] = cells.train(cell, begin(cell.name))
            except OSError as error:
                failed[key] = str(error)
                print(error, file=sys.stderr, flush=True)
    return found, failed


def summary(found, metric):
    """[{"config", "labels", "seeds", "mean", "spread", "floor", "minutes"}], a row a config and labels.

    Raises:  ValueError where a result has no such metric.
    """
    groups = {}
    for (name, label, _), result in found.items():
        if not isinstance(result.get(metric), (int, float)):
            known = [key for key, value in result.items() if isinstance(value, float) and not key.startswith("floor_")]
            raise ValueError(f"`--metric` is `{metric}` but the trainings measured {', '.join(sorted(known))}.")
        groups.setdefault((name, label), []).append(result)
    rows = []
    for (name, label), results in groups.items():
        values = [result[metric] for result in results]
        floors = [result[f"floor_{metric}"] for result in results if f"floor_{metric}" in result]
        rows.append({"config": name, "labels": label, "seeds": len(results), "mean": statistics.fmean(values),
                     "spread": cells.spread(values), "floor": statistics.fmean(floors) if floors else None,
                     "minutes": sum(result["minutes"] for result in results)})
    return rows


def report(found, failed, planned, metric):
    """Lines: configs x labels with mean and spread, the floors below, what is missing."""
    names, labels = (list(dict.fromkeys(key[place] for key in planned)) for place in (0, 1))

    def entry(name, label, key):
        return cells.figure([result.get(key) for at, result in found.items() if at[:2] == (name, label)])

    header = [metric, *(_label(label) for label in labels)]
    rows = [[name, *(entry(name, label, metric) for label in labels)] for name in names]
    floors = [[cells.figure([statistics.fmean(values)]) if values else "-" for values in (
        [result[f"floor_{metric}"] for at, result in found.items() if at[1] == label and f"floor_{metric}" in result]
        for label in labels)]]
    if floors[0] != ["-"] * len(labels):
        rows.append(["floor", *floors[0]])
    lines = cells.table(header, rows)
    total = sum(result["minutes"] for result in found.values())
    lines += ["", f"Mean ± standard deviation over the seeds; {len(found)} of {len(planned)} trainings, "
                  f"{total:.1f} CPU minutes, on {cells.machine()}."]
    return lines + [f"Failed: {sentence}" for sentence in failed.values()]


def chart(rows, metric, labels):
    """The metric over the labels, a line a config with its spread; bars where there is one number of labels."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.subplots()
    names = list(dict.fromkeys(row["config"] for row in rows))
    labels = sorted(labels, key=lambda label: (label == 0, label))      # 0 = all
    floors = {row["labels"]: row["floor"] for row in rows if row["floor"] is not None}
    if len(labels) > 1:
        places = {label: place for place, label in enumerate(labels)}
        for name in names:
            own = sorted((row for row in rows if row["config"] == name), key=lambda row: places[row["labels"]])
            x, mean = [places[row["labels"]] for row in own], [row["mean"] for row in own]
            line, = axes.plot(x, mean, marker="o", label=name)
            axes.fill_between(x, [row["mean"] - row["spread"] for row in own],
                              [row["mean"] + row["spread"] for row in own], color=line.get_color(), alpha=0.2, lw=0)
        if floors:
            x = sorted(places[label] for label in floors)
            axes.plot(x, [floors[labels[place]] for place in x], ls="--", color=QUIET, label="floor")
        axes.set_xticks(range(len(labels)), [_label(label).removesuffix(" a class") for label in labels])
        axes.set_xlabel("labelled images a class")
    else:
        axes.bar(names, [row["mean"] for row in rows], yerr=[row["spread"] for row in rows], capsize=5, width=0.6)
        if floors:
            axes.axhline(statistics.fmean(floors.values()), ls="--", color=QUIET, label="floor")
        low = min([row["mean"] - row["spread"] for row in rows] + list(floors.values()))
        high = max([row["mean"] + row["spread"] for row in rows] + list(floors.values()))
        # From 0 on, bars would hide differences of hundredths.
        axes.set_ylim(low - 0.5 * (high - low or 0.1), high + 0.2 * (high - low or 0.1))
        axes.set_xlabel(f"{_label(labels[0])}; the axis does not begin at 0")
    axes.set(ylabel=metric, title=f"{metric}: mean and standard deviation over the seeds")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    if len(names) > 1 and len(labels) > 1 or floors:
        axes.legend()
    figure.tight_layout()
    return figure


def _label(label):
    return f"{label} a class" if label else "all"


def write(out, found, failed, planned, metric, extra):
    """sweep.json, sweep.md, sweep.png and HParams of what there is; returns the table's lines."""
    rows, lines = summary(found, metric), report(found, failed, planned, metric)
    together = _together(found, planned)
    for (name, label), own in together.items():
        lines += ["", f"{name}, {_label(label)}: the held-out images of all seeds together, with 95 % intervals", "",
                  *cells.table(*pooled.lines(own))]
    numbers = (int, float)
    runs = [{"config": name, "labels": label, "seed": seed,
             "metrics": {key: value for key, value in result.items() if isinstance(value, numbers)}}
            for (name, label, seed), result in found.items()]
    sets = [{"config": name, "labels": label, **row} for (name, label), own in together.items() for row in own]
    content = {"metric": metric, "summary": rows, "runs": runs, "pooled": sets, "flags": list(extra),
               "commit": commit(), "machine": cells.machine(),
               "failed": {planned[key].name: text for key, text in failed.items()}}
    write_file(os.path.join(out, "sweep.json"), json.dumps(content, indent=1) + "\n")
    write_file(os.path.join(out, "sweep.md"), "\n".join(lines) + "\n")
    chart(rows, metric, list(dict.fromkeys(label for _, label, _ in planned))).savefig(
        os.path.join(out, "sweep.png"), dpi=110)
    for key, (name, label, seed) in ((planned[key].name, key) for key in found):
        folder = os.path.join(out, "tensorboard", key)
        if not os.path.exists(folder):
            result = found[name, label, seed]
            write_hyper(folder, {"config": name, "labels": label, "seed": seed},
                        {key: value for key, value in result.items() if isinstance(value, float)})
    return lines


def _together(found, planned):
    """{(config's name, labels): rows of `pooled`} where runs left their predictions."""
    groups = {}
    for (name, label, seed), result in found.items():
        groups.setdefault((name, label), []).append((planned[name, label, seed].workdir, result))
    judged = {key: pooled.pooled(runs) for key, runs in groups.items()}
    return {key: rows for key, rows in judged.items() if rows}


def define_flags():
    flags.DEFINE_list("configs", None, "files below keras_apps/configs", required=True)
    flags.DEFINE_list("labels", ["0"], "labelled images a class, such as 40,250,0; 0 = all")
    flags.DEFINE_integer("seeds", 3, "seeds 0, 1, ... of every config", lower_bound=1)
    flags.DEFINE_string("data", None, "folder written by `tfrecords.write`", required=True)
    flags.DEFINE_string("out", None, "results and trainings go here", required=True)
    flags.DEFINE_string("metric", "auc", "figure of evaluation.json that is compared")


def main(argv):
    extra, out = argv[1:], os.path.abspath(FLAGS.out)
    cells.require_words(extra)
    if not all(label.isdigit() for label in FLAGS.labels):
        raise ValueError(f"`--labels` is {','.join(FLAGS.labels)} but must be whole numbers of images a class, such as "
                         "40,250; 0 = all.")
    planned = plan(FLAGS.configs, [int(label) for label in FLAGS.labels], FLAGS.seeds, FLAGS.data, out, extra)
    found, failed = run(planned, FLAGS.data)
    if not found:
        raise OSError(next(iter(failed.values())))
    os.makedirs(out, exist_ok=True)
    print("\n".join(write(out, found, failed, planned, FLAGS.metric, extra)))
    print(f"\nwritten: {out}/sweep.json, sweep.md, sweep.png, tensorboard/")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    command.run(main, define_flags, words=True, explain=cells.explain_words)
