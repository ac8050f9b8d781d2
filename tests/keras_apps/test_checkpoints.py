"""Checkpoints: the newest sound one counts, whatever was done to the others; other configs; what lies outside."""

import pathlib
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_apps.checkpoints import Host
from keras_apps.loop import Loop
from tests.contracts.dummies import APPS, dummy_config
from tests.contracts.replicas import state, values_of

STRATEGY = tf.distribute.get_strategy()
WORDS = {"steps": 6, "ema": 0.9, "optimizer": "adam(rate=0.01)", "groups": APPS["sharded"].groups}


def looped(workdir, kind="sharded", actions=(), **words):
    app = APPS[kind](dummy_config(**{**WORDS, **words}))
    return Loop(app, app.config, app.data, STRATEGY, str(workdir), actions)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run with the checkpoints of steps 2, 4 and 6."""
    loop = looped(tmp_path_factory.mktemp("undisturbed") / "run")
    loop.run()
    return loop


@pytest.fixture
def workdir(undisturbed, tmp_path):
    return pathlib.Path(shutil.copytree(undisturbed.workdir, tmp_path / "run"))


def file_of(workdir, step, kind):
    return workdir / "checkpoints" / (f"ckpt-{step}.index" if kind == "index" else f"ckpt-{step}.data-00000-of-00001")


def truncate(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def remove(path):
    path.unlink()


DAMAGES = [(truncate, "data"), (empty, "data"), (flip, "data"), (remove, "data"), (truncate, "index"),
           (empty, "index"), (flip, "index")]


@pytest.mark.parametrize("damage, kind", DAMAGES)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(workdir, capsys, damage, kind):
    damage(file_of(workdir, 6, kind))
    loop = looped(workdir)
    assert loop.restore() == 4
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"warning: the checkpoint {workdir}/checkpoints/ckpt-6 is damaged (")
    assert told.endswith("); going on from ckpt-4.") and "\n" not in told


def test_from_the_one_before_the_run_goes_on_to_the_same_weights(workdir, undisturbed):
    flip(file_of(workdir, 6, "data"))
    truncate(file_of(workdir, 4, "index"))
    loop = looped(workdir)
    loop.run()
    expected = state(undisturbed.app)
    for name, value in state(loop.app).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    for one, two in zip(values_of(loop.averages), values_of(undisturbed.averages), strict=True):
        np.testing.assert_array_equal(one, two)
    again = looped(workdir)
    assert again.restore() == 6, "what was damaged has been written anew"
    np.testing.assert_array_equal(again.app.classes.gathered(), expected["classes/0"])


def test_a_flipped_byte_anywhere_in_the_values_is_noticed(workdir, undisturbed, capsys):
    path = file_of(workdir, 6, "data")
    sound, loop = path.read_bytes(), looped(workdir)
    for place in np.linspace(0, len(sound) - 1, 25).astype(int):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 16]) + sound[place + 1:])
        assert loop.restore() == 4, place
    path.write_bytes(sound)
    assert loop.restore() == 6
    np.testing.assert_array_equal(loop.app.matrix, undisturbed.app.matrix)


def test_a_flipped_byte_in_the_index_gives_no_wrong_value(workdir, undisturbed):
    path = file_of(workdir, 6, "index")
    sound, loop, found = path.read_bytes(), looped(workdir), []
    fourth = looped(workdir)
    path.write_bytes(b"")
    assert fourth.restore() == 4
    for place in np.linspace(0, len(sound) - 1, 25).astype(int):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 16]) + sound[place + 1:])
        found.append(loop.restore())
        expected = undisturbed if found[-1] == 6 else fourth
        np.testing.assert_array_equal(loop.app.matrix, expected.app.matrix)
        np.testing.assert_array_equal(loop.app.classes.gathered(), expected.app.classes.gathered())
    assert set(found) <= {4, 6} and found.count(4) > 12, "a few bytes are never read"


@pytest.mark.parametrize("damage, kind", [(truncate, "data"), (remove, "data"), (empty, "index")])
def test_where_all_are_damaged_that_is_one_sentence(workdir, damage, kind):
    for step in (2, 4, 6):
        damage(file_of(workdir, step, kind))
    with pytest.raises(ValueError) as told:
        looped(workdir).restore()
    said = str(told.value)
    assert said.startswith(f"the checkpoint {workdir}/checkpoints/ckpt-6 cannot be read (")
    assert said.endswith(f"), nor any before it; remove {workdir}/checkpoints to train anew, or use another --workdir.")
    assert "\n" not in said


@pytest.mark.parametrize("content", [None, b"", b"model_checkpoint_path: \"ckpt-", b"\0" * 90, b"\xff\xfe\x80",
                                     b'model_checkpoint_path: "ckpt-99"\nall_model_checkpoint_paths: "ckpt-99"\n'])
def test_the_list_of_checkpoints_is_not_needed(workdir, content):
    path = workdir / "checkpoints" / "checkpoint"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    loop = looped(workdir)
    assert loop.restore() == 6 and loop.finished()


def test_a_kill_while_a_checkpoint_was_written_leaves_nothing_to_stumble_over(workdir):
    folder = workdir / "checkpoints"
    part = folder / "ckpt-6_temp"
    part.mkdir()
    shutil.copy(file_of(workdir, 6, "data"), part / "part-00000-of-00001.data-00000-of-00001")
    shutil.copy(file_of(workdir, 6, "data"), folder / "ckpt-6.data-00000-of-00001.tempstate7")
    shutil.copy(file_of(workdir, 6, "index"), folder / "ckpt-6.index.tempstate7")
    file_of(workdir, 6, "index").unlink()
    truncate(file_of(workdir, 6, "data"))
    loop = looped(workdir)
    assert loop.restore() == 4
    loop.step.assign(6)
    loop.save()
    assert looped(workdir).restore() == 6


def test_files_of_others_in_the_folder_are_left_alone(workdir):
    for name in ("ckpt-.index", "ckpt-x.index", "ckpt-8.index.bak", "notes.txt", "ckpt-7"):
        (workdir / "checkpoints" / name).write_text("mine")
    assert looped(workdir).restore() == 6


@pytest.mark.parametrize("name", ["run[1]", "run\\x"])
def test_a_folder_whose_checkpoints_tensorflow_would_not_find_again_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"workdir.* but"):
        looped(tmp_path / name).save()


@pytest.mark.parametrize("name", ["run (1)", "läufe", "a{b}", "x=1,y=2", "%20"])
def test_other_signs_in_the_name_of_a_folder_do_no_harm(undisturbed, tmp_path, name):
    shutil.copytree(undisturbed.workdir, tmp_path / name)
    assert looped(tmp_path / name).restore() == 6


def test_no_checkpoint_is_step_zero(tmp_path):
    assert looped(tmp_path / "none").restore() == 0


# ---- another run

@pytest.mark.parametrize("words, match", [
    ({"seed": 1}, r"ckpt-6 was trained with another `seed`; use another --workdir, or the config it was trained with"),
    ({"clip": 1.0, "data": {"cache_mb": 7}}, "was trained with another `clip`, `data.cache_mb`; use another"),
    ({"optimizer": "sgd(rate=0.1, momentum=0.9)"}, "another `optimizers.classes`, `optimizers.network`; use another"),
    ({"ema": 0.0}, "was trained with another `ema`"),
    ({"kind": "queue", "groups": ("network",)}, "ckpt-6 is not of this network"),
])
def test_another_config_is_refused_by_name(workdir, words, match):
    with pytest.raises(ValueError, match=match):
        looped(workdir, **words).restore()


def test_a_run_may_be_made_longer_and_watched_otherwise(workdir):
    loop = looped(workdir, steps=8, checkpoint_every=1, log_every=7, keep=1)
    assert loop.restore() == 6 and not loop.finished()


@pytest.mark.parametrize("keep, left", [(1, [6]), (2, [4, 6]), (5, [2, 4, 6])])
def test_so_many_are_kept(tmp_path, keep, left):
    loop = looped(tmp_path, keep=keep)
    for step in (2, 4, 6):
        loop.step.assign(step)
        loop.save()
    assert [int(path.stem[5:]) for path in sorted((tmp_path / "checkpoints").glob("*.index"))] == left


def test_so_many_are_kept_after_the_list_was_lost(workdir):
    (workdir / "checkpoints" / "checkpoint").unlink()
    loop = looped(workdir, keep=2, steps=8)
    assert loop.restore() == 6
    loop.step.assign(8)
    loop.save()
    assert sorted(path.stem for path in (workdir / "checkpoints").glob("*.index")) == ["ckpt-6", "ckpt-8"]


def test_evaluation_reads_a_checkpoint_whatever_optimizers_there_are(workdir, undisturbed):
    loop = looped(workdir, optimizer="sgd(rate=0.1, momentum=0.9)")
    loop.host.config["optimizers"] = undisturbed.host.config["optimizers"]
    assert loop.restore(training=False) == 6
    np.testing.assert_array_equal(loop.app.matrix, undisturbed.app.matrix)
    for one, two in zip(values_of(loop.averages), values_of(undisturbed.averages), strict=True):
        np.testing.assert_array_equal(one, two)


# ---- outside of TensorFlow

def test_random_generators_go_on_where_they_were(tmp_path):
    np.random.seed(3)
    random.seed(4)
    np.random.normal(size=3)        # an odd number: NumPy keeps the second of the last pair
    loop = looped(tmp_path)
    loop.save()
    expected = np.random.normal(size=3), random.random(), random.gauss(0, 1)
    np.random.seed(0)
    random.seed(0)
    looped(tmp_path).restore()
    np.testing.assert_array_equal(np.random.normal(size=3), expected[0])
    assert (random.random(), random.gauss(0, 1)) == expected[1:]


def test_arrays_facts_and_key_come_back_as_they_were():
    host, other = Host({"steps": 3, "data": {"augment": ("flip()",)}}), Host({"steps": 3, "data": {"augment": ()}})
    host.key = ["train", 2]
    host.arrays = {"label": np.arange(5), "sure": np.array([True, False]), "half": np.float16([1.5]),
                   "words": np.zeros((0, 3)), "a/b": np.array(["é", "long"])}
    host.facts = {"best": 0.1 + 0.2, "waited": 2}
    other.deserialize(host.serialize())
    assert other.key == host.key and other.facts == host.facts
    assert list(other.arrays) == list(host.arrays)
    for name, values in host.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], values)
        assert other.arrays[name].dtype == values.dtype
    with pytest.raises(ValueError, match="the checkpoint x was trained with another `data.augment`; use"):
        other.require_config("x")
    host.deserialize(host.serialize())
    host.require_config("x")
