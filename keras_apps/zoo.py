"""Trains a family of generators on one data set, draws a pool of fakes of each and puts them beside the real images.

    python -m keras_apps.zoo --data=build/data/fashion_mnist --out=build/zoo/fashion_mnist \\
        [--families=dcgan,lsgan,wgan,wgan_gp,pggan] [--count=4000] [--fakes=build/data/fashion_mnist_fakes] [-- FLAGS]

FLAGS are further flags of `keras_apps.train`, such as --config.size=64 --config.data.train_split=. Each training lies
in <out>/<family>, each pool in <out>/pools/<family>; <out>/zoo.md and zoo.png show what came out, the floor and real
images beside. --fakes, `<data>_fakes` if not given, is what a detector is trained on. What is there is not made again;
the same command goes on where a killed one stopped.
"""

import json
import math
import os
import shlex
import sys

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from keras_apps import cells, charts
from keras_apps.build import ROOT
from keras_apps.checkpoints import checkpoints_in
from keras_apps.run import read_json
from tfrecords import command
from tfrecords.decode import Decoder, height_and_width, size_text
from tfrecords.read import Records, file_sha256
from tfrecords.shards import write_file

FLAGS = flags.FLAGS
CONFIGS = ROOT / "keras_apps" / "configs" / "image_generation"
FAMILIES = "dcgan", "lsgan", "wgan", "wgan_gp", "pggan"
FIGURES = "frechet", "precision", "recall", "classes_covered", "least_class_share"
ROW, MARGIN = 16, 64        # images of a family on the sheet; pixels for the names


def plan(families, data, out, extra=()):
    """{family: Cell}.

    Raises:  ValueError for a family that has no config for images, a flag that it does not take, or two sizes.
    """
    known = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem not in ("__init__", "ring"))   # not points
    found, sizes = {}, {}
    if not families:
        raise ValueError(f"`--families` is empty but must name configs of image_generation, of {', '.join(known)}.")
    for family in families:
        if family not in known:
            raise ValueError(f"`--families` names {family!r} but must name configs of image_generation, of "
                             f"{', '.join(known)}.")
        config = str(CONFIGS / f"{family}.py")
        settled = cells.config_of(config, extra)
        own = settled["family"]
        sizes[str(settled["size"])] = family
        if own in found:
            raise ValueError(f"`--families` names two configs of the family {own!r} but each pool needs its own; leave "
                             "one out.")
        found[own] = cells.Cell(own, config, data, os.path.join(out, own), tuple(extra))
    if len(sizes) > 1:
        told = " and ".join(f"{size} ({family})" for size, family in list(sizes.items())[:2])
        raise ValueError(f"`--families` are of the sizes {told} but pools must have one; name those of one size.")
    return found


def require_places(families, data, out, fakes):
    """Refuses, before anything is trained, an `--out` that holds something else and fakes that would be lost."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise ValueError(f"`--out` is {out} but that is a file; name a folder.")
    there = set(os.listdir(out)) if os.path.isdir(out) else set()
    if there and not there & {"pools", "zoo.md", *(f"{family}{end}" for family in families for end in ("", ".lock"))}:
        raise ValueError(f"`--out` is {out} but holds something else, {min(there)} among it; name another folder.")
    _fakes_there(families, data, fakes)


def _fakes_there(families, data, fakes):
    """The manifest of the fakes in a folder, None where there is none.

    Raises:  ValueError where it holds something else, or fakes of a family that is not among these.
    """
    manifest = read_json(os.path.join(fakes, "manifest.json"))
    if manifest is None:
        if os.path.exists(fakes) and (not os.path.isdir(fakes) or os.listdir(fakes)):
            raise ValueError(f"`--fakes` is {fakes} but that holds something else; name another folder.")
        return None
    made = manifest["created_from"][0]
    if made.get("source") != "fakes" or made.get("reals_sha256") != cells.data_sha(data):
        raise ValueError(f"`--fakes` is {fakes} but holds other data than fakes beside {data}; name another folder.")
    lost = sorted(set(made["families"]) - set(families))
    if lost:
        raise ValueError(f"`--fakes` is {fakes} but holds fakes of {', '.join(lost)} as well, which would be lost; "
                         "name those `--families` too, or another folder.")
    return manifest


def train(planned, sha):
    """Trains what is not finished; {family: evaluation.json}.

    Args:    sha: the data's hash.
    Raises:  ValueError where a finished run is of another config or other data; OSError where a training fails.
    """
    found = {family: cells.finished(cell, sha) for family, cell in planned.items()}
    wanted = {family: cell for family, cell in planned.items() if not found[family]}
    with cells.watching(len(wanted)) as begin:
        for family, cell in wanted.items():
            found[family] = cells.train(cell, begin(family))
    return found


def draw(planned, out, count):
    """A pool of each family, made where it is missing, smaller or of other weights.   Returns: [folder]."""
    pools = []
    for family, cell in planned.items():
        place = os.path.join(out, "pools", family)
        pools.append(place)
        manifest = read_json(os.path.join(place, "manifest.json"))
        if manifest and manifest["count"] == count and manifest["created_from"][0].get("weights_sha256") == _weights(
                cell.workdir):
            continue
        print(f"drawing {count:,} images of {family}", file=sys.stderr, flush=True)
        cells.call("keras_apps.sample", f"--workdir={cell.workdir}", f"--out={place}", f"--count={count}",
                   "--overwrite")
    return pools


def _weights(workdir):
    """Hash of the newest checkpoint's data."""
    path = next(iter(checkpoints_in(os.path.join(workdir, "checkpoints"))), "")
    return file_sha256(f"{path}.data-00000-of-00001") if path else ""


def combine(data, pools, fakes):
    """The real images beside the pools, made again where a pool has changed.

    Raises:  ValueError where the folder holds something else, or fakes of a family that is not among the pools.
    """
    shas = sorted(read_json(os.path.join(pool, "manifest.json"))["data_sha256"] for pool in pools)
    stamp = os.path.join(fakes, "pools.json")
    if _fakes_there([os.path.basename(pool) for pool in pools], data, fakes) and read_json(stamp) == shas:
        return
    text = f"fakes(reals={str(data)!r}, pools={tuple(map(str, pools))!r})"
    cells.call("tfrecords.write", f"--source={text}", f"--out={fakes}", "--overwrite")
    write_file(stamp, json.dumps(shas))


def table(found):
    """Lines: a family a row, then the floor and unseen real images."""
    rows = [[family, *(cells.figure([result.get(key)]) for key in FIGURES), f"{result['minutes']:.1f}"]
            for family, result in found.items()]
    first = next(iter(found.values()))
    rows.append(["a Gaussian of the pixels", *(cells.figure([first.get(f"floor_{key}")]) for key in FIGURES), "-"])
    if "frechet_real" in first:
        rows.append(["real, never trained on", cells.figure([first["frechet_real"]]), *["-"] * len(FIGURES)])
    lines = cells.table(["family", *(key.replace("_", " ") for key in FIGURES), "CPU minutes"], rows)
    judge = f" (accuracy on unseen images {first['encoder_accuracy']:.3f})" if "encoder_accuracy" in first else ""
    return [*lines, "", f"At the last step, seed {first['seed']}, over {first['images']:,} images beside "
                        f"{first.get('real_images', first['images']):,} real ones, in the features of "
                        f"an encoder of our own{judge}; a class is covered where {first.get('covered_from', 0.03):.2g} "
                        f"of the images or more are taken for it. On {cells.machine()}.", *_poor(found)]


def _poor(found):
    """What to know before a detector is trained on the fakes."""
    poor = [family for family, result in found.items() if result["frechet"] >= result.get("floor_frechet", math.inf)]
    if not poor:
        return []
    return ["", f"Caution: the images of {', '.join(poor)} are no nearer to real ones than a Gaussian of the pixels. A "
                "detector of such fakes proves nothing; train longer."]


def sheet(pools, real):
    """A row a family, the first images of its pool, none picked; the last row is of real images."""
    opened, rows = [Records(folder) for folder in (*pools, real)], []
    count, size = min(ROW, *map(len, opened)), tuple(opened[0].manifest["sizes"]["median"])
    for place, records in enumerate(opened):
        decoder = Decoder.of(records.manifest, size)
        chosen = (np.arange(count) if place < len(pools) else
                  np.sort(np.random.default_rng(0).permutation(len(records))[:count]))
        rows.append(np.stack([decoder.image(data).numpy() for data in records.images(chosen)]))
    return charts.mosaic(np.concatenate(rows), count, least=1024)


def named(pixels, names):
    """The sheet with a name beside each row: a PIL image."""
    found = Image.new("RGB", (pixels.shape[1] + MARGIN, len(pixels)), "white")
    found.paste(Image.fromarray(pixels), (MARGIN, 0))
    pen, height = ImageDraw.Draw(found), len(pixels) / len(names)
    for place, name in enumerate(names):
        pen.text((6, (place + 0.4) * height), name, "black")
    return found


def define_flags():
    flags.DEFINE_list("families", list(FAMILIES), "configs of image_generation, by name")
    flags.DEFINE_string("data", None, "folder written by `tfrecords.write`, the real images", required=True)
    flags.DEFINE_string("out", None, "trainings and pools go here", required=True)
    flags.DEFINE_integer("count", 4000, "fakes of each family", lower_bound=10)
    flags.DEFINE_string("fakes", "", "data folder of real and fake images; not given: <data>_fakes")


def main(argv):
    extra, out, data = argv[1:], os.path.abspath(FLAGS.out), os.path.abspath(FLAGS.data)
    cells.require_words(extra)
    sha = cells.data_sha(data)
    planned = plan(FLAGS.families, data, out, extra)
    fakes = os.path.abspath(FLAGS.fakes) if FLAGS.fakes else f"{data.rstrip('/')}_fakes"
    require_places(planned, data, out, fakes)
    os.makedirs(out, exist_ok=True)
    found = train(planned, sha)
    pools = draw(planned, out, FLAGS.count)
    combine(data, pools, fakes)
    lines = table(found)
    write_file(os.path.join(out, "zoo.md"), "\n".join(lines) + "\n")
    named(sheet(pools, data), [*planned, "real"]).save(os.path.join(out, "zoo.png"))
    print("\n".join(lines))
    print(f"\nwritten: {out}/zoo.md, zoo.png, pools/; real and fake images: {fakes}")
    print(f"next:\n  {following(planned, fakes)}")


def following(planned, fakes):
    """The command that trains a detector on the fakes, the last of several families held out."""
    last, cell = list(planned.items())[-1]
    size = cells.config_of(cell.config, cell.words)["size"]
    words = [] if size == 28 else [f"--config.size={shlex.quote(size_text(*height_and_width(size)))}"]
    words += [f"--config.held_out={last}"] if len(planned) > 1 else []
    config = "--config=keras_apps/configs/fake_image_detection/contrastive.py"
    return " ".join(["python -m keras_apps.train", config, *words,
                     f"--data={shlex.quote(os.path.relpath(fakes))}",
                     f"--workdir={shlex.quote(os.path.join('build', os.path.basename(fakes), last))}"])


if __name__ == "__main__":
    command.run(main, define_flags, words=True, explain=cells.explain_words)
