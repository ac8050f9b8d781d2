"""What config, data and machine let expect of a training, before it is begun: `python -m keras_apps.train --doctor`."""

import os
import re
import subprocess
import typing

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.text import Text

from keras_apps.build import build, parse
from keras_apps.initial import checkpoints_of
from keras_apps.local import LocalVariable, parts_of
from keras_apps.loop import Loop
from keras_apps.paths import paths_of
from keras_apps.splits import episodes
from keras_apps.stages import parts, scheduled

COLOURS = {"ok": "green", "warn": "yellow", "stop": "red"}
TIGHT = 0.8             # of the free memory
USUAL, FACTOR = {"sgd": (0.1, 256, 1.0), "adam": (1e-3, 64, 0.5)}, 10   # {optimizer: (rate, batch, power)}
MANY_EPOCHS = 1000
VIEWS = ("Identity", "Reshape", "StopGradient", "Squeeze", "ExpandDims")    # share their input's memory
WARNS = "note: ", "warning: "   # what sentences of `App.probe` that warn begin with
HELD_ANYWAY = ("ReadVariableOp", "Const", "Shape")


class Finding(typing.NamedTuple):
    """One sentence with the number it rests on and, where something is wrong, the remedy.

    Args:    level: "ok" | "warn" (likely to disappoint) | "stop" (cannot go well).  text: the sentence.
    """

    level: str
    text: str


def examine(run):
    """Everything below, in this order; nothing is trained and nothing written.

    Args:    run: a `keras_apps.run.Run`.
    Returns: list of Finding.
    Raises:  ValueError where the training itself would refuse.
    """
    stages = run.app.stages()
    if run.config.init:
        checkpoints_of(run.config.init)
    found = [memory(run, stages), precision(run.config.precision, processor())]
    pairs = run.app.judged_by == "pairs"
    for stage in stages if pairs else ():
        batches = run.batches(stage)
        found += groups(batches.rows(0), run.labels, batches.sampler.group, run.config.data.sampler)
    return [*found, *rates(run.config, stages), *classes(run.labels, run.names, batches.sampler.group if pairs else 1),
            *epochs(stages, len(run.rows)), *warmup(run.config, min(parts(stages))),
            *(held_out(run.splits.get("test")) if pairs else ()),
            *(chosen_by(run.config, len(run.rows), run.splits.get("validation")) if pairs else ()),
            *(Finding("warn" if text.startswith(WARNS) else "ok", re.sub("^(note|warning): ", "", text))
              for text in run.app.probe(run.splits))]


def show(findings):
    """One line a finding, the worst last."""
    console = Console(soft_wrap=True)
    for level in COLOURS:
        for finding in findings:
            if finding.level == level:
                console.print(Text.assemble((f"{level:4} ", COLOURS[level]), finding.text))


# ---- the machine

def memory(run, stages):
    """Whether a step of the largest stage fits.

    state + gradients + what the backward pass reads of the forward pass + 4 x the largest tensor of the backward pass

    taken from the graph of one replica's step, which is traced and not run; the last part is what convolutions work
    with. The memory of real steps of four networks on a CPU grew by 0.8 to 1.5 times the sum. What an evaluation needs
    is not in it.
    """
    loop = Loop(run.app, run.config, run.batches, run.strategy)
    moved = [*loop.groups.optimizers.values(), *(one for local in loop.groups.locals.values()
                                                 for one in local.optimizers[0])]
    slots = [v for optimizer in moved for v in _variables(optimizer)]
    held = parts_of([*paths_of(run.app).values(), *loop.averages]) + slots
    state, gradients = sum(map(_bytes, held)), sum(map(_bytes, parts_of(loop.trained)))
    replicas = run.strategy.num_replicas_in_sync
    activations = max(_activations(run, stage, replicas) for stage in stages)
    gpus = tf.config.list_physical_devices("GPU")
    together = 1 if gpus else replicas          # replicas of one machine share its memory
    needed = (state + gradients + activations) * together
    cached = min(len(run.rows), run.images.limit) * run.images.bytes if run.crop is None else 0
    free = free_gpu() if gpus else free_memory()
    needed += 0 if gpus else cached
    text = (f"a step needs about {_size(needed)}: {_size(state * together)} of weights, slots and averages, "
            f"{_size(gradients * together)} of gradients, {_size(activations * together)} of activations"
            + (f", {_size(cached)} of images kept in memory" if cached and not gpus else ""))
    if free is None:
        return Finding("ok", f"{text}; how much is free is not known here.")
    text += f"; {_size(free)} {'of the GPU ' if gpus else ''}are free"
    if needed > TIGHT * free:
        return Finding("stop" if needed > free else "warn",
                       f"{text}: use a smaller `batch` or `size`, `precision`, or a smaller `data.cache_mb`.")
    return Finding("ok", f"{text}.")


def _activations(run, stage, replicas):
    """Bytes of one replica's step beside weights and gradients; of the phase that needs most."""
    spec = run.batches(stage).dataset(0, replicas).element_spec
    # Computed in parts, one after the other.
    spec = tf.nest.map_structure(lambda one: tf.TensorSpec(
        [one.shape[0] // run.config.accumulate, *one.shape[1:]], one.dtype), spec)
    return max(_traced(run.app, stage, phase, spec) for phase in stage["phases"])


def _traced(app, stage, phase, spec):
    variables = [v for members in app.variables(stage["name"], phase).values() for v in members]
    forward = set()

    def step(batch):
        watched = [v.shards[0] if isinstance(v, LocalVariable) else v for v in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            terms, _ = app.losses(phase, batch, tf.constant([0, 0]), tf.constant(0, tf.int64))
            values = [terms[name][0] if isinstance(terms[name], tuple) else terms[name]
                      for name in app.weights(phase, tf.constant(0, tf.int64))]
            loss = tf.add_n([tf.reduce_sum(tf.cast(value, tf.float32)) for value in values])
        forward.update(op.name for op in tf.compat.v1.get_default_graph().get_operations())
        return [g for g in tape.gradient(loss, watched) if g is not None]

    backward = [op for op in tf.function(step, autograph=False).get_concrete_function(spec).graph.get_operations()
                if op.name not in forward]
    read = [_owner(tensor) for op in backward for tensor in op.inputs if tensor.op.name in forward]
    kept = {tensor.name: _tensor_bytes(tensor) for tensor in read if tensor.op.type not in HELD_ANYWAY}
    largest = max((_tensor_bytes(tensor) for op in backward for tensor in op.outputs), default=0)
    return sum(kept.values()) + 4 * largest


def _owner(tensor):
    while tensor.op.type in VIEWS:
        tensor = tensor.op.inputs[0]
    return tensor


def _tensor_bytes(tensor):
    return tensor.shape.num_elements() * tensor.dtype.size if tensor.shape.is_fully_defined() else 0


def _bytes(variable):
    return int(np.prod(variable.shape)) * variable.dtype.size


def _variables(optimizer):
    found = optimizer.variables         # a method of the older kind
    return found() if callable(found) else found


def free_memory(meminfo="/proc/meminfo", limits="/sys/fs/cgroup"):
    """Free bytes of this machine or of the container's share of it; None where that is not told."""
    found = []
    if os.path.exists(meminfo):
        with open(meminfo) as file:
            found = [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    with_limit = [os.path.join(limits, name) for name in ("memory.max", "memory.current")]
    if all(map(os.path.exists, with_limit)):
        most, used = (open(path).read().strip() for path in with_limit)
        if most != "max":
            found.append(int(most) - int(used) + _reclaimable(os.path.join(limits, "memory.stat")))
    return min(found, default=None)


def _reclaimable(path):
    """Bytes of files that are kept in memory only while nobody needs it."""
    if not os.path.exists(path):
        return 0
    with open(path) as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("inactive_file "))


def free_gpu():
    """Free bytes of the fullest GPU as nvidia-smi tells them, None without it."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = [int(word) for word in done.stdout.split() if word.isdecimal()]
    return min(numbers) * 2 ** 20 if numbers else None


def processor(cpuinfo="/proc/cpuinfo"):
    """What the machine computes with: {"gpu"} or the flags of its CPU."""
    if tf.config.list_physical_devices("GPU"):
        return {"gpu"}
    if not os.path.exists(cpuinfo):
        return set()
    with open(cpuinfo) as file:
        return set(next((line for line in file if line.startswith("flags")), "").split())


def precision(name, machine):
    """Whether the machine is faster with it."""
    if name == "float32" or "gpu" in machine or name == "bfloat16" and machine & {"avx512_bf16", "amx_bf16"}:
        return Finding("ok", f"`precision` is {name}, which this machine computes in.")
    fast = "float32 or bfloat16" if machine & {"avx512_bf16", "amx_bf16"} else "float32"
    return Finding("warn", f"`precision` is {name} but this CPU has no arithmetic for it, so that it is slower and "
                           f"less exact; use {fast}.")


# ---- the config

def groups(rows, labels, group, sampler):
    """P x K of a batch: whether there are as many classes as it asks for, and pairs of one class in it."""
    own = labels[rows]
    if group == 1:
        counts = np.unique(own[own >= 0], return_counts=True)[1]
        alone = int((counts == 1).sum())
        text = f"{alone} of the {len(rows)} images of the first batch have no other of their class in it"
        return [Finding("ok", f"{text}; a loss on pairs would need `data.sampler` \"pk(images=4)\".")] if alone else []
    wanted, found, known = len(rows) // group, len(np.unique(own)), len(np.unique(labels[labels >= 0]))
    if parse(sampler)[0] != "pk":
        return [Finding("ok", f"a batch of {len(rows)} is {wanted} groups of {group} (`{sampler}`).")]
    text = f"a batch of {len(rows)} is {wanted} classes x {group} images"
    if known < wanted:
        each = -(-len(rows) // known)
        return [Finding("warn", f"{text} but there are {known} classes, so that it holds some of them several times, "
                                f"about {each} images each; use `batch`={known * group} or more images a class.")]
    if wanted == 1:
        return [Finding("warn", f"{text}: no pair of different classes; use `batch`={2 * group} or more.")]
    return [Finding("ok", f"{text} ({found} of {known} classes in the first one).")]


def rates(config, stages):
    """Whether each optimizer's highest rate is near the usual one for the batch.

    sgd: 0.1 batch / 256 (Goyal et al., arXiv:1706.02677);  adam: 1e-3 sqrt(batch / 64)
    """
    steps, batch = sum(stage["steps"] for stage in stages), max(stage["batch"] for stage in stages)
    schedule = scheduled(config.schedule, stages)
    highest = max(float(schedule(tf.constant(step, tf.int64))) for step in np.linspace(0, steps - 1, 101, dtype=int))
    found = []
    for group, text in config.optimizers.items():
        if not text:
            continue
        name, words = parse(text)
        if name not in USUAL or "rate" not in words or group == "center":     # centres move by means, not by slopes
            continue
        rate, (base, size, power) = words["rate"] * highest, USUAL[name]
        usual = base * (batch / size) ** power
        text = f"the rate of `{group}` reaches {rate:.2g}; usual for {name} and batches of {batch} is about {usual:.2g}"
        far = not usual / FACTOR <= rate <= usual * FACTOR
        found.append(Finding("warn", f"{text}: use --config.optimizers.{group}=\"{name}(rate={usual:.1g})\", or know "
                                     "why not.") if far else Finding("ok", f"{text}."))
    return found


def warmup(config, steps):
    """Whether the schedule's warm-up leaves the run, or the shortest part of it, its steps."""
    rise = getattr(build("schedules", config.schedule, steps=steps), "warmup", 0)
    if rise > steps / 10:
        return [Finding("warn", f"the warm-up takes {rise} of {steps} steps, {rise / steps:.0%}; use at most "
                                f"{steps // 10}, such as --config.schedule=\"{parse(config.schedule)[0]}"
                                f"(warmup={max(1, steps // 20)})\".")]
    return []


# ---- the data

def classes(labels, names, group):
    """Classes with a single image, and with fewer than a group of the batch takes."""
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    single, few = np.flatnonzero(counts == 1), np.flatnonzero(counts < group)
    found = [Finding("ok", f"{len(names)} classes with {counts.min()} to {counts.max()} images, {np.median(counts):g} "
                           "in the middle.")]
    if len(single):
        found.append(Finding("warn", f"{len(single)} of {len(names)} classes have a single image (such as "
                                     f"{names[single[0]]}), of which no pair can be made; add images or leave them "
                                     "out."))
    if 2 * len(few) > len(names):
        found.append(Finding("warn", f"{len(few)} of {len(names)} classes have fewer than the {group} images that the "
                                     f"sampler takes, which repeats some; use {max(2, int(np.median(counts)))} a "
                                     "class, or add images."))
    return found


def epochs(stages, count):
    """How often each image is seen."""
    drawn = sum(stage["steps"] * stage["batch"] * sum(stage["phases"].values()) for stage in stages)
    times, text = drawn / count, f"{drawn:,} draws of {count:,} images"
    if times < 1:
        return [Finding("warn", f"{text}: only {times:.0%} of them are seen; use {-(-count // stages[0]['batch']):,} "
                                "steps or more.")]
    if times > MANY_EPOCHS:
        return [Finding("warn", f"{text}: each is seen {times:,.0f} times, which is likely to be learnt by heart; use "
                                "fewer steps, or stronger `data.augment`.")]
    return [Finding("ok", f"{text}: each is seen about {times:.0f} times.")]


def held_out(split):
    """What the held-out images can show: pairs, and the smallest false-accept rate that ten wrong pairs stand for."""
    if split is None:
        return [Finding("warn", "nothing is held out, so nothing will be known of the model; set `data.holdout` to 0.3 "
                                "or name `data.train_identities`.")]
    same = different = 0
    for rows in episodes(split):
        counts = np.unique(split.identities[rows], return_counts=True)[1]
        own = int((counts * (counts - 1) // 2).sum())
        same, different = same + own, different + int(counts.sum() * (counts.sum() - 1) // 2) - own
    identities = len(np.unique(split.identities))
    text = (f"{len(split.rows):,} images of {identities} identities are held out: {same:,} same and {different:,} "
            "different pairs")
    if different < 1000:
        return [Finding("warn", f"{text}, too few for a threshold that 1 in 100 may pass wrongly (ten such pairs need "
                                "1,000); hold back more.")]
    found = [Finding("ok", f"{text}; false-accept rates down to {10 / different:.0e} can be measured (ten pairs).")]
    if identities < 10:
        found.append(Finding("warn", f"only {identities} identities are held out, so that one of them moves every "
                                     "figure; hold back 10 or more where there are."))
    return found


def chosen_by(config, trained, split):
    """Whether more labels are spent on choosing than on training; `labels` bounds the training images alone."""
    if not config.labels or split is None or len(split.rows) <= trained:
        return []
    return [Finding("warn", f"`labels` leaves {trained:,} images to train on but {len(split.rows):,} labelled ones "
                            "choose on the way, which few labels do not allow; use a smaller `data.validation`.")]


def _size(count):
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


if __name__ == "__main__":
    raise SystemExit("error: this is no command; use python -m keras_apps.train with --doctor and its other flags.")
