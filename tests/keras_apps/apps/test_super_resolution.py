"""Super-resolution on little faces: which images, scales, terms, two stages and their fusion, judging, serving."""

import numpy as np
import pytest
import tensorflow as tf

from keras_apps import doctor
from keras_apps.apps.super_resolution import FUSIONS
from keras_apps.degradation import rounded
from keras_apps.enlarging import bicubic
from keras_apps.figures import remaining
from keras_apps.metrics import restoration
from keras_apps.run import Run
from tests.keras_apps.restored import faces, small_resolution, write_faces
from tests.tfrecords.drawn import Drawn
from tfrecords.write import write

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


def test_where_nobody_can_be_searched_images_are_taken_as_they_are(tmp_path):
    for name, words in {"one": {"persons": 1}, "single": {"persons": 12, "each": 1}}.items():
        folder = write_faces(tmp_path / name, **words)
        run = make(folder, recogniser_steps=0, optimizers={"recogniser": ""},
                   data={"train_identities": "", "holdout": 0.4})
        assert "gallery" not in run.splits and len(run.app.stages()) == 1
        assert "top1" not in run.app.evaluate(run.splits)


def test_of_one_held_out_person_closed_searches_tell_nothing(tmp_path):
    run = make(write_faces(tmp_path / "data", persons=3), data={"train_identities": "1-2"})
    found = run.app.evaluate(run.splits)
    assert "top1" in found and "top1_closed" not in found and found["chance_top1_closed"] == 1


def test_mostly_single_images_are_taken_as_they_are(tmp_path):
    """Two identities have two images, of which none is held out."""
    images = faces(persons=12, each=1)
    owners = ["1", "1", "2", "2", *(str(place) for place in range(3, 11))]
    write([Drawn(images, [{"identity": owner} for owner in owners])], tmp_path / "data", shards=2)
    run = make(tmp_path / "data", data={"train_identities": "", "holdout": 0.2}, recogniser_steps=0)
    assert len(run.names) == 1 and len(run.rows) + len(run.splits["test"].rows) == 12
    assert "gallery" not in run.splits and len(run.splits["test"].rows) > 0


def test_identities_of_one_image_leave_nothing_to_restore(tmp_path):
    folder = write_faces(tmp_path / "data", each=2)
    run = make(folder)
    assert len(run.splits["test"].rows) == 2
    images, columns = faces(3, 2), [{"identity": name} for name in ("1", "1", "2", "2", "3", "4")]
    write([Drawn(images, columns)], tmp_path / "single", shards=1)
    with pytest.raises(ValueError, match="is left to restore: of the held-out identities each gives one image"):
        make(tmp_path / "single", data={"train_identities": "1-2"})


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


def test_the_grid_has_a_row_for_every_way_and_no_search_that_cannot_fail(data):
    run = make(data)
    found = run.app.evaluate(run.splits)
    ways, = run.app.grids(found)
    header, rows = ways.cells(found)
    assert header == ["", "PSNR, dB", "SSIM", "top-1", "top-5", "top-1, closed", "AUC", "ms an image"], (
        "the gallery has 6 identities, 2 of them judged")
    assert [row[0] for row in rows] == ["image that was lost", "this model", "bicubic", "nearest pixel",
                                        "small image as it is"]
    assert rows[0][1] == "-" and rows[1][1] == f"{found['psnr']:.2f}" and rows[2][3] == f"{found['floor_top1']:.3f}"
    assert "of the gallery's 6 images of 6 identities" in ways.note and "of those 2 alone" in ways.note


def test_images_that_lose_their_shape_are_told(data):
    def told(**changes):
        run = make(data, **changes)
        return [note for note in run.app.probe(run.splits) if "stretched" in note]
    assert told(size=(20, 20)) == [
        "note: images of 24 x 16 (height x width, median) are stretched to 20 x 20, another shape; "
        "--config.size=\"(24, 16)\" keeps theirs."]
    assert told() == told(size=(20, 20), data={"fit": "pad"}) == []
    near = {"size": (32, 20), "scale": 4, "scales": (4,), "judged": (4,)}
    assert told(**near) == [], "of the multiples of 4 none is nearer to their shape"


def test_few_held_out_images_are_told_by_the_training_and_by_the_doctor(data):
    run = make(data)
    assert run.app.probe(run.splits) == ["note: 8 images are held out to judge by, of which figures say little; give "
                                         "more images, or hold back more of them (`data`: holdout, train_identities, "
                                         "test_split)."]
    assert doctor.Finding("warn", run.app.probe(run.splits)[0].removeprefix("note: ")) in doctor.examine(run)


def test_what_the_figures_come_to_is_said_in_words(data):
    run = make(data)
    text = run.app.about({**run.app.evaluate(run.splits), "images": 100, "psnr": 26.0, "floor_psnr": 25.0, "top1": 0.56,
                          "floor_top1": 0.4, "hr_top1": 0.9})
    assert text.startswith("Its images are 1.00 dB nearer to the lost ones than bicubic enlargements: the squared "
                           "error is about 21% smaller. Of 100 of them 56 find their own identity in the gallery; of "
                           "the bicubic ones 40, of the images that were lost 90.\n\n")
    worse = run.app.about({**run.app._found["figures"], "psnr": 23.0, "floor_psnr": 25.0})
    assert "2.00 dB farther from" in worse and "58% larger" in worse


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
    patches = tf.function(run.app._patches, autograph=False)(images, SEED).numpy()      # as a step has it
    assert patches.shape == (8, 16, 16, 3)
    places = []
    for image, patch in zip(images.numpy(), patches):
        corners = np.argwhere((image[:33, :17] == patch[0, 0]).all(axis=2))
        places += [(y, x) for y, x in corners.tolist() if (image[y:y + 16, x:x + 16] == patch).all()]
    assert len(places) >= 8 and len(set(places)) > 4, "each at a place of its own"


def test_one_network_is_judged_at_scales_it_was_never_trained_on(data):
    run = make(data, **SCALES, aware=True, weights={"guess": 0.1})
    found = run.app.evaluate(run.splits)
    for name in ("psnr", "ssim", "floor_psnr"):
        assert found[name] == pytest.approx(np.mean([found[f"{name}_x{scale}"] for scale in (2, 3, 4)]), abs=1e-6)
    assert found["floor_psnr_x2"] > found["floor_psnr_x3"] > found["floor_psnr_x4"]
    assert found["cross_rank1"] == found["cross_rank1_maps"], "no loss has trained the codes"
    assert 1 / 8 <= found["cross_rank1"] <= 1 and 0 <= found["guessed_scale"] <= 1
    low = run.app.lowered(run.splits["test"].load(), 3).numpy()
    made = restoration.eight_bits(run.app.restored(low, (48, 32), 3))
    assert found["psnr_x3"] == pytest.approx(restoration.psnr(made, run.splits["test"].load()), abs=1e-6)
    scales, ways, crossed = run.app.grids(found)
    assert [row[0] for row in crossed.cells(found)[1]] == ["mean of the maps", "code (none is trained: the maps)"]
    assert not {"cross_rank1", "cross_rank1_maps"} & {name for name, *_ in remaining(found, run.app.grids(found))}
    assert [row[0] for row in scales.cells(found)[1]] == ["x 2", "x 3", "x 4"]
    assert scales.cells(found)[1][1][1] == f"{found['psnr_x3']:.2f}" and "means over" in ways.note
    assert "scales" in run.app.pictures(run.splits)


# ---- two stages and their fusion

GAN = {"gan_share": 0.5, "steps": 4, "checkpoint_every": 5,
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
        assert found["psnr"] != found["psnr_fused_0"] != found["psnr_fused_100"]
        assert {f"psnr_fused_{percent}" for percent in FUSIONS} <= set(found)
        assert "fusion" in run.app.pictures(run.splits)
        run.app._fuse(1.0)
        for fused, old in zip(run.app.fused.variables, kept[0]):
            np.testing.assert_array_equal(fused, old)
    again = make(data, **GAN, fusion=0.25, recogniser_steps=1)
    again.loop(str(tmp_path)).restore()
    for restored, old in zip(again.app.before.variables, kept[0]):
        np.testing.assert_array_equal(restored, old)
    assert again.app.final() is again.app.fused


def test_until_the_critic_joins_the_restorer_itself_is_judged_and_served(data):
    run = make(data, **GAN, fusion=1.0)
    assert run.app.final() is run.app.restorer
    assert {id(v) for v in run.app.served()} == {id(v) for v in run.app.restorer.variables}
    play(run, run.loop(None), "pixel", 2, place=1)
    found = run.app.evaluate(run.splits)
    made = run.app.restored(run.app.lowered(run.splits["test"].load(), 2).numpy(), (24, 16), 2, run.app.restorer)
    assert found["psnr"] == pytest.approx(restoration.psnr(restoration.eight_bits(made), run.splits["test"].load()))
    assert "psnr_fused_0" not in found and "fusion" not in run.app.pictures(run.splits)


def test_a_loss_that_clips_the_critic_does(data):
    run = make(data, **{**GAN, "loss": "wasserstein(clip=0.01)"})
    assert max(np.abs(v.numpy()).max() for v in run.app.critic.trainable_variables) > 0.02
    play(run, run.loop(None), "critic")
    assert max(np.abs(v.numpy()).max() for v in run.app.critic.trainable_variables) == np.float32(0.01)
    assert max(np.abs(v.numpy()).max() for v in run.app.restorer.trainable_variables) > 0.02


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
    ({"judged": (2, 0.5)}, "a scale is 0.5 but must be a whole number from 2 to 16"),
    ({"scale": 3, "judged": (3,)}, r"`scale` is 3 but the trained scales are \(2,\)"),
    ({"contrastive": "contrastive()"}, r"`contrastive` is 'contrastive\(\)' and `weights.contrastive` 0.0 but it"),
    ({"weights": {"adversarial": 0.1}}, "`weights.adversarial` is 0.1 but `gan_share` is 0"),
    ({"weights": {"pixel": 0.0}}, "`weights` has neither pixel nor ssim above 0"),
    ({"weights": {"ssim": -1.0}}, "must not hold negative numbers"),
    ({"weights": {"style": 1.0}},
     "`weights.style` is no weight of `super_resolution` but `weights` must have exactly pixel, ssim"),
    ({"gan_share": 0.5, "loss": "wasserstein_gp()"}, "with batch norm but .* has a penalty on the slope"),
    ({"best": "psnr", "evaluate_every": 1, "data": {"validation": 0.5}}, "in which the recogniser learns"),
    ({"restorer": "sigan(widths=(8,), tail=8)", "size": (25, 16)}, r"makes multiples of `scale`, 2; use --config"),
    ({"restorer": "sigan(widths=(8,), tail=8)", "size": (32, 16), "judged": (2, 4)},
     r"and no others; use judged=\(2,\)"),
    ({"restorer": "sigan(widths=(8,), tail=8)", "size": 48, "scale": 4, "scales": (4,), "judged": (4,), "patch": 34},
     "makes multiples of `scale`, 4; use 32"),
    ({"scales": (1,)}, "a scale is 1 but must be a whole number from 2 to 16"),
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
