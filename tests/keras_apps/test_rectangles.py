"""Images taller than wide, as persons are: from the config to the exported model, sides no multiples of the strides."""

import json

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.build import build
from keras_apps.configs.vehicle_reid.stronger_baseline import get_config
from keras_apps.run import Run, stored_config
from tests.keras_apps.runs import run_train, small_config
from tfrecords.sources.synthetic import SyntheticSource
from tfrecords.write import write

STRATEGY = tf.distribute.get_strategy()
SIDES = 25, 11


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rectangles") / "data"
    write([SyntheticSource("identities", identities=12, images=4, cameras=2, size=32)], folder, shards=2)
    return str(folder)


def small(size, **changes):
    config = get_config()
    config.update({"steps": 2, "batch": 8, "checkpoint_every": 2, "log_every": 1, "size": size, "embedding": 8,
                   "schedule": "constant()", "backbone": "small_cnn(widths=(4, 4, 8), pool_last=False, blur=3)",
                   "neck": "mffm(widths=(4, 4, 8), fused=8)", "pooling": "parts(parts=3)", "distractors": (),
                   "query_camera": "1"})
    config.data.update({"train_split": "", "validation_split": "", "test_split": "", "holdout": 0.5,
                        "augment": ("flip()", "pad_crop(pixels=3)", "affine(rotate=0.3, shift=0.1)", "erase()")})
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def workdir(data, tmp_path_factory):
    """Of a finished run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run_train(data, folder, small(SIDES))
    return folder


def test_a_run_is_trained_judged_and_gone_on_with_and_by_no_other_size(data, workdir, capsys):
    assert json.loads((workdir / "evaluation.json").read_text())["queries"] > 0
    run_train(data, workdir, small(SIDES))
    assert "is finished: step 2 of 2" in capsys.readouterr().out
    for other in (25, (11, 25), (25, 12)):
        with pytest.raises(ValueError, match="config differs in `size`"):
            run_train(data, workdir, small(other))


@pytest.mark.slow
def test_the_exported_model_embeds_as_the_trained_one(data, workdir, tmp_path):
    run_train(data, workdir, small(SIDES), tmp_path)
    run = Run(stored_config(workdir), data, STRATEGY)       # its size is a list, as JSON has no pairs
    assert run.decoder.size == SIDES and run.app.info.shape == (*SIDES, 3)
    loop, rows = run.loop(str(workdir)), run.splits["test"].rows[:6]
    assert loop.restore() == 2
    images = run.images.load(rows)
    assert images.shape == (6, *SIDES, 3)
    with loop.averaged():
        wanted = run.app.embed(images).numpy()
    version = tmp_path / "vehicle_reid" / "1"
    signatures = tf.saved_model.load(str(version)).signatures
    np.testing.assert_allclose(signatures["embed"](image_bytes=tf.constant(run.records.images(rows)))["embedding"],
                               wanted, atol=1e-5)
    others = np.uint8(np.random.default_rng(0).integers(0, 255, (40, 70, 3)))       # of another shape
    answer = signatures["embed"](image_bytes=[tf.io.encode_png(others)])["embedding"].numpy()
    assert answer.shape == (1, wanted.shape[1]) and np.linalg.norm(answer) == pytest.approx(1, abs=1e-5)
    assert json.loads((version / "assets" / "config.json").read_text())["size"] == list(SIDES)


def test_one_number_and_equal_sides_are_the_same_images(data):
    run = Run(small_config(size=8), data, STRATEGY)
    assert run.images_of(8) is run.images_of((8, 8)) is run.images_of([8, 8])
    assert run.images_of((8, 4)).load(np.array([0])).shape == (1, 8, 4, 3)


def test_a_config_that_was_settled_keeps_its_size(data):
    config = small_config(size=8)
    run = Run(config, data, STRATEGY)
    config.size = (8, 4)
    assert run.config.size == 8


def test_a_padded_rectangle_keeps_the_aspect(data):
    config = small_config(size=(24, 12))
    config.data.fit = "pad"
    image = Run(config, data, STRATEGY).images.load(np.array([0]))[0]       # stored 32 x 32: in the middle 12 x 12
    assert np.ptp(image[:6], axis=(0, 1)).max() < 1e-5 and np.ptp(image[18:], axis=(0, 1)).max() < 1e-5
    assert np.ptp(image[6:18], axis=(0, 1)).max() > 0.05


def test_crops_of_stored_images_have_the_aspect_of_the_size(data):
    config = small_config(size=(24, 12))
    config.data.crop = "crop_resize(area=(0.1, 0.3), ratio=(1.0, 1.0))"
    run, seen = Run(config, data, STRATEGY), []
    boxes = run.crop.boxes
    run.crop.boxes = lambda *words: seen.append(words[-1]) or boxes(*words)
    batch = next(iter(run.batches(run.app.stages()[0]).dataset(0)))
    assert batch["image"].shape == (8, 24, 12, 3) and seen == [(24, 12)]


@pytest.mark.parametrize("backbone", ["small_cnn(widths=(4, 4, 4), blur=4)",
                                      "resnet(widths=(4, 4, 4), blocks=(1, 1, 1), blur=3, last_stride=1)",
                                      "resnet(widths=(4, 4, 4), blocks=(1, 1, 1), stem_stride=2)",
                                      "osnet(widths=(8, 8, 8, 8))"])
def test_networks_keep_height_and_width_apart(backbone):
    network = build("backbones", backbone, channels=1)
    images = tf.random.stateless_uniform([2, *SIDES, 1], [0, 0])
    maps, lying = network(images), network(tf.transpose(images, [0, 2, 1, 3]))
    for name, one in maps.items():
        assert one.shape[1] > one.shape[2] and lying[name].shape[1:3] == one.shape[2:0:-1]
    for neck in ("mffm(widths=(4, 4, 4), fused=4)", "multi_level(levels=3)", "last()"):
        found = build("necks", neck, pooling="parts(parts=3)")(maps).numpy()
        assert np.isfinite(found).all() and len(found) == 2 and np.ptp(found, axis=0).max() > 0
