"""The README's section on serving, run as it stands: its config, its server, the commands of its table."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from saved_models import gallery
from saved_models.export import export
from serving.client import Client
from tests.serving.toys import until
from tests.serving.wire import free_port
from tfrecords.decode import Decoder

ROOT = pathlib.Path(__file__).parents[2]
SECTION = re.search(r"^## Serving\n(.*?)^## ", (ROOT / "README.md").read_text(), re.S | re.M)[1]


def image(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 8), colour).save(path)
    return path


@pytest.fixture
def checkout(tmp_path):
    """A folder like the repository's, with photos/ and models of its own: verification 1 and 2, gallery 1."""
    folder = tmp_path / "checkout"
    (folder / "saved_models").mkdir(parents=True)
    for name in ("serving", "tfrecords", "keras_apps"):
        os.symlink(ROOT / name, folder / name)
    for path in (ROOT / "saved_models").glob("*.py"):
        os.symlink(path, folder / "saved_models" / path.name)
    models, weights = folder / "saved_models" / "models", tf.Variable(np.eye(192, 5), dtype=tf.float32)

    def embed(images):
        return {"embedding": tf.math.l2_normalize(tf.reshape(images, [-1, 192]) @ weights, axis=1)}
    for _ in range(2):
        export(str(models), "verification", {"embed": {"function": embed, "images": 1}}, Decoder(8, 3), [weights], {},
               check=False)
    photos = [image(folder / "photos" / who / f"{number}.jpg", colour)
              for who, colour in (("ann", (200, 30, 30)), ("bob", (30, 200, 30))) for number in (1, 2)]
    image(folder / "new" / "ann.jpg", (190, 40, 30))
    gallery.build(str(models / "verification" / "1"),
                  [(path.parent.name, f"{path.parent.name}/{path.name}", path.read_bytes()) for path in photos],
                  str(models), check=False)
    return folder


@pytest.mark.slow
def test_the_serving_section_runs_as_it_stands(checkout):
    block = re.search(r"^    cat > models\.config.*?&$", SECTION, re.S | re.M)[0].replace("\n    ", "\n").strip()
    ports = {port: str(free_port()) for port in ("8500", "8501", "8080")}

    def ours(words):
        for port, free in ports.items():
            words = re.sub(rf"\b{port}\b", free, words)
        return words

    def run(words, *more):
        done = subprocess.run(["bash", "-c", f"{ours(words)} {' '.join(more)}"], cwd=checkout, capture_output=True,
                              text=True, timeout=100, env=environment)
        assert done.returncode == 0, f"{words}: {done.stdout[-1000:]} {done.stderr[-2000:]}"
        return done.stdout

    def in_table(command):
        return re.search(rf"`(python -m {re.escape(command)}[^`]*)`", SECTION)[1]

    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
    start = f"{ours(block).removesuffix('&')} --port={ports['8500']}"    # README's is the default
    with open(checkout / "log", "w") as log:
        server = subprocess.Popen(["bash", "-c", re.sub("\npython", "\nexec python", start)], cwd=checkout, stdout=log,
                                  stderr=log, env=environment)
    try:
        address = f"localhost:{ports['8500']}"
        with Client(address, label="stable") as stable, Client(address, "gallery") as searched:
            stable.wait_ready(60)
            run(in_table("serving.client embed"))
            lines = (checkout / "answers.jsonl").read_text().splitlines()
            assert [json.loads(line)["image"] for line in lines] == [
                f"photos/{who}/{number}.jpg" for who in ("ann", "bob") for number in (1, 2)]
            promote = in_table("serving.promote")
            for words, version in ((promote, 2), (promote.replace("--version=2", "--back"), 1)):
                run(words)
                assert until(lambda version=version: stable.served_version() == version), version
            run(in_table("serving.gallery enrol"))
            found = searched.search((checkout / "new" / "ann.jpg").read_bytes())
            assert found["entries"][0, 0] == "ann/ann.jpg"
            run(in_table("serving.gallery erase"))
            assert json.loads((checkout / "proof.json").read_text())["found"] == []
            assert until(lambda: searched.search((checkout / "new" / "ann.jpg").read_bytes())["identities"][0, 0]
                         == "bob")
        run(in_table("serving.loadtest"), "--seconds=1", "--warm_up=0", f"--server={address}")
        assert (checkout / "load.png").exists()
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, (checkout / "log").read_text()
    assert "Traceback" not in (checkout / "log").read_text()
