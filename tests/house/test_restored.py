"""A restorer from training to a server that answers its client: sizes, scales, memory, what is refused."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps.enlarging import bicubic
from keras_apps.metrics import restoration
from keras_apps.run import Run
from serving.client import Client, InvalidArgument
from tests.keras_apps.restored import faces, small_resolution, write_faces
from tests.keras_apps.runs import run_train
from tests.serving import toys

STRATEGY = tf.distribute.get_strategy()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six persons of five images; persons 1-4 are trained on."""
    return write_faces(tmp_path_factory.mktemp("faces") / "data")


@pytest.fixture(scope="module")
def served(exported):
    """Its signatures as a process that knows TensorFlow alone has them."""
    return tf.saved_model.load(str(exported[1])).signatures


@pytest.fixture(scope="module")
def exported(data, tmp_path_factory):
    """A whole run of one network for scales 2 to 4: (workdir, version folder, run standing at its end)."""
    folder = tmp_path_factory.mktemp("exported")
    config = small_resolution(scales=(2, 4), judged=(2, 3), aware=True, size=(48, 32), ensemble=2, steps=6,
                              optimizers={"restorer": "adam(rate=1e-2)"})
    run_train(data, folder / "run", config, folder / "models")
    run = Run(config, str(data), STRATEGY)
    run.loop(folder / "run").restore(training=False)
    return folder / "run", folder / "models" / "super_resolution" / "1", run


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_run_leaves_figures_pictures_and_a_card(exported):
    workdir, version, _ = exported
    found = json.loads((workdir / "evaluation.json").read_text())
    assert {"psnr", "ssim", "top1", "top5", "top10", "top1_closed", "auc", "hr_top1", "floor_top1", "floor_psnr",
            "psnr_x3", "cross_rank1"} <= set(found) and found["floor"] == "bicubic"
    assert (workdir / "pictures" / "restored.png").exists() and (workdir / "report.html").exists()
    card = (version / "assets" / "model_card.md").read_text()
    assert "24 x 16" in card and "no evidence of who somebody is" in card
    assert "## Scales" in card and "| x 3 " in card and "## Ways to the large image" in card and "| bicubic " in card


def test_the_served_answer_is_the_training_graphs_within_a_grey_level(exported, served):
    _, _, run = exported
    image = faces(1, 1, (19, 23))[0, ..., 0]
    restore = served["restore"]
    loop = run.loop(exported[0])
    loop.restore(training=False)
    for scale in (2, 3, 4):
        answer = restore(image_bytes=tf.constant([png(image)]), scale=tf.constant([scale]))["image_bytes"]
        served = tf.io.decode_png(answer[0]).numpy().astype(int)
        with loop.averaged():
            own = run.app.made(image[None, ..., None].astype(np.float32) / 255, (19 * scale, 23 * scale), float(scale))
        wanted = np.rint(restoration.eight_bits(own.numpy()) * 255)[0]
        assert served.shape == wanted.shape == (19 * scale, 23 * scale, 1)
        assert np.abs(served - wanted).max() <= 1
        plain = np.rint(np.clip(bicubic(image[None, ..., None] / np.float32(255), wanted.shape[:2]), 0, 1) * 255)[0]
        assert np.abs(served - plain).max() > 1, "it is not the bicubic image"


def test_a_client_gets_from_a_server_what_the_training_graph_makes(exported, tmp_path):
    workdir, version, run = exported
    running = toys.start(["--model_name=super_resolution", f"--model_base_path={version.parent}"], tmp_path)
    try:
        image = faces(1, 1, (20, 14))[0, ..., 0]
        path = tmp_path / "small.png"
        path.write_bytes(png(image))
        with Client(running.address, "super_resolution") as client:
            client.wait_ready(60)
            answer, = client.restore([path], scale=4)
            with pytest.raises(InvalidArgument, match="`scale` is .*5.* but this model restores whole numbers"):
                client.restore([path], scale=5)
            with pytest.raises(InvalidArgument, match="an image of 2 x 9 pixels .* too small to restore"):
                client.restore([png(np.zeros((2, 9), np.uint8))], scale=2)
    finally:
        toys.stop(running)
    loop = run.loop(str(workdir))
    loop.restore(training=False)
    with loop.averaged():
        own = run.app.made(image[None, ..., None].astype(np.float32) / 255, (80, 56), 4.0).numpy()
    assert np.abs(tf.io.decode_png(answer).numpy() - np.rint(own[0] * 255)).max() <= 1


@pytest.mark.slow
def test_a_large_photo_is_restored_in_bounded_memory_and_without_seams(exported, tmp_path):
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (376, 501), np.uint8)
    photo = np.asarray(Image.fromarray(small).resize((4008, 3008), Image.Resampling.BICUBIC))[4:3004, 4:4004]
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=95)
    script = """if True:
        import resource, sys, tensorflow as tf
        restore = tf.saved_model.load(sys.argv[1]).signatures["restore"]
        data = open(sys.argv[2], "rb").read()
        made = restore(image_bytes=tf.constant([data]), scale=tf.constant([2]))["image_bytes"][0].numpy()
        open(sys.argv[3], "wb").write(made)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"""
    done = subprocess.run([sys.executable, "-c", script, exported[1], tmp_path / "photo.jpg", tmp_path / "large.png"],
                          capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 1500, "megabytes, most of them TensorFlow's own and the picture"
    Image.MAX_IMAGE_PIXELS = None
    large = np.asarray(Image.open(tmp_path / "large.png"))
    assert large.shape == (6000, 8000)
    # A part about the corner of four tiles, restored by itself: the same but near its own border.
    y, x, reach = 96 * 9, 96 * 20, 20
    decoded = tf.io.decode_jpeg((tmp_path / "photo.jpg").read_bytes(), dct_method="INTEGER_ACCURATE").numpy()[..., 0]
    part = decoded[y - 40:y + 40, x - 40:x + 40]
    restore = tf.saved_model.load(str(exported[1])).signatures["restore"]
    alone = restore(image_bytes=tf.constant([png(part)]), scale=tf.constant([2]))["image_bytes"][0]
    alone = tf.io.decode_png(alone).numpy()[..., 0].astype(int)[2 * reach:-2 * reach, 2 * reach:-2 * reach]
    there = large[2 * (y - 40 + reach):2 * (y + 40 - reach), 2 * (x - 40 + reach):2 * (x + 40 - reach)]
    assert np.abs(alone - there).max() <= 1


def test_images_of_other_sizes_and_colours_are_answered_together(served):
    restore = served["restore"]
    images = [png(faces(1, 1, (6, 4))[0, ..., 0]), png(faces(1, 1, (30, 9), 3)[0])]
    answer = restore(image_bytes=tf.constant(images), scale=tf.constant([2, 4]))["image_bytes"]
    assert [tf.io.decode_png(one).shape.as_list() for one in answer] == [[12, 8, 1], [120, 36, 1]]
    empty = restore(image_bytes=tf.constant([], tf.string), scale=tf.constant([], tf.int32))["image_bytes"]
    assert empty.shape == [0]


@pytest.mark.parametrize("size, scale, message", [
    ((8, 8), 5, "`scale` is .*5.* but this model restores whole numbers from 2 to 4 times as large"),
    ((8, 8), 1, "`scale` is .*1.* but this model restores"),
    ((3, 9), 2, "an image of 3 x 9 pixels .* is too small to restore: it must have at least 4 x 4"),
])
def test_a_bad_scale_or_a_tiny_image_is_named(served, size, scale, message):
    restore = served["restore"]
    data = png(np.zeros(size, np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        restore(image_bytes=tf.constant([data]), scale=tf.constant([scale]))


def test_what_would_not_fit_into_memory_is_refused_before_it_is_made(served):
    restore = served["restore"]
    data = png(np.zeros((4000, 4000), np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match="would have 256000000 pixels together but one request"):
        restore(image_bytes=tf.constant([data]), scale=tf.constant([4]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="2 images with 1 numbers in `scale` cannot be restored"):
        restore(image_bytes=tf.constant([data, data]), scale=tf.constant([4]))


def test_numbers_are_restored_in_data_units(served):
    image = faces(1, 2, (12, 10)).astype(np.float32)
    found = served["restore_tensor"](image_tensor=tf.constant(image), scale=tf.constant([3, 3]))["image_tensor"]
    assert found.shape == [2, 36, 30, 1]
    encoded = served["restore"](image_bytes=tf.constant([png(image[0, ..., 0].astype(np.uint8))]),
                                scale=tf.constant([3]))["image_bytes"]
    assert np.abs(tf.io.decode_png(encoded[0]).numpy() - found[0].numpy()).max() <= 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="`scale` must be one number for all images"):
        served["restore_tensor"](image_tensor=tf.constant(image), scale=tf.constant([3, 2]))
