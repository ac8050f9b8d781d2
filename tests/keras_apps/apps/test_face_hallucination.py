"""SiGAN on little faces: phases and what each moves, pairs, the protocol on ORL, judging, serving."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.claims._persons import SPLITS
from keras_apps.configs.face_hallucination import sigan_resnet, sigan_vehicle
from keras_apps.configs.super_resolution import orl_x4
from keras_apps.run import Run
from tests.keras_apps.restored import small_hallucination, write_faces
from tests.keras_apps.runs import run_train, small_config
from tfrecords.sources.folder import FolderSource
from tfrecords.write import write

STRATEGY = tf.distribute.get_strategy()
SEED = tf.constant([3, 4])
PARTS = "critic", "restorer", "recogniser"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces") / "data", size=(16, 16))


def make(folder, **changes):
    return Run(small_hallucination(**changes), str(folder), STRATEGY)


@pytest.fixture(scope="module")
def plain(data):
    """A run whose weights no test moves."""
    return make(data)


def batch_of(run):
    return next(iter(run.batches(run.app.stages()[-1]).dataset(0)))


def slopes(run, phase, batch, part):
    """Gradients of a phase's loss on the variables of a part of the app, None where it does not reach them."""
    variables = getattr(run.app, part).trainable_variables
    with tf.GradientTape() as tape:
        terms, _ = run.app.losses(phase, batch, SEED, 0)
        weights = run.app.weights(phase, 0)
        loss = tf.add_n([weights[name] * tf.reduce_mean(terms[name]) for name in weights])
    return tape.gradient(loss, variables)


# ---- phases

def test_each_phase_moves_its_own_and_the_identity_never_trains_the_critic(plain):
    app, batch = plain.app, batch_of(plain)
    assert app.stages()[-1]["phases"] == {"critic": 1, "generator": 1, "identity": 1}
    restorer = {id(v) for v in app.restorer.trainable_variables}
    critic = {id(v) for v in app.critic.trainable_variables}
    assert {id(v) for v in app.variables("images", "critic")["critic"]} == critic
    for phase in ("generator", "identity"):
        assert list(app.variables("images", phase)) == [phase], "an optimizer of its own"
        assert {id(v) for v in app.variables("images", phase)[phase]} == restorer
    assert not any(g is not None for g in slopes(plain, "identity", batch, "critic"))
    assert any(g is not None and np.abs(g).max() > 0 for g in slopes(plain, "identity", batch, "restorer"))
    assert not any(g is not None for g in slopes(plain, "critic", batch, "restorer")), "nor the critic the generator"


def test_a_step_moves_critic_and_generator_and_leaves_the_recogniser(data):
    run = make(data)
    loop, app = run.loop(None), run.app
    parts = {"critic": app.critic, "restorer": app.restorer, "recogniser": app.recogniser.network}
    before = {name: [v.numpy() for v in part.variables] for name, part in parts.items()}
    loop.arithmetic.take(loop.stages[-1], lambda: batch_of(run))
    moved = {name: any((v.numpy() != old).any() for v, old in zip(part.variables, before[name]))
             for name, part in parts.items()}
    assert moved == {"critic": True, "restorer": True, "recogniser": False}
    assert set(loop.groups.optimizers) == {"critic", "generator", "identity", "recogniser"}


@pytest.mark.parametrize("weights, phases", [
    ({"adversarial": 0.0, "identity": 0.0}, {"generator": 1}),
    ({"identity": 0.0}, {"critic": 1, "generator": 1}),
    ({"pixel": 0.0, "identity": 0.0}, {"critic": 1, "generator": 1}),
])
def test_a_term_of_weight_0_is_not_there_at_all(data, weights, phases):
    run = make(data, weights=weights)
    assert run.app.stages()[-1]["phases"] == phases
    trained = {"generator", "recogniser"} | set(phases)
    assert set(run.loop(None).groups.optimizers) == trained, "an optimizer that is named for nothing does no harm"
    assert (run.app.critic is None) == ("critic" not in phases)
    names = set(run.app.weights("generator", 0))
    assert names == {"adversarial", "pixel"} - {name for name, weight in weights.items() if weight == 0}


# ---- terms

def test_pairs_lie_side_by_side_and_only_same_or_different_is_told(plain, monkeypatch):
    seen = []
    monkeypatch.setattr(plain.app, "identity", lambda *pair: seen.append(pair) or tf.zeros([4]))
    batch = batch_of(plain)
    plain.app.losses("identity", batch, SEED, 0)
    (first, second, same), = seen
    labels = batch["label"].numpy()
    assert first.shape == second.shape == [4, 4] and same.dtype == tf.bool
    np.testing.assert_array_equal(same, labels[::2] == labels[1::2])
    assert same.numpy().tolist() == [True, False] * 2, "half of each kind"
    renamed = {**batch, "label": 7 - 3 * batch["label"]}
    one, other = (float(tf.reduce_sum(make_loss(plain, given))) for given in (batch, renamed))
    assert one == other


def make_loss(run, batch):
    return run.app.losses("identity", batch, SEED, 0)[0]["identity"]


def test_pairs_pull_together_what_is_the_same(data):
    run = make(data, optimizers={"identity": "adam(rate=3e-3)"})
    loop = run.loop(None)
    stage = {**loop.stages[-1], "phases": {"identity": 1}}
    batch = batch_of(run)
    values = [float(loop.arithmetic.take(stage, lambda: batch)["identity/identity"]) for _ in range(25)]
    assert values[-1] < 0.8 * values[0]


def test_pairs_of_images_instead_of_codes(data):
    run = make(data, identity_on="pixel")
    terms, _ = run.app.losses("identity", batch_of(run), SEED, 0)
    assert terms["identity"].shape == [4] and np.isfinite(terms["identity"]).all()
    assert sum(g is not None for g in slopes(run, "identity", batch_of(run), "restorer")) > sum(
        g is not None for g in slopes(make(data), "identity", batch_of(run), "restorer")), "the tail as well"


def test_the_error_is_in_the_large_image_or_in_the_small_one(data):
    batch = batch_of(make(data))
    found = {}
    for recon in ("hr_l1", "lr_l1"):
        run = make(data, recon=recon, noise=0.0)
        high = batch["image"]
        low = run.app.lowered(high, 2)
        made = run.app.restorer(low, (16, 16), 2, training=True)
        found[recon] = run.app.losses("generator", batch, SEED, 0)[0]["pixel"].numpy()
        want = np.abs(made - high) if recon == "hr_l1" else np.abs(
            made.numpy().reshape(8, 8, 2, 8, 2, 1).mean(axis=(2, 4)) - low)
        np.testing.assert_allclose(found[recon], want.mean(axis=(1, 2, 3)), atol=1e-5)


def test_noise_is_on_what_goes_in_and_drawn_from_the_seed(data):
    run = make(data, noise=0.2)
    batch = batch_of(run)
    one, again, other = (run.app.losses("generator", batch, seed, 0)[0]["pixel"].numpy()
                         for seed in (SEED, SEED, SEED + 1))
    np.testing.assert_allclose(one, again, atol=1e-5)
    assert np.abs(one - other).max() > 1e-4


# ---- which images, and by whom they are judged

def sets(name):
    """The set's file, of which the tests are skipped where it is not there."""
    root = os.environ.get("SUITE_DATA") or pathlib.Path(__file__).parents[4] / "shared" / "data"
    found = pathlib.Path(root) / name / f"{name}.zip"
    if not found.exists():
        pytest.skip(f"{found} is not there; SUITE_DATA names the folder of the sets")
    return found


@pytest.fixture(scope="module")
def orl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orl") / "data"
    write([FolderSource(sets("orl_faces"), r"s(?P<identity>\d+)/\d+\.png")], folder)
    return str(folder)


@pytest.mark.parametrize("split", range(3))
def test_the_protocol_on_orl(orl, split):
    """Persons 1-30 in the first split; of every split ten others are judged, among one whole image of all 40."""
    config = sigan_resnet.get_config()
    config.data.train_identities, = (values[split] for values in SPLITS.values())
    run = Run(config, orl, STRATEGY)
    trained = {run.splits["train"].names[i] for i in run.splits["train"].identities}
    first = (31, 21, 11)[split]
    strangers = {str(person) for person in range(first, first + 10)}
    test, gallery = run.splits["test"], run.splits["gallery"]
    assert trained == {str(person) for person in range(1, 41)} - strangers and len(run.rows) == 300
    assert {test.names[i] for i in test.identities} == strangers
    assert len(test.rows) == 90 and np.bincount(test.identities).max() == 9
    assert len(gallery.rows) == 40 == len(set(gallery.identities)), "thirty distractors, chance 2.5 %"
    assert not set(gallery.rows) & set(test.rows) and test.unseen
    for part in ("recogniser", "images"):       # both learn from these rows alone
        stage = next(stage for stage in run.app.stages() if stage["name"] == part)
        drawn = {row for batch in run.batches(stage).dataset(0).take(12).as_numpy_iterator() for row in batch["index"]}
        assert drawn <= set(run.rows.tolist())


def test_orl_x4_is_of_whole_images(orl):
    run = Run(orl_x4.get_config(), orl, STRATEGY)
    assert run.images.unresized and run.app.info.shape == (112, 92, 1)
    high = run.splits["test"].load(slice(0, 2))
    assert run.app.lowered(high, 4).shape == [2, 28, 23, 1]
    assert run.app.recogniser.size == (112, 92) and len(run.splits["test"].rows) == 90


def test_the_protocol_on_vehicles(tmp_path):
    pattern = r"(?P<identity>(?P<label>[a-z]+)_\d+)_cam(?P<camera>\d)\.jpg"
    lists = {name: f"{name}.txt" for name in ("train", "val", "test")}
    source = FolderSource(sets("vehicle_reid"), pattern, lists=lists)
    write([source], tmp_path / "data")
    run = Run(sigan_vehicle.get_config(), str(tmp_path / "data"), STRATEGY)
    test, gallery = run.splits["test"], run.splits["gallery"]
    assert len(test.rows) == 60 == len(set(test.identities))
    assert len(gallery.rows) == 567 == len(set(gallery.identities))
    assert set(run.records.values("camera", test.rows)) == {"1"}
    assert set(run.records.values("camera", gallery.rows)) == {"2"}
    assert set(run.records.values("split", test.rows)) == {"test"} and run.app.info.shape[2] == 3


def test_figures_of_all_rows(plain):
    found = plain.app.evaluate(plain.splits)
    for row in ("", "floor_", "nearest_", "pca_", "nmf_"):
        assert np.isfinite([found[f"{row}{key}"] for key in ("psnr", "ssim", "top1", "top5", "top10", "top1_closed",
                                                             "auc")]).all()
    for row in ("hr_", "lr_"):
        assert 0 <= found[f"{row}top1"] <= found[f"{row}top5"] <= found[f"{row}top10"] <= 1
    assert found["pca_psnr"] > 15 and found["pca_milliseconds"] > 0
    assert "rows" in plain.app.pictures(plain.splits)
    assert "no evidence of who somebody is" in plain.app.about(found)


def test_the_recogniser_may_be_a_run_of_verification(data, tmp_path):
    config = small_config(size=16, dropout=0.0, mirror=True)
    config.data.update({"holdout": 0.0, "train_identities": "1-4"})
    run_train(data, tmp_path / "recogniser", config)
    run = make(data, recogniser=str(tmp_path / "recogniser"))
    assert [stage["name"] for stage in run.app.stages()] == ["images"]
    verification = Run(config, str(data), STRATEGY)
    loop = verification.loop(str(tmp_path / "recogniser"))
    loop.restore(training=False)
    images = run.splits["gallery"].load()
    with loop.averaged():
        wanted = verification.app.embed(images).numpy()
    np.testing.assert_allclose(run.app.looked(images), wanted, atol=1e-5)
    assert run.app.evaluate(run.splits)["unseen_identities"] == 1.0
    other = make(data, recogniser=str(tmp_path / "recogniser"),
                 data={"train_identities": "3-6"})
    assert other.app.evaluate(other.splits)["unseen_identities"] == 0.0, "it was trained on those that are judged"


# ---- what is refused

@pytest.mark.parametrize("changes, message", [
    ({"recon": "l2"}, "`recon` is 'l2' but must be one of hr_l1, lr_l1"),
    ({"identity_on": "code"}, "`identity_on` is 'code' but must be one of feature, pixel"),
    ({"noise": -0.1}, "`noise` is -0.1"),
    ({"weights": {"pixel": -1.0}}, "must not hold negative numbers"),
    ({"data": {"sampler": "pk(images=4)"}}, "but the identity term needs same and different pairs side by side"),
    ({"size": 18, "scale": 4}, r"makes multiples of `scale`, 4; use --config.size=16"),
    ({"weights": {"perceptual": 1.0}, "recogniser_steps": 0}, "`recogniser_steps` is 0, in which its encoder learns"),
    ({"weights": {"pixel": 0.0, "adversarial": 0.0}}, "one of them must make images"),
    ({"weights": {"style": 1.0}},
     "`weights.style` is no weight of `face_hallucination` but `weights` must have exactly adversarial, pixel"),
    ({"scale": 3}, "`scale` is 3 but this generator doubles its map"),
    ({"scale": 8}, "so that the small image would be below 4 pixels"),
])
def test_what_cannot_be_trained_is_refused(data, changes, message):
    with pytest.raises(ValueError, match=message):
        make(data, **changes)


def test_data_without_identities_are_refused(tmp_path):
    folder = write_faces(tmp_path / "data", size=(16, 16), identities=False)
    with pytest.raises(ValueError, match="needs the column `identity`"):
        make(folder)


# ---- serving

@pytest.mark.slow
def test_a_run_is_exported_and_answers_as_it_was_trained(data, tmp_path, capsys):
    config = small_hallucination()
    run_train(data, tmp_path / "run", config, tmp_path / "models")
    said, steps = capsys.readouterr(), config.recogniser_steps + config.steps
    assert f"step 0 of {steps} (recogniser {config.recogniser_steps}, images {config.steps})" in said.err
    assert f"tables and pictures: {tmp_path / 'run' / 'report.html'}" in said.out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {"psnr", "ssim", "top1", "top5", "top10", "top1_closed", "floor_top1", "floor_psnr"} <= set(found)
    run = Run(config, str(data), STRATEGY)
    loop = run.loop(str(tmp_path / "run"))
    loop.restore(training=False)
    high = run.splits["test"].load(slice(0, 3))
    low = run.app.lowered(high, 2).numpy()
    with loop.averaged():
        wanted = np.rint(run.app.restored(low, (16, 16), 2) * 255)
    version = tf.saved_model.load(str(tmp_path / "models" / "face_hallucination" / "1"))
    encoded = [tf.io.encode_png(np.uint8(np.rint(image * 255))).numpy() for image in low]
    answer = version.signatures["restore"](image_bytes=tf.constant(encoded), scale=tf.constant([2] * 3))["image_bytes"]
    for one, other in zip(answer.numpy(), wanted):
        assert np.abs(tf.io.decode_png(one).numpy() - other).max() <= 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="this model restores 2 times as large"):
        version.signatures["restore"](image_bytes=tf.constant(encoded[:1]), scale=tf.constant([4]))
