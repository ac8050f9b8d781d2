"""A stranger's folder through the commands of the README, as real processes; nothing of ours in between."""

import json
import pathlib
import signal
import subprocess
import sys
import time
import zipfile
from concurrent import futures

import numpy as np
import pytest
from PIL import Image, ImageDraw

from saved_models import gallery
from tfrecords.sources.folder import FolderSource
from tfrecords.write import write

ROOT = pathlib.Path(__file__).parents[2]
COLOURS = {"ann": "red", "bob": "lime", "cat": "blue", "dan": "gold", "eve": "magenta", "fay": "cyan"}
IMAGES = 8


def drawn(name, number):
    """A shape of the identity's colour somewhere on a noisy ground."""
    random = np.random.default_rng([number, *name.encode()])
    image = Image.fromarray(random.integers(60, 120, (40, 48, 3), np.uint8))
    x, y = random.integers(2, 18, 2).tolist()
    place = (x, y, x + 18, y + 18)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if list(COLOURS).index(name) % 2 else draw.rectangle)(place, fill=COLOURS[name])
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """photos/all/<name>/<n>.jpg with two files that are no images, and the same as photos.zip."""
    folder = tmp_path_factory.mktemp("stranger") / "photos"
    for name in COLOURS:
        (folder / "all" / name).mkdir(parents=True)
        for number in range(IMAGES):
            drawn(name, number).save(folder / "all" / name / f"{number}.jpg", quality=90)
    whole = (folder / "all" / "ann" / "0.jpg").read_bytes()
    (folder / "all" / "bob" / "broken.jpg").write_bytes(whole[:len(whole) // 2])
    (folder / "all" / "bob" / "notes.jpg.txt").write_text("the second one is at the lake")
    with zipfile.ZipFile(folder.parent / "photos.zip", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return folder


def command(*words):
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == 0, f"{words[0]}: {done.stdout[-1000:]} {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def models(photos):
    """From the folder to a data folder and an encoder, from the zip to a gallery."""
    out = photos.parent
    said = command("tfrecords.write", f"--images={photos}", f"--out={out / 'data'}", "--shards=2")
    assert "48 colour images" in said and "skipped          1 images that cannot be used" in said
    command("keras_apps.train", "--config=keras_apps/configs/verification/folder.py", f"--data={out / 'data'}",
            f"--workdir={out / 'run'}", f"--models={out / 'models'}", "--config.steps=20",
            "--config.checkpoint_every=20", "--config.size=24", "--config.embedding=16", "--config.batch=16",
            "--config.backbone=small_cnn(widths=(8, 16, 16))", "--config.schedule=cosine(warmup=5)",
            "--config.ema=0.8")
    said = command("serving.gallery", "build", f"--model={out / 'models' / 'verification'}",
                   f"--images={photos}.zip", f"--models={out / 'models'}", "--k=5")
    first, second = said.splitlines()
    assert first == (f"{out / 'models' / 'gallery' / '1'}: 48 entries of 6 identities, 1 image skipped that cannot "
                     "be used:") and second.startswith("  all/bob/broken.jpg: ")
    return out / "models"


@pytest.fixture(scope="module")
def address(models):
    config, port, log = (models.parent / name for name in ("models.config", "port", "server.log"))
    entries = [f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}'
               for name in ("verification", "gallery")]
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with open(log, "w") as stream:
        process = subprocess.Popen([sys.executable, "-m", "serving.server", "--port=0", f"--port_file={port}",
                                    f"--model_config_file={config}"], cwd=ROOT, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 100
        while not port.exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)
        yield f"localhost:{port.read_text().strip()}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()[-3000:]
    finally:
        process.kill()


def ask(address, model, signature, *images):
    said = command("serving.client", signature, *images, "--json", f"--server={address}", f"--model={model}")
    return [json.loads(line) for line in said.splitlines()]


def test_what_was_written_lists_what_cannot_be_read(models):
    manifest = json.loads((models.parent / "data" / "manifest.json").read_text())
    facts = json.loads((models / "gallery" / "1" / "assets" / "gallery.json").read_text())
    assert manifest["count"] == facts["count"] == len(COLOURS) * IMAGES
    for skipped in (manifest["skipped"], facts["skipped"]):
        assert skipped["count"] == 1
        assert [entry["path"] for entry in skipped["unreadable"]] == ["all/bob/broken.jpg"]
    assert [sorted(names) for names in manifest["names"].values()] == [sorted(COLOURS)]
    assert (models.parent / "run" / "evaluation.json").exists()


def test_the_served_models_answer(address, photos):
    first, second = (photos / "all" / name / "1.jpg" for name in ("ann", "bob"))
    asked = [photos / "all" / name / f"{number}.jpg" for name in COLOURS for number in range(IMAGES)]
    with futures.ThreadPoolExecutor() as pool:          # three clients at a time, which saves waiting for imports
        embedded, verified, found = [pool.submit(ask, address, *words) for words in (
            ("verification", "embed", first, second), ("verification", "verify", first, second),
            ("gallery", "search", *asked))]

    assert [row["image"] for row in embedded.result()] == [str(first), str(second)]
    np.testing.assert_allclose([np.linalg.norm(row["embedding"]) for row in embedded.result()], 1.0, atol=1e-4)

    row, = verified.result()
    cosine = np.dot(*(row["embedding"] for row in embedded.result()))
    assert row["score"] == pytest.approx(cosine, abs=1e-4) and row["decision"] == (row["score"] >= row["threshold"])

    # Each image is enrolled itself: it comes first, and the next is of its identity for most.
    right = 0
    for path, row in zip(asked, found.result(), strict=True):
        best, other = row["matches"][:2]
        assert best["score"] > 0.999 and not row["unknown"]
        assert best["entry"] == f"all/{path.parent.name}/{path.name}" or other["score"] > 0.999
        assert best["identity"] == best["entry"].split("/")[1]
        right += other["identity"] == path.parent.name
    assert right > len(asked) / 2, f"the nearest other image is of the same identity for {right} of {len(asked)}"


def test_folder_and_zip_are_the_same_images(photos, tmp_path):
    folder, archive = (list(gallery.folder_entries(place)) for place in (photos, f"{photos}.zip"))
    assert [(*names, read()) for *names, read in folder] == [(*names, read()) for *names, read in archive]
    manifests = [write([FolderSource(place)], tmp_path / name, shards=2, name="photos")
                 for place, name in ((photos, "folder"), (f"{photos}.zip", "zip"))]
    sums = [[shard["sha256"] for shard in manifest["shards"]] for manifest in manifests]
    assert sums[0] == sums[1]
