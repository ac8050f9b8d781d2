"""Image generation on handwritten digits: what moves in which phase, growing, conditions, judging, restart, serving."""

import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.apps import image_generation
from keras_apps.configs.image_generation import ring
from keras_apps.layers.spectral_conv import SpectralConvLayer
from keras_apps.run import Run, stored_config
from tests.keras_apps.fakes import digits, small_generation, write_digits
from tests.keras_apps.runs import run_evaluate, run_train
from tests.tfrecords.drawn import Drawn
from tfrecords.sources.ring import RingSource
from tfrecords.write import write

STRATEGY = tf.distribute.get_strategy()
SEED = tf.constant([3, 4])
PROGRESSIVE = {"size": 16, "generator": "progressive(width=4, most=8)", "critic": "progressive(width=4, most=8)",
               "loss": "wasserstein_gp(drift=1e-3)"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits") / "data")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Digits of 16 pixels without labels."""
    return write_digits(tmp_path_factory.mktemp("large") / "data", labels=False, size=16)


def make(folder, **changes):
    return Run(small_generation(**changes), folder, STRATEGY)


@pytest.fixture(scope="module")
def plain(data):
    """A run whose weights no test moves."""
    return make(data)


def batch_of(run, name="images"):
    """A batch of the first stage whose name begins so."""
    stage = next(stage for stage in run.app.stages() if stage["name"].startswith(name))
    return next(iter(run.batches(stage).dataset(0)))


def play(run, loop, batch, phase, times=1):
    """Steps of one phase on one batch."""
    name = "encoder" if phase == "encoder" else "images"
    stage = next(stage for stage in loop.stages if stage["name"].startswith(name))
    for _ in range(times):
        logs = loop.arithmetic.take({**stage, "phases": {phase: 1}}, lambda: batch)
    return logs


def values(*networks):
    return [variable.numpy() for network in networks for variable in network.trainable_variables]


def same(one, two):
    return all((first == second).all() for first, second in zip(one, two, strict=True))


def loss_of(run, batch, phase, name=""):
    terms, _ = run.app.losses(phase, batch, SEED, tf.constant(0, tf.int64))
    return float(tf.reduce_mean(terms[name or phase]))


# ---- training

def test_each_phase_moves_its_own_network_and_lowers_its_own_loss(data):
    rates = dict.fromkeys(("generator", "critic", "encoder"), "adam(rate=3e-3, beta_1=0.5)")
    run = make(data, optimizers=rates)
    app, loop, batch = run.app, run.loop(None), batch_of(run)
    networks = {"generator": (app.generator,), "critic": (app.critic,), "encoder": (app.encoder, app.head)}
    for phase in ("encoder", "critic", "generator"):
        own = batch_of(run, "encoder") if phase == "encoder" else batch
        before = {name: values(*members) for name, members in networks.items()}
        first = loss_of(run, own, phase)
        play(run, loop, own, phase, 12)
        assert loss_of(run, own, phase) < first - 0.02, phase
        for name, members in networks.items():
            assert same(values(*members), before[name]) == (name != phase), f"{name} in phase {phase}"
    scores, _ = app.losses("critic", batch, SEED, tf.constant(0, tf.int64))
    play(run, loop, batch, "critic", 12)
    after, _ = app.losses("critic", batch, SEED, tf.constant(0, tf.int64))

    def gap(terms):
        return float(tf.reduce_mean(terms["real_score"]) - tf.reduce_mean(terms["fake_score"]))
    assert gap(after) > gap(scores), "a critic that learns scores real images higher"


@pytest.mark.parametrize("loss, critic, more", [
    ("logistic()", "dcgan(width=4)", set()), ("least_squares()", "dcgan(width=4, norm='none')", set()),
    ("hinge()", "dcgan(width=4, norm='spectral')", set()), ("wasserstein()", "dcgan(width=4)", set()),
    ("wasserstein_gp(weight=10.0)", "dcgan(width=4, norm='layer')", {"penalty"}),
])
def test_every_family_has_its_terms_and_trains_on_all_but_the_scores(data, loss, critic, more):
    run = make(data, loss=loss, critic=critic)
    batch = batch_of(run)
    for phase, names in (("critic", {"critic"} | more), ("generator", {"generator"})):
        terms, _ = run.app.losses(phase, batch, SEED, tf.constant(0, tf.int64))
        assert set(run.app.weights(phase, 0)) == names and set(run.app.weights(phase, 0).values()) == {1.0}
        assert set(terms) == names | {"fake_score"} | ({"real_score"} if phase == "critic" else set())
        assert all(term.shape == (16,) and np.isfinite(term).all() for term in terms.values())
    assert "penalty" not in more or (terms := run.app.losses("critic", batch, SEED, 0)[0])["penalty"].numpy().min() >= 0


def test_the_terms_are_those_of_the_loss_on_the_scores(plain):
    app, batch = plain.app, batch_of(plain)
    terms, _ = app.losses("critic", batch, SEED, tf.constant(0, tf.int64))
    np.testing.assert_allclose(terms["critic"], app.loss.critic(terms["real_score"], terms["fake_score"]))
    terms, _ = app.losses("generator", batch, SEED, tf.constant(0, tf.int64))
    np.testing.assert_allclose(terms["generator"], app.loss.generator(terms["fake_score"]))


def test_fakes_hang_on_the_seed_that_the_loop_gives(plain):
    batch = batch_of(plain)
    one, two, other = (plain.app.losses("generator", batch, seed, 0)[0]["fake_score"].numpy()
                       for seed in (SEED, SEED, SEED + 1))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0


def test_clipped_weights_stay_inside_after_every_critic_step(data):
    run = make(data, loss="wasserstein(clip=0.01)", optimizers=dict.fromkeys(("generator", "critic"),
                                                                            "rmsprop(rate=0.02)"))
    loop, batch, generator = run.loop(None), batch_of(run), values(run.app.generator)
    assert max(np.abs(value).max() for value in values(run.app.critic)) > 0.02
    for _ in range(2):
        play(run, loop, batch, "critic")
        assert max(np.abs(value).max() for value in values(run.app.critic)) == np.float32(0.01)
    assert same(values(run.app.generator), generator)
    play(run, loop, batch, "generator")
    assert max(np.abs(value).max() for value in values(run.app.generator)) > 0.02, "nothing else is clipped"


@pytest.mark.slow
def test_clipped_weights_are_clipped_on_all_replicas(data):
    program = textwrap.dedent(f"""
        import numpy as np, tensorflow as tf
        from keras_apps.run import Run
        from keras_apps.strategy import make_strategy
        from tests.keras_apps.fakes import small_generation
        strategy = make_strategy("mirrored", 2)
        config = small_generation(loss="wasserstein(clip=0.01)", steps=5, encoder_steps=0, critic_steps=2)
        del config.optimizers.encoder
        run = Run(config, {data!r}, strategy)
        run.loop(None).run()
        for variable in run.app.critic.trainable_variables:
            one, two = (part.numpy() for part in strategy.experimental_local_results(variable))
            assert np.array_equal(one, two) and np.abs(one).max() <= np.float32(0.01), variable.name
        print("clipped", strategy.num_replicas_in_sync)
        """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["clipped", "2"], done.stderr[-2000:]


def test_the_penalty_on_the_slope_at_real_images_is_added_where_it_is_asked_for(data):
    run = make(data, r1=8.0, critic="dcgan(width=4, norm='none')")
    batch = batch_of(run)
    assert set(run.app.weights("critic", 0)) == {"critic", "r1"} and set(run.app.weights("generator", 0)) == {
        "generator"}
    terms, _ = run.app.losses("critic", batch, SEED, tf.constant(0, tf.int64))
    with tf.GradientTape() as tape:
        tape.watch(batch["image"])
        scores = run.app.critic(batch["image"], 0, 1.0, training=True)
    slope = tape.gradient(scores, batch["image"])
    np.testing.assert_allclose(terms["r1"], 4 * tf.reduce_sum(slope ** 2, (1, 2, 3)), rtol=1e-4)
    play(run, run.loop(None), batch, "critic")


def test_the_critic_sees_all_images_through_the_augmentation_and_the_generator_learns_through_it(data):
    run = make(data, diff_augment=("jitter(brightness=0.4, contrast=0.0, saturation=0.0)",))
    batch = batch_of(run)
    seen = []
    score = run.app.critic.call
    run.app.critic.call = lambda images, *words, **more: seen.append(images.numpy()) or score(images, *words, **more)
    run.app.losses("critic", batch, SEED, tf.constant(0, tf.int64))
    run.app.losses("generator", batch, SEED, tf.constant(0, tf.int64))
    plain = batch["image"].numpy()
    assert len(seen) == 3 and (np.abs(seen[0] - plain).max(axis=(1, 2, 3)) > 1e-3).mean() > 0.8
    run.app.critic.call = score
    with tf.GradientTape() as tape:
        terms, _ = run.app.losses("generator", batch, SEED, tf.constant(0, tf.int64))
        loss = tf.reduce_sum(terms["generator"])
    slopes = tape.gradient(loss, run.app.generator.trainable_variables)
    assert all(slope is not None and np.abs(slope).max() > 0 for slope in slopes)
    play(run, run.loop(None), batch, "critic")


# ---- growing

def test_a_growing_generator_has_a_stage_a_size_and_the_last_has_two_shares(large):
    run = make(large, **PROGRESSIVE, steps=42, encoder_steps=2, critic_steps=3)
    found = [(stage["name"], stage["steps"], stage["size"]) for stage in run.app.stages()]
    assert found == [("encoder", 2, (16, 16)), ("images_4", 10, (4, 4)), ("images_8", 10, (8, 8)),
                     ("images_16", 20, (16, 16))]
    assert all(stage["phases"] == {"critic": 3, "generator": 1} for stage in run.app.stages()[1:])
    assert sum(stage["steps"] for stage in make(large, **PROGRESSIVE, steps=41, encoder_steps=0).app.stages()) == 41


def test_new_layers_are_faded_in_over_their_share_of_the_stage(large):
    app = make(large, **PROGRESSIVE, steps=42, encoder_steps=2, fade=0.5).app

    def fades(stage, steps):
        return [float(app._fade(stage, tf.constant(step, tf.int64))) for step in steps]
    assert fades(0, range(2, 12)) == [1.0] * 10, "nothing is older than the first"
    np.testing.assert_allclose(fades(1, range(12, 22)), [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(fades(2, range(22, 42)), np.r_[np.arange(0, 1, 0.1), np.ones(10)], atol=1e-6)
    assert set(fades(1, range(12, 22)) + fades(2, (22, 30))) != {1.0}
    without = make(large, **PROGRESSIVE, steps=42, encoder_steps=2, fade=0.0).app
    assert float(without._fade(2, tf.constant(22, tf.int64))) == 1.0


def test_real_images_are_blurred_as_long_as_the_new_layers_are_faded_out():
    images = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(image_generation._faded(images, 1.0), images, atol=1e-7)
    blurred = image_generation._faded(images, 0.0).numpy()
    np.testing.assert_allclose(blurred[:, ::2, ::2], blurred[:, 1::2, 1::2])
    np.testing.assert_allclose(blurred[:, ::2, ::2], images.reshape(3, 4, 2, 4, 2, 1).mean(axis=(2, 4)), atol=1e-6)
    np.testing.assert_allclose(image_generation._faded(images, 0.25), 0.75 * blurred + 0.25 * images, atol=1e-6)


def test_every_stage_of_a_growing_generator_has_batches_of_its_size(large):
    run = make(large, **PROGRESSIVE, steps=10, encoder_steps=2)
    for side in (4, 8, 16):
        batch = batch_of(run, f"images_{side}")
        assert batch["image"].shape == (16, side, side, 1)
        for phase in ("critic", "generator"):
            terms, _ = run.app.losses(phase, batch, SEED, tf.constant(4, tf.int64))
            assert all(np.isfinite(term).all() for term in terms.values())


@pytest.mark.slow
def test_a_growing_generator_is_trained_through_all_stages(large):
    rows = []
    run = make(large, **PROGRESSIVE, steps=10, encoder_steps=2)
    loop = run.loop(None, [lambda loop, logs: rows.append(logs)])
    first = values(run.app.generator)
    assert loop.run() == "finished" and len(rows) == 10
    assert sum((one != two).any() for one, two in zip(first, values(run.app.generator))) > 0.9 * len(first)
    images, _ = run.app.drawn(0, 5)
    assert images.shape == (5, 16, 16, 1) and np.isfinite(images).all()
    found = run.app.evaluate(run.splits)
    assert np.isfinite(list(found.values())).all()


# ---- images of a wanted class

@pytest.fixture(scope="module")
def conditional(data):
    return make(data, conditional=True)


def test_the_class_is_told_to_both_and_changes_what_they_make_of_it(conditional):
    app = conditional.app
    assert app.conditions == 10 and app.generator.project.kernel.shape[0] == 8 + 10
    seeds = tf.zeros([10], tf.int64)
    images = app.generate(seeds, tf.range(10)).numpy()
    assert len({image.tobytes() for image in images}) == 10, "one seed, ten classes, ten images"
    np.testing.assert_array_equal(app._told(tf.zeros([2, 8]), tf.constant([3, 7]))[:, 8:], np.eye(10)[[3, 7]])
    shown = app._shown(tf.zeros([2, 8, 8, 1]), tf.constant([3, 7])).numpy()
    assert shown.shape == (2, 8, 8, 11)
    np.testing.assert_array_equal(shown[..., 1:], np.broadcast_to(np.eye(10)[[3, 7]][:, None, None], (2, 8, 8, 10)))
    batch = batch_of(conditional)
    moved = {**batch, "label": (batch["label"] + 1) % 10}
    for phase in ("critic", "generator"):
        one, two = (app.losses(phase, given, SEED, 0)[0][phase].numpy() for given in (batch, moved))
        assert np.abs(one - two).max() > 0, phase


def test_classes_come_in_turn_and_stand_in_the_columns_of_the_sheet(conditional):
    app = conditional.app
    images, labels = app.drawn(7, 25)
    assert labels.tolist() == [(7 + place) % 10 for place in range(25)] and images.shape == (25, 8, 8, 1)
    sheet = app._sheet()
    zoom = sheet.shape[1] // (10 * 9 + 1)
    assert sheet.shape == ((8 * 9 + 1) * zoom, (10 * 9 + 1) * zoom, 3)
    small = sheet[::zoom, ::zoom]
    for seed, label in ((0, 3), (5, 9), (7, 0)):
        own = app.generate(tf.constant([seed], tf.int64), tf.constant([label])).numpy()[0, ..., 0]
        cell = small[9 * seed + 1:9 * seed + 9, 9 * label + 1:9 * label + 9, 0]
        np.testing.assert_allclose(cell, own * 255, atol=0.51)


def test_conditional_signatures_ask_for_the_label(conditional):
    found = conditional.app.signatures()
    assert all(set(entry["inputs"]) == {"seed", "label"} for entry in found.values())
    assert conditional.app.requests()["generate"] == {"seed": [0], "label": [0]}
    seeds = tf.constant([4, 4], tf.int64)
    numbers = found["generate_tensor"]["function"](seed=seeds, label=tf.constant([2, 3]))["image_tensor"]
    np.testing.assert_allclose(numbers, conditional.app.generate(seeds, tf.constant([2, 3])) * 255, atol=1e-3)
    for labels, told in (([2, 10], "`label` must lie in 0 to 9, the classes in"), ([-1, 2], "`label` must lie in 0 to"),
                         ([2], "`label` must hold as many numbers as `seed`")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            found["generate_tensor"]["function"](seed=seeds, label=tf.constant(labels))


def test_a_request_is_bounded(plain, monkeypatch):
    found = plain.app.signatures()["generate"]["function"]
    monkeypatch.setattr(plain.app, "generate", lambda seed, label: tf.zeros([tf.size(seed), 8, 8, 1]))
    assert found(seed=tf.range(1024, dtype=tf.int64))["image_bytes"].shape == (1024,)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`seed` has 1025 numbers but at most 1024 images are"):
        found(seed=tf.range(1025, dtype=tf.int64))


# ---- images of a seed

def test_the_images_of_a_seed_do_not_depend_on_those_beside_them(plain):
    app = plain.app
    many, labels = app.drawn(0, 300)
    assert many.shape == (300, 8, 8, 1) and labels.tolist() == [0] * 300
    np.testing.assert_array_equal(np.round(many * 255), many * 255)
    assert len({image.tobytes() for image in many}) == 300
    for first, count in ((0, 1), (7, 5), (250, 50), (299, 1)):
        np.testing.assert_array_equal(app.drawn(first, count)[0], many[first:first + count])
    np.testing.assert_allclose(app.generate(tf.constant([41], tf.int64))[0], many[41], atol=0.51 / 255)
    latents = app.latents(tf.range(2000, dtype=tf.int64)).numpy()
    assert latents.mean() == pytest.approx(0, abs=0.03) and latents.std() == pytest.approx(1, abs=0.03)
    assert np.abs(np.corrcoef(latents.T) - np.eye(8)).max() < 0.1


def test_an_arc_between_latents_keeps_their_length():
    first, last = np.array([3.0, 0, 0]), np.array([0, 3.0, 0])
    arc = image_generation._arc(first, last, np.linspace(0, 1, 5))
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), 3)
    np.testing.assert_allclose(arc[[0, 2, 4]], [first, [3 / 2 ** 0.5, 3 / 2 ** 0.5, 0], last], atol=1e-12)
    np.testing.assert_allclose(image_generation._arc(first, first, np.array([0.0, 0.5])), [first, first])


# ---- judging

JUDGED = {"frechet", "precision", "recall"}
COVERED = {"classes_covered", "least_class_share"}


def test_unlabelled_images_are_judged_by_an_encoder_that_tells_turns(large):
    run = make(large, samples=100)
    app = run.app
    assert app.turned and app.head.logits(np.zeros([2, 8], np.float32)).shape == (2, 4) and run.names == ["image"]
    batch = batch_of(run, "encoder")
    assert np.isfinite(app.losses("encoder", batch, SEED, 0)[0]["encoder"]).all()
    found = app.evaluate(run.splits)
    assert set(found) == JUDGED | {f"floor_{name}" for name in JUDGED} | {"frechet_real", "images", "real_images",
                                                                                    "encoder_steps"}
    assert np.isfinite(list(found.values())).all() and found["images"] == 100


def test_the_floor_is_a_gaussian_of_the_pixels():
    images = np.clip(np.random.default_rng(0).normal(0.5, 0.1, (500, 4, 4, 1)), 0, 1).astype(np.float32)
    images[:, 0] = images[:, 1]
    drawn = image_generation._gaussian(images, 3000)
    assert drawn.shape == (3000, 4, 4, 1) and drawn.dtype == np.float32 and 0 <= drawn.min() and drawn.max() <= 1
    np.testing.assert_allclose(drawn.mean(0), images.mean(0), atol=0.02)
    np.testing.assert_allclose(drawn.std(0), images.std(0), atol=0.02)
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 1], atol=2e-3)


def test_a_generator_that_gives_real_images_is_judged_as_good_as_they_are_and_one_image_is_not(data, monkeypatch):
    run = make(data, samples=200)
    app = run.app
    shown = run.splits["train"].spread(200).load()
    floor = app.evaluate(run.splits)
    monkeypatch.setattr(app, "drawn", lambda first, count: (shown[:count], None))
    found = app.evaluate(run.splits)
    assert found["frechet"] < 1e-6 and found["precision"] == found["recall"] == 1.0
    assert found["floor_frechet"] == pytest.approx(floor["floor_frechet"]) and floor["frechet"] > found["frechet"]
    monkeypatch.setattr(app, "drawn", lambda first, count: (np.repeat(shown[:1], count, 0), None))
    found = app.evaluate(run.splits)
    assert found["recall"] < 0.05 and found["classes_covered"] == 1 and found["least_class_share"] == 0
    monkeypatch.setattr(app, "drawn", lambda first, count: (np.full_like(shown, np.nan), None))
    with pytest.raises(ValueError, match="the generator's images are not finite; use a lower rate"):
        app.evaluate(run.splits)


def test_without_an_encoder_pixels_are_compared_and_classes_are_those_of_the_nearest_mean(data):
    run = make(data, encoder_steps=0, samples=200)
    app = run.app
    assert app.encoder is None and [stage["name"] for stage in app.stages()] == ["images_8"]
    shown = run.splits["train"].spread(200)
    app.drawn = lambda first, count: (shown.load()[:count], None)
    found = app.evaluate(run.splits)
    assert found["classes_covered"] == 10 and found["precision"] == 1.0 and found["encoder_steps"] == 0
    shares = np.bincount(shown.identities, minlength=10) / 200
    # A class's own points reach but for 1.1 % of them, and some lie nearer to another's mean.
    assert shares.min() - 0.02 < found["least_class_share"] <= shares.min()
    assert "encoder_accuracy" not in found and found["frechet_real"] > 0
    app.drawn = lambda first, count: (1 - shown.load()[:count], None)
    assert app.evaluate(run.splits)["classes_covered"] == 0


def test_the_accuracy_of_the_encoder_counts_images_of_trained_classes_only(tmp_path):
    """Unseen images without a label, or of a class that none was trained on, tell nothing of the judge."""
    images, labels = digits()
    chosen = np.flatnonzero(labels < 4)[:160]
    columns = [{"split": "train" if place < 100 else "test", **({} if place >= 140 else {"label": int(label)})}
               for place, label in enumerate(labels[chosen])]
    for place in range(100, 120):
        columns[place]["label"] = 9
    write([Drawn(images[chosen], columns)], tmp_path / "data")
    run = make(str(tmp_path / "data"), data={"train_split": "train", "test_split": "test"}, encoder_steps=1)
    app, test = run.app, run.splits["test"]
    assert run.names == ["0", "1", "2", "3"] and len(test.rows) == 60
    truth = dict(zip(chosen.tolist(), labels[chosen]))
    looks = iter([None])
    encode = app.encode

    def perfect(images):
        features, _ = encode(images)
        if len(images) == 60:       # the unseen ones: right wherever there is something to be right about
            next(looks)
            return features, np.array([truth[row] for row in chosen[100:160]])
        return features, np.zeros(len(images), int)
    app.encode = perfect
    assert app.evaluate(run.splits)["encoder_accuracy"] == 1.0


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A finished run that was looked at on the way and exported."""
    folder = tmp_path_factory.mktemp("run")
    config = small_generation(checkpoint_every=3, follow_every=2)
    run_train(data, folder / "run", config, str(folder / "models"))
    return folder


def test_a_run_leaves_figures_floors_pictures_and_a_page(trained):
    workdir = trained / "run"
    found = json.loads((workdir / "evaluation.json").read_text())
    keys = JUDGED | COVERED
    assert all(np.isfinite(found[key]) and np.isfinite(found[f"floor_{key}"]) for key in keys)
    for key in ("precision", "recall", "least_class_share", "encoder_accuracy", "floor_precision"):
        assert 0 <= found[key] <= 1, key
    assert found["frechet"] > 0 and found["frechet_real"] > 0 and found["images"] == 100 and found["step"] == 6
    assert found["floor"] == "a Gaussian of the pixels" and 0 <= found["classes_covered"] <= 10
    assert sorted(path.stem for path in (workdir / "pictures").iterdir()) == ["interpolations", "nearest", "samples"]
    page = (workdir / "report.html").read_text()
    assert "none was picked" in page and "A generator of the family dcgan" in page
    assert "has not learnt its images" in page, "after four steps it has not"
    logs = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [sorted(name.partition("/")[0] for name in row if name.endswith("/loss")) for row in logs] == [
        ["encoder"]] * 2 + [["critic", "generator"]] * 4


def test_the_encoder_stands_still_after_its_stage(trained):
    """Runs with one seed on the same data have the same judge, whatever they are a judge of."""
    names = {}
    for step in (3, 6):
        reader = tf.train.load_checkpoint(str(trained / "run" / "checkpoints" / f"ckpt-{step}"))
        names[step] = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
                       if name.startswith(("app/encoder", "app/head", "app/generator"))}
    moved = {name.split("/")[1] for name in names[3] if (names[3][name] != names[6][name]).any()}
    assert moved == {"generator"} and any(name.startswith("app/encoder") for name in names[3])


def test_a_restart_goes_on_with_the_same_step_and_comes_to_the_same_weights(trained, data, tmp_path):
    shutil.copytree(trained / "run" / "checkpoints", tmp_path / "checkpoints")
    for path in (tmp_path / "checkpoints").glob("ckpt-6*"):
        path.unlink()
    run = Run(stored_config(trained / "run"), data, STRATEGY)
    steps = []
    loop = run.loop(str(tmp_path), [lambda loop, logs: steps.append(loop.position())])
    assert loop.restore() == 3
    loop.run()
    assert steps == [4, 5, 6]
    whole, resumed = (tf.train.load_checkpoint(str(folder / "checkpoints" / "ckpt-6"))
                      for folder in (trained / "run", tmp_path))
    names = [name for name in whole.get_variable_to_shape_map() if "save_counter" not in name]
    assert len(names) > 40
    before, moved = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "ckpt-3")), 0
    for name in names:
        one, two = whole.get_tensor(name), resumed.get_tensor(name)
        if not isinstance(one, bytes):
            # But for the last bits, in which sums over threads differ.
            np.testing.assert_allclose(two, one, rtol=0, atol=1e-5, err_msg=name)
            moved += np.abs(one - before.get_tensor(name)).max() > 1e-4
    assert moved > 10, "a step more or less would show"


@pytest.mark.slow
def test_evaluate_repeats_the_figures(trained, data, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    before = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    (tmp_path / "run" / "evaluation.json").unlink()
    run_evaluate(data, tmp_path / "run")
    after = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert set(before) == set(after)
    for key in JUDGED | COVERED | {"frechet_real", "floor_frechet", "encoder_accuracy"}:
        assert after[key] == pytest.approx(before[key], rel=1e-3), key


def test_the_exported_generator_answers_with_the_images_of_the_live_one(trained, data):
    version = trained / "models" / "image_generation" / "1"
    loaded = tf.saved_model.load(str(version))
    run = Run(stored_config(trained / "run"), data, STRATEGY)
    loop = run.loop(str(trained / "run"))
    loop.restore(training=False)
    with loop.averaged():
        live, _ = run.app.drawn(0, 12)
        made = run.app.generate(tf.range(12, dtype=tf.int64)).numpy()
    assert np.abs(live - run.app.drawn(0, 12)[0]).max() > 0, "else the averages are not told apart here"
    seeds = np.arange(12)
    served = loaded.signatures["generate"](seed=seeds)["image_bytes"].numpy()
    assert served.tolist() == [tf.io.encode_png(np.uint8(np.round(image * 255))).numpy() for image in live]
    np.testing.assert_array_equal(np.stack([tf.io.decode_png(data).numpy() for data in served]), np.round(live * 255))
    assert loaded.signatures["generate"](seed=seeds[4:5])["image_bytes"].numpy().tolist() == served[4:5].tolist()
    numbers = loaded.signatures["generate_tensor"](seed=seeds)["image_tensor"].numpy()
    np.testing.assert_allclose(numbers, made * 255, atol=1e-3)
    assert sorted(set(loaded.signatures) - {"serving_default"}) == ["generate", "generate_tensor"]
    assert not (version / "assets" / "monitoring.json").exists(), "what is made of noise is compared with nothing"
    card = (version / "assets" / "model_card.md").read_text()
    assert "`dcgan(width=8)` against `dcgan(width=8)` with `logistic()`" in card and "show nobody" in card
    warm = (version / "assets.extra" / "tf_serving_warmup_requests").stat().st_size
    assert warm > 0 and not any("critic" in name for name, _ in tf.train.list_variables(str(version / "variables" /
                                                                                           "variables")))


# ---- points

def points(**changes):
    config = ring.get_config()
    config.update({"steps": 6, "batch": 32, "checkpoint_every": 6, "samples": 200, "follow_every": 3, "log_every": 3,
                   "generator": "mlp(width=8)", "critic": "mlp(width=8)", **changes})
    return config


def test_points_are_learnt_and_the_clouds_that_are_found_are_counted(tmp_path):
    write([RingSource(modes=4, points=100)], tmp_path / "ring")
    run = Run(points(), str(tmp_path / "ring"), STRATEGY)
    before = values(run.app.generator)
    assert run.loop(None).run() == "finished" and not same(before, values(run.app.generator))
    found = run.app.evaluate(run.splits)
    assert all(np.isfinite(found[key]) for key in (*JUDGED, *COVERED, "frechet_real"))
    assert found["encoder_steps"] == 0 and found["classes_covered"] <= 4 and found["covered_from"] == 0.03
    assert set(run.app.pictures(run.splits)) == {"samples", "interpolations", "nearest"}
    assert list(run.app.signatures()) == ["generate_tensor"]


@pytest.mark.slow
def test_exported_points_are_numbers_in_the_datas_own_units(tmp_path):
    write([RingSource(modes=4, points=100)], tmp_path / "ring")
    run_train(tmp_path / "ring", tmp_path / "run", points(), str(tmp_path / "models"))
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["synthetic"]
    loaded = tf.saved_model.load(str(tmp_path / "models" / "image_generation" / "1"))
    assert sorted(set(loaded.signatures) - {"serving_default"}) == ["generate_tensor"], "points are no PNG"
    found = loaded.signatures["generate_tensor"](seed=[0, 1, 2])["image_tensor"].numpy()
    assert found.shape == (3, 1, 1, 2) and np.abs(found).max() < 3


def test_points_that_are_drawn_from_the_clouds_cover_them_all(tmp_path):
    write([RingSource(modes=4, points=100)], tmp_path / "ring")
    run = Run(points(), str(tmp_path / "ring"), STRATEGY)
    real = run.splits["train"].spread(200)
    for kept, covered in ((range(4), 4), ((0, 2), 2)):
        shown = np.isin(real.identities, kept)
        images = np.resize(real.load()[shown], (200, 1, 1, 2))
        run.app.drawn = lambda first, count, images=images: (images, None)
        found = run.app.evaluate(run.splits)
        assert found["classes_covered"] == covered and (found["least_class_share"] > 0.2) == (covered == 4)
        assert found["floor_classes_covered"] < 4, "a Gaussian lies between the clouds"


# ---- which rows

def test_labels_keeps_so_many_images_a_class(data):
    run = make(data, labels=3)
    assert np.bincount(run.labels[run.rows]).tolist() == [3] * 10
    held = make(data).splits
    assert run.splits["test"].rows.tolist() == held["test"].rows.tolist() and not set(run.rows) & set(held["test"].rows)


def test_some_images_without_a_label_make_all_of_one_class(tmp_path):
    images, labels = digits()
    columns = [{"label": int(label)} if place else {} for place, label in enumerate(labels[:60])]
    write([Drawn(images[:60], columns)], tmp_path / "data")
    assert make(str(tmp_path / "data")).names == ["image"]
    with pytest.raises(ValueError, match="1 images have no label but `conditional` is True; leave them out, or set co"):
        make(str(tmp_path / "data"), conditional=True, data={"holdout": 0.0})


# ---- refusals

@pytest.mark.parametrize("changes, message", [
    ({"latent": 0}, "`latent` is 0 but must be at least 1"),
    ({"critic_steps": 0}, "`critic_steps` is 0 but must be at least 1"),
    ({"encoder_batch": 0}, "`encoder_batch` is 0 but"), ({"embedding": 0}, "`embedding` is 0 but"),
    ({"encoder_steps": -1}, r"`encoder_steps` is -1 but must lie in \[0, 6\), below `steps`"),
    ({"encoder_steps": 6}, r"`encoder_steps` is 6 but must lie in \[0, 6\)"),
    ({"r1": -1.0}, "`r1` is -1.0 and `fade` 0.5 but they must be >= 0 and in"), ({"fade": 1.5}, "`fade` 1.5 but they"),
    ({"samples": 99}, "`samples` is 99 but judging needs at least 100 images; use 5000"),
    ({"family": "my gan"}, "`family` is 'my gan' but must be a plain name such as dcgan"),
    ({"family": "real"}, "`family` is 'real' but that is what real images are called"),
    ({"loss": "logistics()"}, "`logistics` is not a method of losses/adversarial; did you mean logistic"),
    ({"critic": "dcgan(norm='group')"}, "`norm` is 'group' but must be one of batch, layer, spectral, none"),
    ({"size": 6}, "`size` is .6, 6. but this network doubles a map .* both sides must be even and at least 8"),
    ({"init": "build/other"}, "`init` is 'build/other' but a generator begins with no other run's encoder; lea"),
    ({"critic": "progressive()"}, "`critic` is 'progressive.*', for images of 4 x 4, 8 x 8, but the generator .* m"),
    ({"loss": "wasserstein_gp()", "size": 16}, "`critic` is .dcgan.* with batch norm but `wasserstein_gp.*` has a"),
    ({"diff_augment": ("jpeg(share=1.0)",)}, "`diff_augment` has 'jpeg.*' but no gradient passes through it"),
    ({"evaluate_every": 2, "data": {"validation": 0.2}}, "`evaluate_every` is 2 but .* is not judged on the way"),
    ({"data": {"train_split": "train"}}, "`data.train_split` is 'train' but the data have the splits"),
    ({"optimizers": {"network": "adam(rate=1e-3)"}}, "`optimizers.network` names no group that is trained; these are"),
])
def test_mistakes_are_refused_before_training_in_one_sentence(data, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        make(data, **changes).loop(None)
    assert "\n" not in str(raised.value)


def test_classes_that_are_not_there_cannot_be_asked_for(large):
    with pytest.raises(ValueError, match="`conditional` is True but the data have no two classes; set conditional=Fal"):
        make(large, conditional=True)


def test_nothing_to_train_on_is_refused(tmp_path):
    write([Drawn(digits()[0][:20], [{"split": "test" if place else "train"} for place in range(20)])],
          tmp_path / "data")
    with pytest.raises(ValueError, match="leave fewer than 2 images to train on; check `data.train_split`"):
        make(str(tmp_path / "data"), data={"train_split": "train"})


def test_the_spectral_critic_is_one(data):
    app = make(data, critic="dcgan(width=4, norm='spectral')").app
    assert any(isinstance(layer, SpectralConvLayer) for layer in app.critic.submodules)
