"""Runs every stage by the commands a user would type, asks the server, and leaves one page to look at.

    python -m demo [--images=DIR_OR_ZIP [--pattern=REGEX]] [--out=build/demo]
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from demo import report
from keras_apps.actions import WriteHistory
from keras_apps.card import cautions
from keras_apps.run import Run, stored_config
from keras_apps.strategy import make_strategy
from serving.client import Client, ServingError
from tfrecords.command import run as run_command
from tfrecords.shards import write_file

FLAGS = flags.FLAGS
ROOT = pathlib.Path(__file__).resolve().parent.parent
MARK = "MADE_BY_DEMO"                    # only a folder with this file is emptied
ENROLLED, ASKED, SHOWN = 5, 40, 8       # gallery images an identity, queries, queries on the page


def command(module, *words):
    """Runs `python -m module words` and echoes it as a user would type it."""
    print(f"\n$ python -m {module} {' '.join(str(word).replace(f'{ROOT}/', '') for word in words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", module, *map(str, words)], cwd=ROOT)
    if done.returncode:
        sys.exit(f"error: the step above stopped with code {done.returncode}; the demo ends here.")


def make_anew(out, given):
    """An empty folder with the mark in it; what is no demo is refused."""
    if out.exists() and not out.is_dir():
        sys.exit(f"error: `out` is {given} and a file; name an empty or new folder.")
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        sys.exit(f"error: `out` is {given} and holds something else than a demo; name an empty or new folder.")
    out.mkdir(parents=True, exist_ok=True)
    # The mark stays throughout: a demo killed while it empties the folder may do so again.
    (out / MARK).write_text("Made by `python -m demo`, which empties this folder when it runs again.\n")
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()


def deal(run, out):
    """Held-out images as files: a gallery folder with a few of each identity, the queries beside it."""
    test = run.splits["test"]
    random = np.random.default_rng(0)
    enrolled, asked = [], []
    for identity in np.unique(test.identities):
        places = random.permutation(np.flatnonzero(test.identities == identity))
        keep = min(ENROLLED, max(1, len(places) // 2))
        enrolled += list(places[:keep])
        asked += list(places[keep:])
    asked = random.permutation(asked)[:ASKED]
    for folder, places in (("gallery", enrolled), ("queries", asked)):
        for place in places:
            image = run.records.images(test.rows[[place]])[0]
            name = test.names[test.identities[place]].replace("/", "_")
            path = out / folder / name / f"{test.rows[place]}{ending(image)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)


def ending(image):
    """The file ending of encoded bytes, by their first bytes."""
    starts = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp"}
    return starts.get(bytes(image[:2]), ".img")


@contextlib.contextmanager
def server(models, out):
    """The embedded server as a process of its own, with both models; yields its address."""
    config = "\n".join(f'  config {{ name: "{name}" base_path: "{(models / name).resolve()}" '
                       'model_platform: "tensorflow" }' for name in ("verification", "gallery"))
    write_file(out / "models.config", f"model_config_list {{\n{config}\n}}\n")
    port_file = out / "port"
    port_file.unlink(missing_ok=True)
    words = [sys.executable, "-m", "serving.server", "--port=0", f"--port_file={port_file}",
             f"--model_config_file={out / 'models.config'}"]
    print("\n$ python " + " ".join(words[1:]).replace(f"{ROOT}/", ""), flush=True)
    with open(out / "server.log", "w") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"error: the server did not start; see {out / 'server.log'}.")
            time.sleep(0.1)
        yield f"localhost:{port_file.read_text().strip()}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def ask(address, out):
    """Asks `embed`, `verify` and `search` for the queries; returns what the page shows."""
    queries = sorted((out / "queries").glob("*/*"))
    gallery = sorted((out / "gallery").glob("*/*"))
    with Client(address, "verification", timeout=30) as verification, Client(address, "gallery", timeout=30) as search:
        verification.wait_ready(60)
        search.wait_ready(60)
        start = time.perf_counter()
        vectors = verification.embed(queries)
        seconds = time.perf_counter() - start
        found = search.search(queries)
        first = queries[0]
        same = next(path for path in gallery if path.parent.name == first.parent.name)
        other = next(path for path in gallery if path.parent.name != first.parent.name)
        pairs = [(first, path, verification.verify([first], [path])) for path in (same, other)]
    right = np.array([identity == path.parent.name for identity, path in zip(found["identities"][:, 0], queries)])
    return {"queries": queries, "embedding": vectors, "seconds": seconds, "found": found, "pairs": pairs,
            "rank1": float(right.mean()), "gallery": len(gallery)}


def show(result, answers):
    """The short table of the demo."""
    kind = "identities never trained on" if result["unseen_identities"] else "other images of the trained identities"
    table = Table("", "embedding", "raw pixels", title=f"Held out: {kind}")
    for key, name in (("auc", "AUC"), ("eer", "EER"), ("tar_at_far_1e-2", "TAR@FAR=1e-2"), ("rank1", "rank-1")):
        table.add_row(name, f"{result[key]:.3f}", f"{result[f'floor_{key}']:.3f}")
    table.add_row("served search, rank-1", f"{answers['rank1']:.3f}", "")
    Console().print(table)


def define_flags():
    flags.DEFINE_string("images", None, "your own images: a folder or zip with one sub-folder an identity")
    flags.DEFINE_string("pattern", None, "where the folders do not say it: as for tfrecords.write")
    flags.DEFINE_string("out", "build/demo", "emptied and made anew: the demo before this one goes")


def main(_):
    start = time.perf_counter()
    out = pathlib.Path(FLAGS.out)
    out = out if out.is_absolute() else ROOT / out
    make_anew(out, FLAGS.out)
    data, workdir, models = out / "data", out / "run", out / "models"
    choice = "folder" if FLAGS.images else "digits"
    source = [f"--images={os.path.abspath(FLAGS.images)}"] if FLAGS.images else ["--digits"]
    source += [f"--pattern={FLAGS.pattern}"] if FLAGS.pattern else []
    command("tfrecords.write", *source, f"--out={data}")
    command("keras_apps.train", f"--config=keras_apps/configs/verification/{choice}.py", f"--data={data}",
            f"--workdir={workdir}", f"--models={models}")
    run = Run(stored_config(workdir), data, make_strategy("one"))
    deal(run, out)
    command("serving.gallery", "build", f"--model={models / 'verification'}", f"--images={out / 'gallery'}",
            f"--models={models}")
    try:
        with server(models, out) as address:
            answers = ask(address, out)
    except ServingError as error:
        sys.exit(f"error: {error}")
    with open(workdir / "evaluation.json") as file:
        result = json.load(file)
    page = report.page(run, result, WriteHistory.read(workdir), workdir / "pictures", models, answers, SHOWN)
    write_file(out / "report.html", page)
    print()
    show(result, answers)
    for caution in cautions(result):
        print(f"warning: {caution}")
    print(f"report: {os.path.relpath(out / 'report.html')}   curves: make tensorboard WORKDIR={os.path.relpath(out)}"
          f"   ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    run_command(main, define_flags)
