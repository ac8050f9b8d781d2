"""The README's client runs as it stands, against a real server."""

import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from saved_models.export import export
from serving.client import Client
from tfrecords.decode import Decoder

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    weights = tf.Variable(np.random.default_rng(0).normal(size=(64, 5)), dtype=tf.float32)

    def embed(images):
        return {"embedding": tf.math.l2_normalize(tf.reshape(images, [-1, 64]) @ weights, axis=1)}
    export(str(models), "verification", {"embed": {"function": embed, "images": 1}}, Decoder(8, 1), [weights], {},
           check=False)
    port = models / "port"
    process = subprocess.Popen([sys.executable, "-m", "serving.server", "--port=0", f"--port_file={port}",
                                "--model_name=verification", f"--model_base_path={models / 'verification'}"], cwd=ROOT)
    for _ in range(300):
        if port.exists():
            break
        assert process.poll() is None
        time.sleep(0.1)
    where = f"localhost:{port.read_text().strip()}"
    with Client(where, "verification") as client:
        client.wait_ready(30)
    yield where
    process.terminate()
    process.wait(20)


def test_the_fifteen_line_client(address, tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    ours = re.findall(r"^(?:from|import) (tfrecords|keras_apps|saved_models|serving)", code, re.M)
    assert not ours, "nothing of ours"
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "image.png")
    done = subprocess.run([sys.executable, "-c", code, address, str(tmp_path / "image.png")], capture_output=True,
                          text=True, cwd=tmp_path)
    assert done.stdout.strip() == "(1, 5)", done.stderr[-2000:]
