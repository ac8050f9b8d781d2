"""Super-resolution on little faces: which images, scales, terms, two stages and their fusion, judging, serving."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_apps.apps.super_resolution import FUSIONS
from keras_apps.degradation import rounded
from keras_apps.enlarging import bicubic
from keras_apps.metrics import restoration
from keras_apps.run import Run
from serving.client import Client, InvalidArgument
from tests.keras_apps.restored import faces, small_resolution, write_faces
from tests.keras_apps.runs import run_train
from tests.serving import toys

STRATEGY = tf.distribute.get_strategy()
SEED = tf.constant([3, 4])
SCALES = {"scales": (2, 4), "judged": (2, 3, 4), "size": (48, 32), "batch": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six persons of five images; persons 1-4 are trained on."""
    return write_faces(tmp_path_factory.mktemp("faces") / "data")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("large") / "data", size=(48, 32), channels=3, identities=False)


def make(folder, **changes):
    return Run(small_resolution(**changes), str(folder), STRATEGY)


def batch_of(run, place=-1):
    return next(iter(run.batches(run.app.stages()[place]).dataset(0)))


def play(run, loop, phase, times=1, place=-1):
    batch = batch_of(run, place)
    for _ in range(times):
        logs = loop.arithmetic.take(loop.stages[place], lambda: batch)
    return logs


# ---- which images

def test_the_gallery_holds_one_whole_image_of_everybody_and_the_others_of_strangers_ask(data):
    run = make(data)
    test, gallery = run.splits["test"], run.splits["gallery"]
    assert gallery.rows.tolist() == [0, 5, 10, 15, 20, 25], "the first image of each"
    assert test.rows.tolist() == [21, 22, 23, 24, 26, 27, 28, 29] and test.unseen
    assert {test.names[i] for i in test.identities} == {"5", "6"} and run.rows.tolist() == list(range(20))


def test_with_a_camera_that_ask_the_others_are_searched(tmp_path):
    folder = write_faces(tmp_path / "data", cameras=True)
    run = make(folder, query_camera="1")
    test, gallery = run.splits["test"], run.splits["gallery"]
    assert set(run.records.values("camera", test.rows)) == {"1"} and len(test.rows) == 6
    assert set(run.records.values("camera", gallery.rows)) == {"2"} and len(gallery.rows) == 12
    with pytest.raises(ValueError, match=r"`query_camera` is '3' but the data in .* have the cameras \['1', '2'\]"):
        make(folder, query_camera="3")


def test_images_without_identities_are_dealt_by_image_and_nobody_is_searched(large):
    run = make(large, size=(48, 32), data={"holdout": 0.3})
    assert "gallery" not in run.splits and run.app.recogniser is None and len(run.app.stages()) == 1
    found = run.app.evaluate(run.splits)
    assert "top1" not in found and found["psnr"] == pytest.approx(found["floor_psnr"], abs=0.2)
    assert not set(run.rows) & set(run.splits["test"].rows)
    with pytest.raises(ValueError, match="leave no image to judge by"):
        make(large, size=(48, 32))


def test_identities_of_one_image_leave_nothing_to_restore(tmp_path):
    folder = write_faces(tmp_path / "data", each=2)
    run = make(folder)
    assert len(run.splits["test"].rows) == 2
    single = write_faces(tmp_path / "single", each=1)
    with pytest.raises(ValueError, match="is left to restore: of the held-out identities each gives one image"):
        make(single, data={"train_identities": "1-4"})


# ---- judging

def test_figures_are_those_of_whole_images_on_eight_bits_and_floors_are_bicubic(data):
    run = make(data)
    found = run.app.evaluate(run.splits)
    high = run.splits["test"].load()
    low = rounded(bicubic(high, (12, 8)))
    plain = rounded(bicubic(low, (24, 16))).numpy()
    errors = np.square(plain - high).mean(axis=(1, 2, 3))
    assert found["floor_psnr"] == pytest.approx(np.mean(-10 * np.log10(errors)), abs=1e-4)
    assert found["floor_ssim"] == pytest.approx(float(tf.reduce_mean(tf.image.ssim(plain, high, 1.0))), abs=1e-5)
    assert found["psnr"] == pytest.approx(found["floor_psnr"], abs=0.2), "a new network adds next to nothing"
    assert (found["images"], found["gallery"], found["gallery_closed"]) == (8, 6, 2)
    assert found["chance_top1"] == pytest.approx(1 / 6) and found["unseen_identities"] == 1.0
    assert (found["low_height"], found["low_width"]) == (12, 8) and found["milliseconds"] > 0


def test_searches_are_of_the_restored_images_in_both_galleries(data, monkeypatch):
    run = make(data)
    gallery, test = run.splits["gallery"].load(), run.splits["test"]
    # The recogniser is one that knows only the two test persons' gallery images apart from all others.
    owner = {image.tobytes(): place for place, image in enumerate(gallery)}
    monkeypatch.setattr(run.app, "looked", lambda images: np.stack([np.eye(6, dtype=np.float32)[
        owner.get(image.tobytes(), 0)] + 1e-3 * np.arange(6) for image in images]))
    found = run.app.evaluate(run.splits)
    assert found["top1"] == 0.0, "all who ask look like person 1, a distractor"
    assert found["top1_closed"] == 0.5, "of the two test persons all look most like the last"
    assert found["top5"] >= found["top1"] and found["top10"] == 1.0
    assert {f"{row}top1" for row in ("", "hr_", "floor_", "nearest_", "lr_")} <= set(found)
    assert len(test.rows) == 8


def test_a_small_image_is_looked_at_as_the_recogniser_enlarges_it(data):
    run = make(data)
    recogniser = run.app.recogniser
    images = np.random.default_rng(0).random((3, 12, 8, 1)).astype(np.float32)
    own = tf.image.resize(images, (16, 16), antialias=True)
    np.testing.assert_allclose(run.app.looked(images), recogniser.network.look(own, True)[1], atol=1e-5)


def test_a_validation_split_alone_gives_what_best_needs(data):
    run = make(data)
    found = run.app.evaluate({"test": run.splits["test"]})
    assert set(found) == {"psnr", "ssim"}


def test_the_pictures_show_small_bicubic_restored_and_lost(data):
    run = make(data)
    run.app.evaluate(run.splits)
    pictures = run.app.pictures(run.splits)
    assert {"restored", "worst", "rows"} <= set(pictures) and {"restored", "worst", "rows"} <= set(run.app.captions)
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in pictures.values())
    figures, shown = run.app.follow(run.splits, 3)
    assert set(figures) == {"psnr", "ssim"} and set(shown) == {"restored"}
    assert run.app.follow(run.splits, 1) == ({}, {}), "the recogniser is still learning"


# ---- training

def test_the_first_steps_lower_the_error_and_leave_the_recogniser_alone(data):
    run = make(data, optimizers={"restorer": "adam(rate=1e-2)"})
    loop = run.loop(None)
    judge = [variable.numpy() for variable in run.app.recogniser.network.variables]
    first = play(run, loop, "pixel")["pixel/pixel"]
    last = play(run, loop, "pixel", 25)["pixel/pixel"]
    assert last < 0.93 * first
    for before, after in zip(judge, run.app.recogniser.network.variables):
        np.testing.assert_array_equal(before, after)
    assert [stage["name"] for stage in loop.stages] == ["recogniser", "pixel"]


def test_every_scale_of_a_step_counts_and_terms_are_those_with_a_weight(data):
    run = make(data, **SCALES, aware=True, contrastive="contrastive(margin=0.5, distance='cosine')",
               weights={"ssim": 0.1, "contrastive": 0.1, "guess": 0.1})
    terms, _ = run.app.losses("pixel", batch_of(run), SEED, 0)
    assert {name: values.shape[0] for name, values in terms.items()} == dict.fromkeys(
        ("pixel", "ssim", "contrastive", "guess"), 8)
    assert run.app.weights("pixel", 0) == {"pixel": 1.0, "ssim": 0.1, "contrastive": 0.1, "guess": 0.1}
    plain = make(data)
    assert set(plain.app.losses("pixel", batch_of(plain), SEED, 0)[0]) == {"pixel"}


def test_of_the_contrastive_term_the_same_are_two_scales_of_one_image(data, monkeypatch):
    run = make(data, **SCALES, contrastive="contrastive(margin=0.5, distance='cosine')", weights={"contrastive": 1.0})
    seen = []
    monkeypatch.setattr(run.app, "contrastive", lambda codes, labels: seen.append((codes, labels)) or labels)
    batch = batch_of(run)
    run.app.losses("pixel", batch, SEED, 0)
    (codes, labels), = seen
    assert labels.numpy().tolist() == 2 * batch["index"].numpy().tolist() and codes.shape == [8, 4]


def test_patches_are_parts_of_the_images(large):
    run = make(large, size=(48, 32), patch=16, scales=(2,), data={"holdout": 0.3})
    images = batch_of(run)["image"]
    patches = run.app._patches(images, SEED).numpy()
    assert patches.shape == (8, 16, 16, 3)
    found = np.argwhere((images.numpy()[0] == patches[0, 0, 0]).all(axis=2))
    assert any((images.numpy()[0, y:y + 16, x:x + 16] == patches[0]).all() for y, x in found if y < 33 and x < 17)


def test_one_network_is_judged_at_scales_it_was_never_trained_on(data):
    run = make(data, **SCALES, aware=True, weights={"guess": 0.1})
    found = run.app.evaluate(run.splits)
    for name in ("psnr", "ssim", "floor_psnr"):
        assert found[name] == pytest.approx(np.mean([found[f"{name}_x{scale}"] for scale in (2, 3, 4)]), abs=1e-6)
    assert found["floor_psnr_x2"] > found["floor_psnr_x3"] > found["floor_psnr_x4"]
    assert 0 <= found["cross_rank1"] <= 1 and 0 <= found["guessed_scale"] <= 1


# ---- two stages and their fusion

GAN = {"gan_share": 0.5, "steps": 4, "checkpoint_every": 5, "measure_perceptual": True,
       "weights": {"adversarial": 0.01, "perceptual": 0.1}, "optimizers": {"critic": "adam(rate=1e-2)"}}


def test_the_weights_of_before_the_critic_are_kept_and_fused_and_restored(data, tmp_path):
    run = make(data, **GAN, fusion=0.25, recogniser_steps=1)
    loop = run.loop(str(tmp_path))
    kept = []
    between = run.app.between

    def watched(stage, round, batches):
        found = between(stage, round, batches)
        if stage == "adversarial":
            kept.append([variable.numpy() for variable in run.app.restorer.variables])
        return found
    run.app.between = watched
    loop.run()
    assert [(stage["name"], stage["steps"], stage["phases"]) for stage in loop.stages][1:] == [
        ("pixel", 2, {"pixel": 1}), ("adversarial", 2, {"critic": 1, "generator": 1})]
    with loop.averaged():
        final = run.app.final()
        moved = 0
        for fused, before, old, after in zip(final.variables, run.app.before.variables, kept[0],
                                             run.app.restorer.variables):
            np.testing.assert_array_equal(before, old)
            np.testing.assert_allclose(fused, 0.25 * old + 0.75 * after.numpy(), atol=1e-6)
            moved += np.abs(after.numpy() - old).max() > 0
        assert moved > 3
        found = run.app.evaluate(run.splits)
        assert {f"psnr_fused_{percent}" for percent in FUSIONS} <= set(found)
        assert "fusion" in run.app.pictures(run.splits)
        run.app._fuse(1.0)
        for fused, old in zip(run.app.fused.variables, kept[0]):
            np.testing.assert_array_equal(fused, old)
    again = make(data, **GAN, fusion=0.25, recogniser_steps=1)
    again.loop(str(tmp_path)).restore()
    for restored, old in zip(again.app.before.variables, kept[0]):
        np.testing.assert_array_equal(restored, old)


def test_the_critic_learns_from_the_critic_phase_alone(data):
    run = make(data, **GAN)
    stage = run.app.stages()[-1]
    critic = {id(variable) for variable in run.app.critic.variables}
    for phase, owns in (("critic", True), ("generator", False)):
        members = [v for group in run.app.variables(stage["name"], phase).values() for v in group]
        assert all((id(v) in critic) == owns for v in members)
    encoder = {id(variable) for variable in run.app.encoder.network.variables}
    assert not encoder & {id(v) for v in run.app.variables(stage["name"], "generator")["restorer"]}


def test_the_encoder_of_the_perceptual_loss_is_not_the_one_that_judges(data):
    run = make(data, **GAN)
    assert run.app.encoder is not run.app.recogniser
    one, other = ({id(v) for v in part.network.variables} for part in (run.app.encoder, run.app.recogniser))
    assert not one & other
    terms, _ = run.app.losses("recogniser", batch_of(run, 0), SEED, 0)
    assert set(terms) == {"recogniser", "encoder"} == set(run.app.weights("recogniser", 0))


# ---- what is refused

@pytest.mark.parametrize("changes, message", [
    ({"judged": (3,)}, r"`judged` is \(3,\) but must hold `scale`, 2"),
    ({"scales": (1,)}, "a scale is 1 but must lie above 1"),
    ({"scales": (2, 12), "judged": (2,)}, "so that the small image would be below 4 pixels"),
    ({"gan_share": 1.0}, "`gan_share` is 1.0"),
    ({"fusion": 1.5}, "`fusion` 1.5"),
    ({"patch": 20}, "`patch` is 20 but must be at most the images' 16 pixels and at least 16"),
    ({"ensemble": 3}, "`ensemble` is 3"),
    ({"reduction": "nearest"}, "`reduction` is 'nearest'"),
    ({"init": "somewhere"}, "a restorer begins with no other run's encoder"),
    ({"recogniser": "/nowhere"}, "/nowhere holds no config.json"),
    ({"recogniser_steps": -1}, "`recogniser_steps` is -1"),
])
def test_what_cannot_be_trained_is_refused(data, changes, message):
    with pytest.raises(ValueError, match=message):
        make(data, **changes)


# ---- from training to a served model

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
    assert "24 x 16" in card and "no evidence of who somebody is" in card and "| psnr |" in card


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
    with pytest.raises(tf.errors.InvalidArgumentError, match="`scale` must hold one number an image"):
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
