"""What stands between a config and a loop: facts for the app, and files that are whole or not there."""

import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.apps import verification
from keras_apps.config import changed, to_json
from keras_apps.run import (
    Run,
    claim,
    commit,
    packed_rows,
    read_json,
    require_columns,
    stored_app,
    stored_config,
    unpacked_rows,
)
from tests.keras_apps.fakes import small_detection, write_fakes
from tests.keras_apps.runs import contents, small_config, write_data
from tfrecords.read import Records


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_data(tmp_path_factory.mktemp("run")))


def make(data, **changes):
    return Run(small_config(**changes), data, tf.distribute.get_strategy())


# ---- files

def test_no_file_reads_as_none(tmp_path):
    assert read_json(tmp_path / "evaluation.json") is None


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"app": "verif')
    with pytest.raises(ValueError, match=r"config.json is damaged \(Unterminated string.*; remove it"):
        read_json(tmp_path / "config.json")


# ---- workdirs

def test_a_claimed_workdir_names_config_and_data_and_is_claimed_again_by_its_own_run(data, tmp_path):
    run = make(data)
    claim(str(tmp_path / "new" / "run"), run)
    found = contents(tmp_path / "new" / "run")
    assert sorted(found) == ["config.json", "data.json", "images.json"]
    assert json.loads(found["data.json"]) == {"name": "data", "sha256": run.records.manifest["data_sha256"],
                                              "trained": run.names, "rows": packed_rows(run.rows, len(run.records))}
    np.testing.assert_array_equal(unpacked_rows(json.loads(found["data.json"])["rows"]), run.rows)
    claim(str(tmp_path / "new" / "run"), run)
    again = Run(stored_config(tmp_path / "new" / "run"), data, tf.distribute.get_strategy())
    claim(str(tmp_path / "new" / "run"), again)     # lists for tuples and all: what evaluate does
    assert contents(tmp_path / "new" / "run") == found


def claim_and_train(workdir, run):
    """Claims it and leaves what a first checkpoint leaves."""
    claim(str(workdir), run)
    (workdir / "checkpoints").mkdir()
    (workdir / "checkpoints" / "ckpt-1.index").write_text("")


def test_a_workdir_without_a_checkpoint_may_be_claimed_by_another_config(data, tmp_path):
    claim(str(tmp_path), make(data))
    claim(str(tmp_path), make(data, seed=5))
    assert stored_config(tmp_path).seed == 5


def test_another_config_is_refused_with_every_key_that_differs_and_nothing_is_written(data, tmp_path):
    claim_and_train(tmp_path, make(data))
    found = contents(tmp_path)
    other = make(data, seed=5, optimizers={"network": "sgd(rate=0.1)"})
    with pytest.raises(ValueError, match="holds a run whose config differs in `optimizers.network`, `seed`; use "
                                         "another --workdir or the same as before"):
        claim(str(tmp_path), other)
    assert contents(tmp_path) == found


def test_other_data_of_the_same_name_are_refused_and_nothing_is_written(data, tmp_path):
    claim_and_train(tmp_path / "run", make(data))
    found = contents(tmp_path / "run")
    other = write_data(tmp_path, images=5)
    with pytest.raises(ValueError, match="run holds a run whose data differs in `sha256`; use another"):
        claim(str(tmp_path / "run"), make(str(other)))
    assert contents(tmp_path / "run") == found


def test_the_stored_config_is_the_one_trained_with(data, tmp_path):
    run = make(data, seed=9)
    claim(str(tmp_path), run)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert changed(stored, json.loads(stored_config(tmp_path).to_json())) == [] and stored["seed"] == 9


def test_a_run_of_before_a_key_was_there_is_gone_on_with(data, tmp_path):
    run = make(data)
    claim_and_train(tmp_path / "run", run)
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    del stored["patience"], stored["data"]["test_split"]
    path.write_text(json.dumps(stored))
    claim(str(tmp_path / "run"), run)
    stored["clip"] = 3.0
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="whose config differs in `clip`; use another"):
        claim(str(tmp_path / "run"), run)


def test_a_folder_without_a_run_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match="holds no config.json, so no run; give the --workdir of a `keras_apps.train`"):
        stored_config(tmp_path / "nowhere")


def test_a_workdir_that_is_a_file_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="`workdir` is .*file but that is a file; name a new folder"):
        claim(str(tmp_path / "file"), make(data))
    assert (tmp_path / "file").read_text() == "mine"


def test_the_commit_is_the_checkouts_or_empty(tmp_path, monkeypatch):
    assert re.fullmatch(r"([0-9a-f]{12}(\+changes)?)?", commit())
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))       # no git at all
    assert commit() == ""


# ---- facts

def test_mixing_that_makes_classes_is_counted_in_the_head(data):
    plain = make(data)
    assert plain.app.head.weights.shape == (len(plain.names), 8) and len(plain.names) == 3
    config = small_config()
    config.data.mixing = ("turned_classes(turns=4, mirror=True)",)
    turned = Run(config, data, tf.distribute.get_strategy())
    assert turned.names == plain.names and turned.app.head.weights.shape == (8 * 3, 8)


def test_trained_and_held_out_rows_do_not_meet(data):
    run = make(data)
    held = run.splits["test"]
    assert not set(run.rows) & set(held.rows) and len(run.rows) + len(held.rows) == run.records.count == 36
    assert not set(run.names) & {held.names[i] for i in held.identities}


def test_images_are_decoded_once_for_each_size(data):
    run = make(data)
    assert run.images_of(12) is run.images and run.images_of(6) is run.images_of(6)
    assert run.images_of(6).load(np.array([0])).shape == (1, 6, 6, 1)


class ProxyLoss:
    """A loss that needs facts and has variables of its own."""

    def __init__(self, classes, dimension, seed):
        self.trainable_variables = [tf.Variable(tf.random.stateless_normal([classes, dimension], [seed, 0]))]


@pytest.mark.parametrize("groups, expected", [
    (("network",), {"network": "loss"}), (("network", "loss"), {"network": "", "loss": "loss"})])
def test_the_variables_of_a_loss_are_trained_too(data, monkeypatch, groups, expected):
    build = verification.build
    monkeypatch.setattr(verification, "build", lambda folder, text, **facts: (
        ProxyLoss(**facts) if text == "proxy" else build(folder, text, **facts)))
    run = make(data, loss="proxy", head="", optimizers={name: "sgd(rate=0.1)" for name in groups})
    found = run.app.variables("train", "train")
    own, = run.app.loss.trainable_variables
    assert own.shape == (len(run.names), run.config.embedding)
    assert {name: "loss" if any(v is own for v in values) else "" for name, values in found.items()} == expected
    assert len(found["network"]) == len(run.app.network.trainable_variables) + (groups == ("network",))


def test_equal_seeds_give_equal_first_weights_and_others_do_not(data):
    first, again, other = ([v.numpy() for v in make(data, seed=seed).app.network.trainable_variables]
                           for seed in (1, 1, 2))
    for one, two in zip(first, again):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(first, other))


def test_what_cannot_be_sampled_is_refused_by_check(data):
    with pytest.raises(ValueError, match="`batch` is 6 but must be a multiple of 4 images; use 4 or 8"):
        make(data, batch=6).check()


def test_a_shard_that_is_gone_is_refused_before_training(data, tmp_path):
    folder = write_data(tmp_path)
    os.remove(sorted(folder.glob("*.tfrecord"))[1])
    with pytest.raises((ValueError, OSError), match="data-00001-of-00002.tfrecord"):
        make(str(folder)).check()


@pytest.mark.parametrize("needs, text", [
    (("identity|label", "camera"), "the app `a` needs the column `camera` but the data in .* have label; write them"),
    (("identity|case",), "the app `a` needs the column `identity` or `case` but"),
])
def test_a_column_that_an_app_needs_is_named(data, needs, text):
    records = Records(data)
    require_columns(records, "a", ("identity|label",))
    with pytest.raises(ValueError, match=text):
        require_columns(records, "a", needs)


def test_a_damaged_record_is_left_out_of_training_and_of_the_evaluation(data, tmp_path, capsys):
    copy = pathlib.Path(shutil.copytree(data, tmp_path / "data"))
    whole = make(data)
    rows = [int(whole.rows[3]), int(whole.splits["test"].rows[2])]
    index = np.load(copy / "index.npz")
    for row in rows:
        shard = sorted(copy.glob("*.tfrecord"))[index["shard"][row]]
        raw = bytearray(shard.read_bytes())
        raw[index["offset"][row] + 20] ^= 1
        shard.write_bytes(raw)
    run = make(copy)
    run.check()
    assert sorted(run.images.damaged) == sorted(rows) and capsys.readouterr().err.count("It is skipped") == 2
    assert rows[1] not in run.splits["test"].rows
    assert len(run.splits["test"].identities) == len(run.splits["test"].rows) == len(whole.splits["test"].rows) - 1


def test_a_mixing_that_the_app_does_not_read_is_refused(data):
    config = small_config()
    config.data.mixing = ("mixup()",)
    with pytest.raises(ValueError, match="`data.mixing` has 'mixup.*', whose `label_other` and `share` the app "):
        Run(config, data, tf.distribute.get_strategy())


@pytest.mark.parametrize("before, unseen, said", [
    (lambda run, held: {"sha256": run.records.manifest["data_sha256"], "trained": held[:1]}, False,
     "1 of the 3 identities of the test split were trained on by"),
    (lambda run, held: {"sha256": run.records.manifest["data_sha256"], "trained": run.names}, True, ""),
    (lambda run, held: {"sha256": "other", "trained": held[:2]}, False, "2 of the 3 identities of the test split"),
    (lambda run, held: {"sha256": "other"}, True, "does not say what it was trained on: whether on identities that"),
    (lambda run, held: None, True, "does not say what it was trained on: whether on identities that are held out"),
])
def test_identities_that_the_run_to_start_from_has_seen_are_not_unseen(data, tmp_path, capsys, before, unseen, said):
    run = make(data)
    held = [run.splits["test"].names[i] for i in np.unique(run.splits["test"].identities)]
    if before(run, held):
        (tmp_path / "data.json").write_text(json.dumps(before(run, held)))
    run = make(data, init=str(tmp_path))
    assert run.splits["test"].unseen == unseen
    told = capsys.readouterr().err
    assert said in told and bool(said) == bool(told)
    earlier = (before(run, held) or {}).get("trained", [])
    assert run.trained_on == sorted({*run.names, *earlier}), "a third run is told of both"


# ---- an app without its data

def kept(data, folder):
    """A detector's workdir with a checkpoint; the run and its loop."""
    run = Run(small_detection(held_out="faint", data={"fit": "pad"}), data, tf.distribute.get_strategy())
    claim(str(folder), run)
    loop = run.loop(str(folder))
    for place, (average, value) in enumerate(zip(loop.averages, loop.trained)):
        average.assign(tf.ones_like(value) * place)
    loop.step.assign(5)
    loop.save()
    return run, loop


def test_an_app_is_built_again_from_its_workdir_alone(tmp_path):
    data = write_fakes(tmp_path / "data", count=16)
    run, loop = kept(data, tmp_path / "run")
    shutil.rmtree(data)
    app, again, config, told = stored_app(str(tmp_path / "run"), tf.distribute.get_strategy())
    assert to_json(config) == to_json(run.config) and config.is_locked
    assert told == {"name": "data", "sha256": run.records.manifest["data_sha256"], "trained": ["blocky", "checkered"],
                    "rows": packed_rows(run.rows, len(run.records))}
    assert again.position() == 5 and not again.finished()
    own, new = run.decoder, app.info.decoder
    assert (new.size, new.channels, new.fit, new.dtype, new.raw, new.aligned) == (
        own.size, own.channels, own.fit, own.dtype, own.raw, own.aligned) and app.info.names == run.names
    np.testing.assert_array_equal([new.low, new.high], [own.low, own.high])
    for one, two in zip(loop.trained, again.trained, strict=True):
        np.testing.assert_array_equal(one, two)
    with again.averaged():
        for place, value in enumerate(again.trained):
            assert (value.numpy() == place).all()


def test_what_cannot_be_used_without_its_data_says_so(tmp_path):
    data = write_fakes(tmp_path / "data", count=16)
    kept(data, tmp_path / "run")
    place = tmp_path / "run"
    for name, told in (("checkpoints", "run holds no checkpoint; train it first by `python -m keras_apps.train`"),
                       ("images.json", r"does not say what its images are \(images.json, data.json\); train it again"),
                       ("config.json", "holds no config.json, so no run")):
        (shutil.rmtree if name == "checkpoints" else os.remove)(place / name)
        with pytest.raises(ValueError, match=told):
            stored_app(str(place), tf.distribute.get_strategy())


def test_a_workdir_says_what_its_images_are(data, tmp_path):
    run = make(data)
    claim(str(tmp_path), run)
    facts = json.loads((tmp_path / "images.json").read_text())
    assert facts == {"channels": 1, "dtype": "uint8", "raw": False, "aligned": None, "names": run.names,
                     "scaling": run.records.manifest["scaling"]}
